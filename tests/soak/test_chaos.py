"""What goes wrong in the soak goes wrong as it is counted: messages lost and doubled, processes killed in mid-stage."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench.soak.chaos import Carrier, Killer, Rates, Target
from bench.soak.effects import ANSWERED, BEGAN, RETURNED, SUSPENDED, VARIABLE, Diary, effects_in, is_in_body
from hosts.local.functions import ProcessDied
from tests.hosts.conftest import Fake

PLACE = ("r", "a", 1, 2)


def batch(*runs: str) -> dict[str, Any]:
    records = [{"messageId": run, "body": json.dumps({"tenant": "soak", "run": run})} for run in runs]
    return {"Records": records}


def delivered(function: Fake) -> Counter[str]:
    return Counter(record["messageId"] for event in function.events for record in event["Records"])


def carrier(function: Fake, **rates: float) -> tuple[Carrier, list[tuple[str, int]]]:
    sent: list[tuple[str, int]] = []
    made = Carrier(Random(1), Rates(**rates), lambda body, delay: sent.append((body, delay)))
    made.between(function)
    return made, sent


def test_what_is_counted_as_lost_or_doubled_is_just_that() -> None:
    function = Fake()
    made, sent = carrier(function, lost=0.3, doubled=0.3)

    for number in range(200):
        made.invoke(batch(f"{number}a", f"{number}b", f"{number}c"))

    counts = delivered(function)
    assert made.messages == 600
    assert made.lost == 600 - len(counts) > 100
    assert made.doubled == len(sent) + sum(count - 1 for count in counts.values()) > 100
    assert {delay for _, delay in sent} == {0, 1, 2}


def test_a_batch_of_which_all_is_lost_counts_as_attended() -> None:
    function = Fake()
    made, _ = carrier(function, lost=1.0)

    assert made.invoke(batch("a", "b")) == {}
    assert not function.events


def test_once_stopped_it_delivers_everything_once() -> None:
    function = Fake()
    made, sent = carrier(function, lost=0.5, doubled=0.5)
    made.stop()

    made.invoke(batch("a", "b"))

    assert delivered(function) == {"a": 1, "b": 1}
    assert (made.messages, made.lost, made.doubled, sent) == (0, 0, 0, [])


def test_it_remembers_which_runs_a_process_had_in_hand_when_it_died() -> None:
    def die(_event: dict[str, Any]) -> None:
        raise ProcessDied("job: its process 7 ended with SIGKILL", 7)

    made, _ = carrier(Fake(die), lost=0.0, doubled=0.0)

    with pytest.raises(ProcessDied):
        made.invoke(batch("a", "b"))

    assert set(made.held[7]) == {"a", "b"}


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Diary:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return Diary()


def test_a_process_is_in_a_body_from_its_beginning_to_its_end(diary: Diary, tmp_path: Path) -> None:
    seen: list[bool] = []
    for kind in (BEGAN, RETURNED, BEGAN):
        diary.write(kind, PLACE)
        pid = effects_in(tmp_path)[0].pid
        seen.append(is_in_body(tmp_path, pid))

    assert seen == [True, False, True]
    assert not is_in_body(tmp_path, 1)


def test_a_process_is_in_a_body_while_any_of_its_threads_is(diary: Diary, tmp_path: Path) -> None:
    other = ("r", "b", 1, 2)
    seen: list[bool] = []
    for kind, place in ((BEGAN, PLACE), (BEGAN, other), (RETURNED, other), (ANSWERED, PLACE), (SUSPENDED, PLACE)):
        diary.write(kind, place)
        seen.append(is_in_body(tmp_path, effects_in(tmp_path)[0].pid))

    assert seen == [True, True, True, True, False]


def test_of_a_long_diary_the_end_tells_whether_a_process_is_in_a_body(diary: Diary, tmp_path: Path) -> None:
    for number in range(100):
        diary.write(BEGAN, ("r", "a", 1, number), given=("x" * 20,))
        diary.write(RETURNED, ("r", "a", 1, number))
    pid = effects_in(tmp_path)[0].pid

    assert not is_in_body(tmp_path, pid)
    diary.write(BEGAN, PLACE)
    assert is_in_body(tmp_path, pid)


def test_what_was_cut_off_in_the_middle_of_a_line_did_not_happen(diary: Diary, tmp_path: Path) -> None:
    diary.write(BEGAN, PLACE, given=("x",))
    file = next(tmp_path.glob("*.jsonl"))
    with file.open("ab") as cut:
        cut.write(b'{"kind":"returned","run":"r"')

    (effect,) = effects_in(tmp_path)

    assert (effect.kind, effect.run, effect.stage, effect.attempt, effect.seq) == (BEGAN, *PLACE)
    assert effect.given == ("x",)


class Processes:
    """Can be killed, and told to stop once."""

    def __init__(self, name: str, *pids: int) -> None:
        self.name = name
        self.pids = self.busy = list(pids)
        self.asked: list[int] = []

    def kill(self, pid: int) -> bool:
        return pid in self.pids

    def ask(self, pid: int) -> bool:
        self.asked.append(pid)
        return self.asked.count(pid) == 1


def killer(effects: Path, *targets: Target) -> Killer:
    return Killer(Random(1), Rates(), targets, effects)


def test_kills_and_stops_are_counted_apart(tmp_path: Path) -> None:
    workers, intake = Processes("worker", 5, 6), Processes("intake", 7)
    made = killer(tmp_path, Target(workers, 60), Target(workers, 20, ask=workers.ask), Target(intake, 20))

    for _ in range(60):
        made.once()

    kinds = Counter(kill.function for kill in made.kills)
    assert kinds["worker"] > kinds["intake"] > 0
    assert sorted(stop.pid for stop in made.stops) == [5, 6]  # who was told before is not told again
    assert len(workers.asked) > 2
    assert sum(kinds.values()) + len(workers.asked) == 60


def test_whom_to_hit_in_mid_stage_is_waited_for(diary: Diary, tmp_path: Path) -> None:
    diary.write(BEGAN, PLACE)
    here = effects_in(tmp_path)[0].pid
    made = killer(tmp_path, Target(Processes("worker", 1, 2, here, 3), 1, in_body=1.0))

    for _ in range(10):
        made.once()

    assert [kill.pid for kill in made.kills] == [here] * 10


def test_what_has_no_processes_cannot_be_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = killer(tmp_path, Target(Processes("worker"), 1))
    made._stopped.set()  # so that it does not wait for one

    made.once()

    assert made.kills == []

"""Measuring: everything that happens is measured once, whatever is retried, lost or raced, and costs nothing if nobody
wants to know.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import (
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StageCompleted,
    StageFailed,
    StageStarted,
)
from kernel.core.state import RunStatus
from kernel.errors import Conflict, KeyHeld, Unavailable
from kernel.metrics import LABELS, NO_METRICS, Count, Duration, Gauge
from kernel.ports import Guard, RunRef
from kernel.shell import commit as commit_module
from kernel.shell import tick as tick_module
from kernel.shell.environment import Limits
from kernel.shell.outbox import replay_dead_letters
from kernel.shell.tick import Counts
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, PermanentError, Retry
from tests.shell.script import (
    HOUR,
    SECOND,
    Flow,
    Note,
    Script,
    dies,
    fork,
    is_commit_of,
    is_under,
    line,
    once,
    once_before,
    pending,
    throws,
    work,
)

ROOT = Path(__file__).parents[2]
KINDS = set(Counts.__struct_fields__)


class Book:
    """Keeps what it is told, and sees to it that it comes with its labels."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.seconds: dict[tuple[str, ...], list[float]] = {}
        self.values: dict[str, set[str]] = {}

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        assert isinstance(name, Count)
        assert type(value) is int
        assert value > 0
        self.counts[self._key(name, labels)] += value

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        assert isinstance(name, Duration)
        assert seconds >= 0
        self.seconds.setdefault(self._key(name, labels), []).append(seconds)

    def _key(self, name: Count | Duration, labels: dict[str, str]) -> tuple[str, ...]:
        assert set(labels) == set(LABELS[name])
        for label, value in labels.items():
            self.values.setdefault(label, set()).add(value)
        return (name.value, *(labels[label] for label in LABELS[name]))

    def of(self, name: Count, *labels: str) -> int:
        return self.counts[name.value, *labels]

    def times(self, name: Duration, *labels: str) -> list[float]:
        return self.seconds.get((name.value, *labels), [])


def measured(flow: Flow, limits: Limits | None = None) -> tuple[Play, Book]:
    """A deployment that measures, and what it has measured."""
    play, book = Play(flow, limits=limits), Book()
    play.env = replace(play.env, metrics=book)
    return play, book


def takes(play: list[Play], milliseconds: int) -> Any:
    """A body that takes so long."""

    def act(_ctx: Context) -> None:
        play[0].clock.move(milliseconds)

    return act


# --- runs and stages --------------------------------------------------------------------------------------------------


def test_a_run_and_its_stages_are_measured_once(script: Script) -> None:
    played: list[Play] = []
    flow = line(script.stage("a", takes(played, 1_500)), script.stage("b", takes(played, 250)))
    play, book = measured(flow)
    played.append(play)
    play.run(flow, Note())
    assert book.counts == {
        ("runs_started", "flow"): 1,
        ("stages_started", "flow"): 2,
        ("stages_completed", "flow"): 2,
        ("runs_ended", "flow", "completed"): 1,
        ("events_published",): 2,
    }
    assert book.times(Duration.STAGE, "flow") == [1.5, 0.25]
    assert book.times(Duration.RUN, "flow") == [1.75]
    assert book.times(Duration.OUTBOX_AGE) == [1.75, 0.0]


def test_what_is_counted_is_what_the_log_holds(script: Script) -> None:
    flow = fork(
        script.stage("a", throws(ValueError(), 2), retry=Retry(3)),
        script.stage("b", dies(1), retry=Retry(3)),
        script.job("c", pending(2)),
        script.stage("d", throws(PermanentError("no"), 1), retry=Retry(3)),
    )
    play, book = measured(flow)
    ref = play.start(flow, Note())
    play.play([ref])
    play.retry(ref)
    play.play([ref])
    log = [event for events in play.ended(ref).log for event in events]

    def logged(kind: type[Any], **attributes: Any) -> int:
        held = [event for event in log if isinstance(event, kind)]
        return sum(all(getattr(event, name) == value for name, value in attributes.items()) for event in held)

    assert book.of(Count.RUNS_STARTED, "flow") == 1
    assert book.of(Count.STAGES_STARTED, "flow") == logged(StageStarted) > 5
    assert book.of(Count.STAGES_COMPLETED, "flow") == logged(StageCompleted) == 4
    assert book.of(Count.STAGES_FAILED, "flow") == logged(StageFailed, retry_at=None) == 1
    assert book.of(Count.STAGES_RETRIED, "flow") == logged(StageFailed) - 1 == 3
    assert book.of(Count.LEASES_EXPIRED, "flow") == logged(LeaseExpired) == 1
    assert book.of(Count.RUNS_ENDED, "flow", "failed") == logged(RunFailed) == 1
    assert book.of(Count.RUNS_ENDED, "flow", "completed") == logged(RunCompleted) == 1
    assert len(book.times(Duration.RUN, "flow")) == 2
    assert len(book.times(Duration.STAGE, "flow")) == 3, "all but the one that was suspended"
    assert book.of(Count.EVENTS_PUBLISHED) == len(play.sink.events) == 4
    assert len(book.times(Duration.OUTBOX_AGE)) == 4


def test_a_stage_that_a_third_party_answers_while_it_runs_is_not_timed(script: Script) -> None:
    def answered(ctx: Context) -> None:
        play.answer(ctx.callback_token, Note())

    play, book = measured(flow := line(script.asks("a", answered)))
    play.run(flow, Note())
    assert book.of(Count.STAGES_COMPLETED, "flow") == 1
    assert book.times(Duration.STAGE, "flow") == []


def test_a_cancelled_run_ends_once(script: Script) -> None:
    play, book = measured(flow := line(script.job("a", pending(99))))
    ref = play.start(flow, Note())
    work(play)
    play.clock.move(2 * SECOND)
    play.cancel(ref)
    with pytest.raises(Conflict):
        play.cancel(ref)
    play.play([ref])
    assert [event for events in play.ended(ref).log for event in events if isinstance(event, RunCancelled)]
    assert book.of(Count.RUNS_ENDED, "flow", "cancelled") == 1
    assert book.times(Duration.RUN, "flow") == [2.0]


def test_a_run_past_its_deadline_that_a_tick_fails_ends_once(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a"), deadline=timedelta(hours=2)))
    ref = play.start(flow, Note())
    play.queue.clear()
    play.clock.move(3 * HOUR)
    play.play([ref])
    assert book.of(Count.RUNS_ENDED, "flow", "failed") == 1
    assert book.of(Count.TICK, "deadlines") == 1


# --- what is retried, lost and raced ----------------------------------------------------------------------------------


def test_a_start_that_is_repeated_is_no_new_run(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    for _ in range(3):
        play.start(flow, Note(), key="k")
    assert book.of(Count.RUNS_STARTED, "flow") == 1


def test_a_start_that_is_refused_is_no_run(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    play.start(flow, Note(), business_key="b")
    with pytest.raises(KeyHeld):
        play.start(flow, Note(), business_key="b")
    assert book.of(Count.RUNS_STARTED, "flow") == 1


def test_a_creation_whose_reply_was_lost_is_one_run(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    once(play, lambda call: is_under(call, Guard.RUN_IS_NEW), Fault.LOST_REPLY)
    play.start(flow, Note())
    assert book.of(Count.RUNS_STARTED, "flow") == 1


def test_a_commit_whose_reply_was_lost_is_measured_once_and_is_no_conflict(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    once(play, lambda call: is_commit_of(call, "StageCompleted"), Fault.LOST_REPLY)
    play.run(flow, Note())
    assert book.of(Count.STAGES_COMPLETED, "flow") == 1
    assert book.of(Count.RUNS_ENDED, "flow", "completed") == 1
    assert book.of(Count.CONFLICTS) == 0


def test_a_commit_that_never_landed_is_not_measured(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    play.start(flow, Note())
    play.faults.choose = lambda call: Fault.UNAVAILABLE if is_commit_of(call, "StageStarted") else None
    with suppress(Unavailable):
        play.step()
    assert book.of(Count.STAGES_STARTED, "flow") == 0


def test_a_commit_that_is_decided_again_is_a_conflict_and_measured_once(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), lambda: play.pause(ref))
    work(play)
    play.resume(ref)
    play.play([ref])
    assert book.of(Count.CONFLICTS) == 1
    assert book.of(Count.STAGES_COMPLETED, "flow") == 2


def test_a_result_that_comes_too_late_is_a_conflict_and_no_result(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), lambda: play.cancel(ref))
    work(play)
    assert book.of(Count.CONFLICTS) == 1
    assert book.of(Count.STAGES_COMPLETED, "flow") == 0
    assert book.times(Duration.STAGE, "flow") == []


def test_a_commit_that_is_decided_again_for_a_business_key_is_no_conflict_about_its_number(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    ref = play.start(flow, Note(), business_key="b")
    play.play([ref])
    others: list[RunRef] = []

    def another_has_it_and_dies_before_it_lets_go() -> None:
        others.append(play.start(flow, Note(), business_key="b"))
        once(play, lambda call: is_under(call, Guard.KEY_AS_SEEN), Fault.CRASH_BEFORE)
        with pytest.raises(Crash):
            play.cancel(others[0])

    once_before(
        play,
        lambda call: is_under(call, Guard.KEY_AS_SEEN) and is_under(call, Guard.COMMIT_IS_NEXT),
        another_has_it_and_dies_before_it_lets_go,
    )
    play.rerun(ref, "a")
    assert len(others) == 1
    assert play.look(ref).status == "running"
    assert book.of(Count.CONFLICTS) == 0


def test_a_lease_that_two_would_reap_expires_once(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note())
    work(play)
    play.clock.move(play.env.limits.look_grace)
    once_before(play, lambda call: is_commit_of(call, "LeaseExpired"), lambda: play.attend(ref))
    play.tick()
    assert book.of(Count.LEASES_EXPIRED, "flow") == 1


# --- the outbox -------------------------------------------------------------------------------------------------------


def test_an_event_that_the_sink_refuses_is_published_later_and_tells_its_age(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    play.sink.refuse = lambda _event: "not now"
    ref = play.start(flow, Note())
    work(play)
    assert book.of(Count.EVENTS_PUBLISHED) == 0
    play.sink.refuse = lambda _event: None
    play.clock.move(play.env.limits.look_grace)
    play.tick()
    assert book.of(Count.EVENTS_PUBLISHED) == len(play.sink.events) == 2
    assert book.times(Duration.OUTBOX_AGE) == [120.0, 120.0]
    assert play.ended(ref).status == "completed"


def test_an_event_that_is_given_up_is_dead_once_and_published_when_it_is_replayed(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")), Limits(publish_attempts=2))
    play.sink.refuse = lambda event: "no" if event.type == "RunCreated" else None
    ref = play.run(flow, Note()).ref
    assert (book.of(Count.EVENTS_DEAD), book.of(Count.EVENTS_PUBLISHED)) == (1, 1)
    play.sink.refuse = lambda _event: None
    replay_dead_letters(play.env, ref)
    assert (book.of(Count.EVENTS_DEAD), book.of(Count.EVENTS_PUBLISHED)) == (1, 2)
    assert len(book.times(Duration.OUTBOX_AGE)) == 2


# --- ticks ------------------------------------------------------------------------------------------------------------


def test_a_tick_is_timed_and_counted_by_kind(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    for _ in range(3):
        play.start(flow, Note())
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace)
    send = play.queue.send

    def slow(pokes: Any) -> None:
        play.clock.move(2 * SECOND)
        send(pokes)

    play.queue.send = slow  # type: ignore[method-assign]
    counts = play.tick()
    ticked = {key[1]: count for key, count in book.counts.items() if key[0] == Count.TICK}
    assert ticked == {"looked": counts.looked, "claimed": 3, "flushed": 3}
    assert book.times(Duration.TICK) == [6.0]
    play.tick()
    assert len(book.times(Duration.TICK)) == 2


def test_a_tick_that_had_to_leave_something_says_so_once(script: Script) -> None:
    play, book = measured(flow := line(script.stage("a")))
    for _ in range(3):
        play.start(flow, Note())
    play.clock.move(play.env.limits.look_grace)
    tick_module.tick(play.env, play.clock.monotonic() + 50, runs=1)
    assert book.of(Count.TICK, "left") == 1


# --- names and labels -------------------------------------------------------------------------------------------------


def test_the_values_of_labels_are_few_whatever_tenants_runs_and_stages_there_are(script: Script) -> None:
    flow = fork(script.stage("a"), *(script.stage(f"b{number}", throws(ValueError(), 1)) for number in range(5)))
    play, book = measured(flow)
    refs = [play.start(flow, Note(), tenant=f"t{number}") for number in range(20)]
    play.queue.clear()
    play.play(refs)
    assert book.values["workflow"] == {"flow"}
    assert book.values["status"] <= {status.value for status in RunStatus if status.finished}
    assert book.values["kind"] <= KINDS
    assert set(book.values) <= {"workflow", "status", "kind"}


def test_every_measurement_says_which_labels_it_has() -> None:
    assert set(LABELS) == {*Count, *Duration}
    assert {label for labels in LABELS.values() for label in labels} == {"workflow", "status", "kind", "outcome"}


@pytest.mark.parametrize("name", [*Count, *Duration, *Gauge], ids=lambda name: name.value)
def test_every_name_is_measured_somewhere(name: Count | Duration | Gauge) -> None:
    written = re.compile(rf"\b{type(name).__name__}\.{name.name}\b")
    code = (file for folder in ("kernel/shell", "handlers", "hosts") for file in (ROOT / folder).rglob("*.py"))
    assert any(written.search(file.read_text(encoding="utf-8")) for file in code)


def test_where_nothing_is_measured_nothing_is_worked_out(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_arguments: Any) -> None:
        raise AssertionError("for nobody")

    monkeypatch.setattr(commit_module, "of_commit", never)
    monkeypatch.setattr(tick_module, "of_tick", never)
    play = Play(flow := line(script.stage("a")))
    assert play.env.metrics is NO_METRICS
    play.run(flow, Note())
    play.tick()

"""Workers of the soak: always as many, whatever ends them; what is told of them is what happened to them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.soak.workers import Told, Workers, told
from hosts.local.functions import InvocationFailed

RUNS = 'import json, sys; print(json.dumps({"worker": "w", "message": "worker runs"}), file=sys.stderr, flush=True)'
SERVES = f"{RUNS}; sys.stdin.read()"
"""Ends when its standard input does, or as signals have it."""
HANGS = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {RUNS}; sys.stdin.read()"

Start = Callable[..., Workers]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Start]:
    made: list[Workers] = []

    def start(script: str = SERVES, count: int = 2) -> Workers:
        workers = Workers(count, [sys.executable, "-c", script], os.environ, tmp_path, lambda pid: (f"run of {pid}",))
        made.append(workers)
        workers.start()
        return workers

    yield start
    for each in made:
        each.stop()


def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_killed_one_is_replaced_and_what_it_had_in_hand_is_noted(started: Start) -> None:
    workers = started()
    first, second = workers.pids

    assert workers.kill(first)
    until(lambda: len(workers.all) == 3 and len(workers.pids) == 2)

    assert second in workers.pids
    assert first not in workers.pids
    assert workers.held == {first: (f"run of {first}",)}
    assert workers.all[0].killed
    assert workers.all[0].status == -signal.SIGKILL
    assert workers.wrong == []
    assert not workers.kill(first)


def test_one_that_was_told_to_stop_is_replaced_and_was_not_killed(started: Start) -> None:
    workers = started()
    first = workers.pids[0]

    assert workers.ask(first)
    assert not workers.ask(first)
    until(lambda: len(workers.all) == 3 and len(workers.pids) == 2)

    assert [each.told_at is not None for each in workers.all] == [True, False, False]
    assert not workers.all[0].killed
    assert workers.held == {}
    assert workers.wrong == []


def test_one_that_ends_by_itself_is_replaced_and_wrong(started: Start) -> None:
    workers = started(f"{RUNS}; sys.stdin.readline(); sys.exit(3)")
    first = workers.all[0]

    assert first.process.stdin is not None
    first.process.stdin.write(b"\n")
    first.process.stdin.flush()
    until(lambda: len(workers.all) == 3)

    assert workers.wrong == [f"worker {first.pid} ended by itself, with status 3: see worker-0001.log"]


def test_one_that_does_not_stop_is_wrong(started: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.soak.workers.STOPS_IN", 0.2)
    workers = started(HANGS)
    first = workers.pids[0]

    workers.ask(first)
    until(lambda: len(workers.all) == 3)

    assert workers.wrong == [f"worker {first} was told to stop, and had not 0.2 s later"]


def test_one_that_does_not_start_says_why(started: Start) -> None:
    with pytest.raises(InvocationFailed, match="no table"):
        started("raise SystemExit('no table')")


def test_all_of_them_end_with_the_soak(started: Start) -> None:
    workers = started()

    workers.stop()

    assert workers.pids == []
    assert [each.process.poll() for each in workers.all] == [0, 0]


def line(message: str, level: str = "INFO", **fields: Any) -> str:
    return json.dumps({"level": level, "worker": "worker:here-7-abc", "message": message, **fields})


def test_what_a_worker_told_is_read_from_its_log() -> None:
    stopped: dict[str, Any] = {"seconds": 1.0, "handed_back": 1, "given_back": 2, "clean": False}
    lines = [
        "Traceback (most recent call last):",
        line("worker runs"),
        "7",
        line("slot failed", "ERROR", exception="Traceback:\nValueError: no"),
        line("tick could not look", "ERROR", exception="Traceback:\nkernel.errors.Unavailable: no answer"),
        line("worker has stopped", **stopped),
        line("slot failed", "ERROR", exception="its connection was closed"),
        '{"level": "ERROR", "mess',
    ]

    found = told(lines)

    assert (found.name, found.runs, found.errors) == ("worker:here-7-abc", True, ["slot failed: ValueError: no"])
    assert found.stopped is not None
    assert stopped.items() <= found.stopped.items()


@pytest.mark.parametrize(
    ("last", "leads"),
    [
        ("role onewrite-tick-1-of-1 taken, fencing token 3", True),
        ("role onewrite-tick-1-of-1 could not be asked for: no answer", False),
        ("tick", True),
        ("lock onewrite-tick-1-of-1 given up", False),
        ("lock onewrite-tick-1-of-1 is lost: its time was over, and somebody else has taken it", False),
        ("lock onewrite-tick-1-of-1 could not be renewed: no answer", True),
    ],
)
def test_who_has_the_role_of_the_tick_is_read_from_its_log(last: str, leads: bool) -> None:
    taken = [] if "asked for" in last else [line("role onewrite-tick-1-of-1 taken, fencing token 2")]

    assert told([*taken, line(last)]).leads is leads


def test_an_empty_log_tells_nothing() -> None:
    assert told([]) == Told()

"""No run starves another (DESIGN 5): the tick's budgets, its pages, and what it cannot read."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.codec import FORMAT
from kernel.errors import Unavailable
from kernel.ports import RunRef
from kernel.shell.environment import Limits
from kernel.shell.heads import due_shard, shard_of
from kernel.shell.tick import PAGE, tick
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from tests.shell.script import (
    Note,
    Script,
    head_of,
    line,
)
from tests.shell.test_tick import due_later


def started(play: Play, flow: Any, count: int) -> list[RunRef]:
    """Runs whose messages were all lost, and which are due."""
    refs = [play.start(flow, Note()) for _ in range(count)]
    play.queue.clear()
    due_later(play)
    return refs


def test_a_run_that_cannot_be_read_does_not_starve_the_others(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    bad, *good = started(play, flow, 10)
    head = head_of(play, bad)
    play.store.put(bad, replace(head, v=FORMAT + 1))
    counts = play.tick()
    assert (counts.failed, counts.claimed) == (1, 9)
    assert {each.run for each in play.queue.waiting} == {each.run for each in good}


def test_a_shard_that_cannot_be_read_does_not_starve_the_others(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    refs = started(play, flow, 40)
    broken = due_shard(0)
    play.faults.choose = lambda call: (
        Fault.UNAVAILABLE if call.method == "due" and call.arguments[0] == broken else None
    )
    counts = play.tick()
    elsewhere = [ref for ref in refs if shard_of(ref.run, play.env.limits.shards) != 0]
    assert (counts.failed, counts.claimed) == (1, len(elsewhere))


def test_more_runs_than_a_page_are_all_looked_at(script: Script) -> None:
    play = Play(flow := line(script.stage("a")), limits=Limits(shards=2))
    started(play, flow, 3 * PAGE)
    assert play.tick().claimed == 3 * PAGE


def test_an_index_that_follows_with_a_delay_hides_no_run_behind_those_that_were_taken(script: Script) -> None:
    play = Play(flow := line(script.stage("a")), limits=Limits(shards=1))
    started(play, flow, 3 * PAGE)
    stale = play.store.due(due_shard(0), play.clock.now(), 10_000)
    play.store.due = lambda _shard, _until, limit: stale[:limit]  # type: ignore[method-assign, assignment]
    assert play.tick().claimed == 3 * PAGE


@pytest.mark.parametrize("runs", [1, 7])
def test_a_tick_stops_at_its_count_and_the_next_one_goes_on(script: Script, runs: int) -> None:
    play = Play(flow := line(script.stage("a")))
    started(play, flow, 10)
    counts = tick(play.env, play.clock.monotonic() + 50, runs=runs)
    assert (counts.looked, counts.left) == (runs, True)
    assert play.tick().looked == 10 - runs


def test_a_tick_stops_when_its_time_is_up(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    started(play, flow, 10)

    def choose(call: Call) -> None:
        if call.method == "range":
            play.clock.move(10_000)

    play.faults.choose = choose
    counts = tick(play.env, play.clock.monotonic() + 35)
    assert (counts.looked, counts.left) == (4, True)


def test_a_run_whose_look_fails_comes_again(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    (ref,) = started(play, flow, 1)
    play.faults.choose = lambda call: Fault.UNAVAILABLE if call.method == "range" else None
    with suppress(Unavailable):
        assert play.tick().failed == 1
    play.faults.choose = lambda _call: None
    play.play([ref], days=1)
    assert play.ended(ref).status == "completed"

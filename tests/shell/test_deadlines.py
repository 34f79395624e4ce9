"""Deadlines (R11): a run past its own fails with that reason, whatever it does, and none is failed before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from kernel.core.events import RunFailed
from kernel.errors import NotFound
from kernel.ports import SNAPSHOT
from kernel.shell import read
from kernel.shell.attend import Outcome
from kernel.shell.environment import Limits
from kernel.shell.load import load
from kernel.shell.outbox import flush
from kernel.testing.faults import Call
from kernel.testing.play import Play
from onewrite import PermanentError
from tests.shell.script import (
    DAY,
    MINUTE,
    SECOND,
    Note,
    Script,
    commits_of,
    events,
    head_of,
    items_of,
    line,
    once_before,
    pending,
    throws,
    work,
)


def due_later(play: Play) -> None:
    """Let the time come at which a run that nobody looked at is due."""
    play.clock.move(play.env.limits.look_grace)


@pytest.mark.parametrize("begun", [False, True], ids=["never begun", "under way"])
def test_a_run_past_its_deadline_fails_with_that_reason(script: Script, begun: bool) -> None:
    play = Play(flow := line(script.job("a", pending(99)), deadline=timedelta(minutes=30)))
    ref = play.start(flow, Note())
    if begun:
        play.step()
    play.queue.clear()
    play.clock.move(30 * MINUTE + play.env.limits.max_skew - 1)
    assert play.tick().deadlines == 0
    due_later(play)
    assert play.tick().deadlines == 1
    (failed,) = events(play, ref, RunFailed)
    assert (failed.error.category, failed.error.kind) == ("deadline", "DeadlineExceeded")
    assert head_of(play, ref).status == "failed"


def test_a_worker_that_finds_a_run_past_its_deadline_fails_it_and_runs_nothing(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), deadline=timedelta(minutes=30)))
    ref = play.start(flow, Note())
    play.clock.move(30 * MINUTE + play.env.limits.max_skew)
    work(play)
    assert script.calls == []
    assert play.ended(ref).status == "failed"


def test_a_chain_starts_no_stage_past_the_deadline(script: Script) -> None:
    def slow(_ctx: object) -> None:
        play.clock.move(30 * SECOND)

    stages = (script.stage(f"s{number}", slow) for number in range(5))
    play = Play(flow := line(*stages, deadline=timedelta(seconds=65)))
    ref = play.start(flow, Note())
    play.play([ref])
    assert len(script.calls) == 3, "begun at 0, 30 and 60 seconds"
    (failed,) = events(play, ref, RunFailed)
    assert failed.error.category == "deadline"


def test_a_deadline_discards_what_a_running_stage_gives(script: Script) -> None:
    def slow(_ctx: object) -> None:
        play.clock.move(30 * SECOND)
        play.attend(ref)

    play = Play(flow := line(script.stage("a", slow), deadline=timedelta(seconds=20)))
    ref = play.start(flow, Note())
    play.step()
    assert play.ended(ref).names()[-1] == "RunFailed"


def test_a_job_that_merely_waits_is_not_failed(script: Script) -> None:
    """bratsos/workflow-engine: a run that waits in a backlog longer than a threshold is failed as stuck."""
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    for _ in range(200):
        play.clock.move(10 * MINUTE)
        play.tick()
    work(play)
    assert play.ended(ref).status == "completed"
    assert script.calls == ["a"]


def test_a_deadline_is_the_workflows_else_the_deployments(script: Script) -> None:
    own, other = line(script.stage("a"), deadline=timedelta(hours=2)), line(script.stage("b"), id="other")
    play = Play(own, other)
    begun = play.clock.now()
    assert head_of(play, play.start(own, Note())).deadline == begun + 120 * MINUTE
    assert head_of(play, play.start(other, Note())).deadline == begun + play.env.limits.deadline


def test_what_is_stored_of_a_run_outlives_its_deadline_by_the_retention_and_its_head_by_a_week_more(
    script: Script,
) -> None:
    """So that whenever a head is gone, the rest is (DESIGN 3)."""
    act = lambda ctx: (ctx.progress(0.5), Note(text="x" * 2_000))[1]  # noqa: E731 - what the stage does
    play = Play(flow := line(*(script.stage(f"s{number}", act) for number in range(40))))
    ref = play.start(flow, Note(text="y" * 2_000))
    ends = play.clock.now() + play.env.limits.deadline + play.env.limits.retention
    play.sink.refuse = lambda _event: "no"
    play.attend(ref)
    for _ in range(play.env.limits.publish_attempts):
        play.clock.move(play.env.limits.look_grace)
        play.tick()
    rest, week = -(-ends // SECOND) + 3_600, 7 * DAY // SECOND
    lives = {(item.key.partition("#")[0], item.ttl) for item in items_of(play, ref)}
    assert lives == {("~head", rest + week), *((kind, rest) for kind in ("data", "dead", "live", "log", "~snap"))}


def test_what_is_past_its_retention_is_gone_for_everybody(script: Script) -> None:
    """The store may have deleted any part of it."""
    play = Play(flow := line(script.stage("a"), script.stage("b", throws(PermanentError("no")))))
    ref = play.run(flow, Note()).ref
    play.clock.move(head_of(play, ref).expires - play.clock.now() - 1)
    assert play.ended(ref).status == "failed"
    play.clock.move(1)
    used = play.meter.of(ref).writes
    asked: tuple[Callable[[], object], ...] = (
        lambda: read.show(play.env, ref),
        lambda: read.log_page(play.env, ref),
        lambda: play.cancel(ref),
        lambda: play.retry(ref),
    )
    for ask in asked:
        with pytest.raises(NotFound, match="its retention is over"):
            ask()
    assert play.attend(ref).outcome is Outcome.GONE
    assert play.meter.of(ref).writes == used


def test_what_vanishes_while_it_is_looked_at_is_gone_and_not_damaged(script: Script) -> None:
    """A process may stand still for hours within a call, and its run's retention end meanwhile."""
    play = Play(flow := line(script.stage("a"), script.stage("b"), chain=False))
    ref = play.start(flow, Note())
    play.step()
    first, *_ = commits_of(play, ref)

    def vanish() -> None:
        play.clock.move(head_of(play, ref).expires - play.clock.now())
        play.store.delete(ref, first.key)

    play.clock.move(head_of(play, ref).expires - play.clock.now() - 1)
    once_before(play, lambda call: call.method == "range", vanish)
    assert play.attend(ref).outcome is Outcome.GONE


def test_what_vanishes_between_two_pages_of_a_load_is_gone_and_not_damaged(script: Script) -> None:
    play = Play(flow := line(*(script.stage(f"s{number}") for number in range(30)), chain=False))
    ref = play.run(flow, Note()).ref
    play.store.delete(ref, SNAPSHOT)
    ranges: list[Call] = []

    def choose(call: Call) -> None:
        ranges.extend([call] if call.method == "range" else [])
        if len(ranges) == 2:
            play.clock.move(head_of(play, ref).expires - play.clock.now())
            play.store.delete(ref, commits_of(play, ref)[0].key)
            play.faults.choose = lambda _call: None

    play.faults.choose = choose
    assert play.attend(ref).outcome is Outcome.GONE
    assert len(ranges) == 2


def test_what_vanishes_while_it_is_published_is_gone_and_not_damaged(script: Script) -> None:
    play = Play(flow := line(script.stage("a")), limits=Limits(publish="all", publish_attempts=99))
    play.sink.refuse = lambda _event: "no"
    ref = play.start(flow, Note())
    work(play)
    session = load(play.store, ref, play.clock.now)
    assert session is not None
    del session.recent[1]  # as after a snapshot, which leaves the events before it in the log
    play.sink.refuse = lambda _event: None
    play.clock.move(head_of(play, ref).expires - play.clock.now())
    play.store.delete(ref, commits_of(play, ref)[0].key)
    with pytest.raises(NotFound, match="its retention is over"):
        flush(play.env, session)


@pytest.mark.parametrize("ask", [read.log_page, lambda env, ref: read.show(env, ref, seq=0)], ids=["log", "replay"])
def test_what_vanishes_while_it_is_paged_through_is_gone_and_not_damaged(script: Script, ask: Any) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b"), chain=False))
    ref = play.run(flow, Note()).ref
    ranges: list[str] = []

    def choose(call: Call) -> None:
        ranges.append(call.method)
        if ranges.count("range") == 2:
            play.clock.move(head_of(play, ref).expires - play.clock.now())
            play.store.delete(ref, commits_of(play, ref)[0].key)
            play.faults.choose = lambda _call: None

    play.faults.choose = choose
    with pytest.raises(NotFound, match="its retention is over"):
        ask(play.env, ref)


@pytest.mark.parametrize("kept", [1, 2, 3, 4])
def test_whatever_the_store_has_deleted_of_what_is_past_its_retention_it_is_gone(script: Script, kept: int) -> None:
    """Expired items vanish one by one, in any order, and the head a week later."""
    play = Play(flow := line(script.stage("a"), script.stage("b"), chain=False))
    ref = play.start(flow, Note())
    play.step()
    play.queue.clear()
    play.clock.move(head_of(play, ref).expires - play.clock.now() + play.env.limits.max_skew)
    for number, commit in enumerate(commits_of(play, ref), start=1):
        if number != kept:
            play.store.delete(ref, commit.key)
    assert play.attend(ref).outcome is Outcome.GONE
    with pytest.raises(NotFound, match="its retention is over"):
        read.show(play.env, ref)
    assert play.tick().failed == 0
    assert head_of(play, ref).due is None, "no tick looks again"

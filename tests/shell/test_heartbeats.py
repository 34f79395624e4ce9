"""Signs of life (F3): they extend a lease and the body's time, are read before reaping, and help no zombie."""

from __future__ import annotations

from contextlib import suppress

import pytest

from kernel.core.events import LeaseExpired, StageStarted
from kernel.core.state import StageStatus
from kernel.ports import LIVE, Live, RunRef
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from onewrite import Context
from tests.shell.script import (
    Act,
    Note,
    Script,
    events,
    items_of,
    line,
    stage_of,
    work,
)

LEASE = 65_000
"""Milliseconds: the default timeout and the grace."""


def begun(play: Play, ref: RunRef, stage: str = "a") -> list[int]:
    """The attempts at a stage."""
    return [each.attempt for each in events(play, ref, StageStarted) if each.stage == stage]


def long_stage(play_of: list[Play], beats: int, sign: Act) -> Act:
    """Takes 50 seconds before each sign of life."""

    def act(ctx: Context) -> None:
        for _ in range(beats):
            play_of[0].clock.move(50_000)
            sign(ctx)
        play_of[0].clock.move(50_000)
        play_of[0].tick()
        with suppress(Crash):
            play_of[0].attend(RunRef(ctx.tenant, ctx.run_id))

    return act


@pytest.mark.parametrize("sign", [lambda ctx: ctx.heartbeat(), lambda ctx: ctx.progress(0.5)], ids=["beat", "progress"])
def test_a_sign_of_life_extends_the_lease_and_is_read_before_reaping(script: Script, sign: Act) -> None:
    """bratsos/workflow-engine: a stage that heartbeats for long gets its run failed."""
    plays: list[Play] = []
    play = Play(flow := line(script.stage("a", long_stage(plays, 4, sign))))
    plays.append(play)
    ref = play.start(flow, Note())
    play.step(seconds=600)
    play.play([ref])
    assert begun(play, ref) == [1]
    assert not events(play, ref, LeaseExpired)
    assert play.ended(ref).status == "completed"


def test_without_a_sign_of_life_the_lease_is_not_extended(script: Script) -> None:
    plays: list[Play] = []
    play = Play(flow := line(script.stage("a", long_stage(plays, 4, lambda _ctx: None))))
    plays.append(play)
    ref = play.start(flow, Note())
    play.step(seconds=600)
    assert events(play, ref, LeaseExpired)


def test_progress_is_kept_with_the_sign_of_life(script: Script) -> None:
    play = Play(flow := line(script.stage("a", lambda ctx: ctx.progress(0.25))))
    ref = play.run(flow, Note()).ref
    (live,) = (item for item in items_of(play, ref) if isinstance(item, Live))
    assert (live.key, live.progress) == (f"{LIVE}0000000001", 0.25)


def test_a_heartbeat_takes_back_nothing_of_the_progress(script: Script) -> None:
    def act(ctx: Context) -> None:
        ctx.progress(0.25)
        play.clock.move(50_000)
        ctx.heartbeat()

    play = Play(flow := line(script.stage("a", act)))
    ref = play.run(flow, Note()).ref
    (live,) = (item for item in items_of(play, ref) if isinstance(item, Live))
    assert live.progress == 0.25


def test_a_look_shows_the_lease_as_the_sign_of_life_has_extended_it(script: Script) -> None:
    seen: list[tuple[str, int | None, float | None]] = []

    def act(ctx: Context) -> None:
        play.clock.move(50_000)
        ctx.progress(0.25)
        (shown,) = play.look(ref).stages
        seen.append((shown.status, shown.at, shown.progress))

    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    began = play.clock.now()
    play.play([ref])
    assert seen == [("running", began + 50_000 + LEASE, 0.25)]


def test_signs_of_life_in_quick_succession_are_written_once(script: Script) -> None:
    def act(ctx: Context) -> None:
        for _ in range(1_000):
            ctx.heartbeat()

    play = Play(flow := line(script.stage("a", act)))
    play.run(flow, Note())
    assert play.meter.kinds["Live"] == 1


def test_a_lease_is_never_extended_past_the_invocation(script: Script) -> None:
    def act(ctx: Context) -> None:
        play.clock.move(50_000)
        ctx.heartbeat()

    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    ends = play.clock.now() + 70_000
    play.step(seconds=70)
    (live,) = (item for item in items_of(play, ref) if isinstance(item, Live))
    assert live.until <= ends + play.env.limits.lease_grace


def test_an_extended_lease_is_not_taken_over_within_the_skew_of_clocks(script: Script) -> None:
    def beats_and_dies(ctx: Context) -> None:
        play.clock.move(10_000)
        ctx.heartbeat()
        raise Crash

    play = Play(flow := line(script.stage("a", beats_and_dies)))
    ref = play.start(flow, Note())
    work(play)
    (live,) = (item for item in items_of(play, ref) if isinstance(item, Live))
    play.clock.move(live.until + play.env.limits.max_skew - 1 - play.clock.now())
    play.attend(ref)
    assert stage_of(play, ref, "a").status is StageStatus.RUNNING
    play.clock.move(1)
    play.attend(ref)
    assert stage_of(play, ref, "a").status is StageStatus.RETRYING


@pytest.mark.parametrize("by", ["worker", "tick"])
def test_a_sign_of_life_of_an_attempt_that_was_reaped_extends_nothing(script: Script, by: str) -> None:
    """A zombie goes on beating: the stage is taken over all the same, and nobody waits for it."""

    def zombie(ctx: Context) -> None:
        if ctx.attempt > 1:
            return
        play.clock.move(LEASE + 2_000)
        if by == "tick":
            play.clock.move(play.env.limits.look_grace)
            assert play.tick().reaped == 1
        else:
            play.attend(ref)
        ctx.heartbeat()
        play.faults.choose = not_for_ever
        play.attend(ref)
        play.clock.move(3_000)
        play.attend(ref)

    def not_for_ever(call: Call) -> None:
        assert call.number < 1_000, "the worker looks again and again"

    play = Play(flow := line(script.stage("a", zombie)))
    ref = play.start(flow, Note())
    play.step()
    assert script.calls == ["a", "a"]
    assert begun(play, ref) == [1, 2]


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.LOST_REPLY], ids=["unavailable", "lost reply"])
def test_a_sign_of_life_that_cannot_be_written_fails_nothing(script: Script, fault: Fault) -> None:
    play = Play(flow := line(script.stage("a", lambda ctx: ctx.heartbeat())))
    play.faults.choose = lambda call: fault if call.method == "put" and isinstance(call.arguments[1], Live) else None
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert script.calls == ["a"]

"""Sleep and wake (DESIGN 5): long waits cost nothing while they last, and nobody late can hide a run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kernel.core.events import Slept
from kernel.ports import Guard, RunRef
from kernel.shell.environment import Limits
from kernel.shell.heads import claim_look
from kernel.testing.play import Play
from onewrite import Context, Retry
from tests.shell.script import (
    HOUR,
    MINUTE,
    SECOND,
    Act,
    Flow,
    Note,
    Script,
    calls,
    delays,
    events,
    fork,
    head_of,
    is_under,
    line,
    once_before,
    pending,
    state_of,
    throws,
    work,
)

SKEW = SECOND


def hourly(script: Script, check: Act | None = None, **options: object) -> Flow:
    """A stage that is checked by the hour."""
    return line(script.job("a", check or pending(1), every=timedelta(hours=1), limit=timedelta(days=6)), **options)


def asleep(script: Script, check: Act | None = None, limits: Limits | None = None) -> tuple[Play, RunRef]:
    """A run that has just been put to sleep for an hour."""
    play = Play(flow := hourly(script, check), limits=limits)
    ref = play.start(flow, Note())
    work(play)
    assert state_of(play, ref).asleep is not None
    return play, ref


def due_of(play: Play, ref: RunRef) -> int:
    """When somebody looks at the run, from now."""
    due = head_of(play, ref).due
    assert due is not None
    return due - play.clock.now()


def listed(play: Play, within: int) -> list[RunRef]:
    """Runs that the due index holds within that time."""
    until = play.clock.now() + within
    return [
        entry.ref for shard in range(play.env.limits.shards) for entry in play.store.due(f"due#{shard}", until, 1_000)
    ]


def test_a_long_wait_puts_the_run_to_sleep_by_a_commit_and_moves_due_far(script: Script) -> None:
    play, ref = asleep(script)
    (slept,) = events(play, ref, Slept)
    state, head = state_of(play, ref), head_of(play, ref)
    assert slept.until == state.stages["a"].at + SKEW
    assert head.due_seq == state.seq
    lead = max(2 * play.env.limits.tick, play.env.limits.look_grace)
    assert head.due == slept.until - lead
    assert not play.queue.waiting, "no message waits for an hour"


@pytest.mark.parametrize("minutes", [1, 5, 14])
def test_a_wait_under_fifteen_minutes_never_touches_the_head(script: Script, minutes: int) -> None:
    play = Play(flow := line(script.job("a", pending(3), every=timedelta(minutes=minutes))))
    ref = play.start(flow, Note())
    work(play)
    before = head_of(play, ref)
    for _ in range(3):
        play.clock.move(minutes * MINUTE + SKEW)
        work(play)
        if not state_of(play, ref).status.finished:
            assert head_of(play, ref) == before
    assert not events(play, ref, Slept)


def test_a_retry_that_is_far_away_puts_the_run_to_sleep_too(script: Script) -> None:
    retry = Retry(2, first=timedelta(hours=2), cap=timedelta(hours=2), jitter=0.0)
    play = Play(flow := line(script.stage("a", throws(ValueError("no"), 1), retry=retry)))
    ref = play.start(flow, Note())
    begun = play.clock.now()
    play.play([ref])
    assert events(play, ref, Slept) == [Slept(begun + 2 * HOUR + SKEW)]
    assert script.calls == ["a", "a"]


def test_a_run_sleeps_until_the_earliest_of_its_needs(script: Script) -> None:
    play = Play(flow := hourly(script, pending(9), deadline=timedelta(minutes=30)))
    ref = play.start(flow, Note())
    deadline = play.clock.now() + 30 * MINUTE
    work(play)
    assert state_of(play, ref).asleep == deadline + SKEW


def test_nothing_is_written_or_read_while_a_run_is_asleep(script: Script) -> None:
    play, ref = asleep(script)
    before, used = head_of(play, ref), play.meter.of(ref).writes
    for _ in range(50):
        play.clock.move(MINUTE)
        play.tick()
    assert head_of(play, ref) == before
    assert play.meter.of(ref).writes == used
    assert calls(play, "range") == 1, "the run was loaded once, by the worker that put it to sleep"


def test_a_run_with_a_stage_that_runs_is_not_put_to_sleep(script: Script) -> None:
    def meanwhile(_ctx: Context) -> None:
        play.attend(ref, "a")
        asleep_then.append(state_of(play, ref).asleep)

    waits = script.job("a", pending(1), every=timedelta(hours=1))
    play = Play(flow := fork(script.stage("z"), script.stage("b", meanwhile), waits))
    ref = play.start(flow, Note())
    asleep_then: list[int | None] = []
    play.step()
    assert script.calls == ["z", "b", "a"]
    assert asleep_then == [None]
    assert state_of(play, ref).asleep, "but once that stage is done, it is"


def test_a_wait_of_exactly_fifteen_minutes_rides_on_messages(script: Script) -> None:
    play = Play(flow := line(script.job("a", pending(1), every=timedelta(minutes=15))))
    ref = play.start(flow, Note())
    begun = play.clock.now()
    play.play([ref])
    assert not events(play, ref, Slept)
    assert max(delays(play)) == 900
    assert state_of(play, ref).at - begun <= 30 * MINUTE + 10 * SECOND


def test_a_poke_for_a_run_that_sleeps_writes_nothing(script: Script) -> None:
    play, ref = asleep(script)
    before, used = head_of(play, ref), play.meter.of(ref).writes
    play.attend(ref)
    play.attend(ref, "a")
    assert (head_of(play, ref), play.meter.of(ref).writes, play.queue.waiting) == (before, used, [])


def test_a_sleeper_whom_a_tick_overtook_takes_the_run_to_sleep_all_the_same(script: Script) -> None:
    play = Play(flow := hourly(script))
    ref = play.start(flow, Note())

    def claimed() -> None:
        due = head_of(play, ref).due
        assert due is not None
        assert claim_look(play.env, ref, due, play.clock.now() + SECOND), "a tick takes it, and dies"

    once_before(play, lambda call: is_under(call, Guard.SLEEP_IS_LATEST), claimed)
    work(play)
    assert due_of(play, ref) > 30 * MINUTE


def test_after_waking_what_follows_soon_is_poked_for_in_time(script: Script) -> None:
    """The second wait was too long for a message when the run fell asleep; now it is not."""
    flow = fork(
        script.stage("z"),
        script.job("a", pending(9), every=timedelta(minutes=60)),
        script.job("b", pending(0), every=timedelta(minutes=65), limit=timedelta(hours=9)),
    )
    play = Play(flow)
    play.start(flow, Note())
    begun = play.clock.now()
    while "check:b" not in script.calls:
        play._advance()
    assert play.clock.now() - begun <= 65 * MINUTE + 5 * SECOND


def test_a_long_wait_beside_a_stage_that_runs_sends_no_messages(script: Script) -> None:
    waits = script.job("a", pending(1), every=timedelta(hours=1))
    act: Act = lambda _ctx: play.attend(ref, "a") and None  # noqa: E731 - one line says it
    play = Play(flow := fork(script.stage("z"), script.stage("b", act), waits))
    ref = play.start(flow, Note())
    play.step()
    assert not [sent for sent in play.queue.waiting if sent.at > play.clock.now() + 10 * MINUTE]

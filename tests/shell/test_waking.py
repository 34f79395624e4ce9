"""Waking (DESIGN 5): in time, by one message, and safe against whoever dies, is frozen or comes late."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from kernel.core.events import RunFailed, Slept
from kernel.core.state import RunStatus
from kernel.ports import Guard
from kernel.shell.environment import Limits
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, Pending
from tests.shell.script import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Note,
    Script,
    delays,
    events,
    head_of,
    is_commit_of,
    is_under,
    line,
    once,
    once_before,
    pending,
    state_of,
    work,
)
from tests.shell.test_sleep import SKEW, asleep, due_of, hourly, listed


def test_the_tick_wakes_a_run_shortly_before_its_time_by_one_delayed_message(script: Script) -> None:
    play, ref = asleep(script)
    until = state_of(play, ref).asleep
    assert until is not None
    play.clock.move(due_of(play, ref))
    assert play.tick().woken == 1
    assert play.queue.next_at == until
    assert play.step() is None, "it is not time yet"
    play.clock.move(until - play.clock.now())
    work(play)
    assert script.calls == ["a", "check:a"]


def test_whoever_wakes_a_run_brings_it_near_in_the_index_before_the_commit(script: Script) -> None:
    play, ref = asleep(script)
    play.clock.move(HOUR + SKEW)
    once(play, lambda call: is_commit_of(call, "StageChecked"), Fault.CRASH_BEFORE)
    with suppress(Crash):
        play.attend(ref)
    assert due_of(play, ref) == play.env.limits.look_grace
    assert head_of(play, ref).due_seq == state_of(play, ref).seq + 1


def test_a_run_whose_waker_died_is_put_to_sleep_again_by_a_new_commit(script: Script) -> None:
    play, ref = asleep(script)
    seq = state_of(play, ref).seq
    once(play, lambda call: is_commit_of(call, "RunCancelled"), Fault.CRASH_BEFORE)
    with suppress(Crash):
        play.cancel(ref)
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().slept == 1
    state = state_of(play, ref)
    assert (state.seq, state.asleep) == (seq + 1, state.stages["a"].at + SKEW)
    assert head_of(play, ref).due_seq == seq + 1
    assert due_of(play, ref) > 30 * MINUTE


def test_a_waker_that_was_frozen_while_the_run_was_put_to_sleep_again_still_commits(script: Script) -> None:
    """The commit that it announced was taken: it comes in with the next number, and wakes the run anew."""
    play, ref = asleep(script, limits=Limits(look_grace=5 * SECOND))
    taken: list[int] = []

    def others() -> None:
        play.clock.move(5 * SECOND)
        taken.append(play.tick().slept)

    once_before(play, lambda call: is_commit_of(call, "RunCancelled"), others)
    play.cancel(ref)
    assert taken == [1]
    assert state_of(play, ref).status is RunStatus.CANCELLED
    assert head_of(play, ref).due is None


def test_a_sleeper_that_dies_before_it_moves_due_is_helped_by_the_tick(script: Script) -> None:
    play = Play(flow := hourly(script))
    ref = play.start(flow, Note())
    once(play, lambda call: is_under(call, Guard.SLEEP_IS_LATEST), Fault.CRASH_BEFORE)
    work(play)
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().slept == 1
    assert due_of(play, ref) > 30 * MINUTE
    assert len(events(play, ref, Slept)) == 1, "its commit is there already"


def test_a_sleeper_that_was_overtaken_does_not_hide_a_stage_that_became_ready(script: Script) -> None:
    """Invariant 2: cancelled meanwhile, the run has something to undo, and the message for that is lost."""
    flow = line(
        script.stage("z", compensate=script.undo()),
        script.job("a", pending(9), every=timedelta(hours=1)),
        on_cancel="compensate",
    )
    play = Play(flow)
    ref = play.start(flow, Note())

    def cancelled() -> None:
        play.cancel(ref)
        play.queue.clear()

    once_before(play, lambda call: is_commit_of(call, "Slept"), cancelled)
    work(play)
    assert script.calls == ["z", "a"]
    assert due_of(play, ref) <= play.env.limits.look_grace
    assert ref in listed(play, play.env.limits.look_grace)


def test_a_run_asleep_is_cancelled_at_once(script: Script) -> None:
    play, ref = asleep(script)
    play.cancel(ref, "why")
    assert state_of(play, ref).status is RunStatus.CANCELLED
    assert (head_of(play, ref).status, head_of(play, ref).due) == ("cancelled", None)


def test_a_run_asleep_fails_at_its_deadline(script: Script) -> None:
    play = Play(flow := hourly(script, pending(999), deadline=timedelta(hours=5, minutes=30)))
    ref = play.start(flow, Note())
    deadline = play.clock.now() + 5 * HOUR + 30 * MINUTE
    play.play([ref])
    (failed,) = events(play, ref, RunFailed)
    assert failed.error.category == "deadline"
    assert script.calls.count("check:a") == 5
    limits = play.env.limits
    assert deadline + SKEW <= state_of(play, ref).at <= deadline + SKEW + limits.tick + limits.look_grace


@pytest.mark.parametrize("hours", [1, 24, 24 * 7])
def test_waits_of_any_length_end_in_time_and_no_message_is_delayed_too_long(script: Script, hours: int) -> None:
    wait = timedelta(hours=hours)
    play = Play(flow := line(script.job("a", pending(1), every=wait, limit=2 * wait)))
    ref = play.start(flow, Note())
    begun = play.clock.now()
    play.play([ref])
    assert play.ended(ref).status == "completed"
    assert state_of(play, ref).at - begun <= 2 * hours * HOUR + 10 * SECOND
    assert max(delays(play)) <= 900


def test_a_wait_is_over_in_time_even_when_every_message_is_lost(script: Script) -> None:
    """Invariant 9: late by at most tick + look grace."""
    play, ref = asleep(script, pending(0))
    check_at = state_of(play, ref).stages["a"].at
    limits = play.env.limits
    while play.clock.now() < check_at + limits.tick + limits.look_grace + SKEW:
        play.clock.move(limits.tick)
        play.queue.clear()
        play.tick()
        if any(sent.at <= play.clock.now() for sent in play.queue.waiting):
            work(play)
    assert script.calls == ["a", "check:a"]


def test_a_check_that_says_not_yet_puts_the_run_to_sleep_again(script: Script) -> None:
    def check(ctx: Context) -> Pending | None:
        return Pending(progress=0.1) if script.calls.count("check:a") < 30 else None

    play = Play(flow := hourly(script, check))
    ref = play.start(flow, Note())
    play.play([ref])
    assert len(events(play, ref, Slept)) == 30
    assert state_of(play, ref).at < play.env.clock.now() + DAY


def test_a_tick_that_finds_a_run_put_to_sleep_meanwhile_sends_nobody() -> None:
    month: Any = line(Script().stage("a"), id="month", deadline=timedelta(days=60))
    play = Play(flow := month.sleep(timedelta(days=30)).then(Script().stage("b")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_under(call, Guard.SLEEP_IS_LATEST), Fault.CRASH_BEFORE)
    work(play)
    play.clock.move(3 * MINUTE)
    sent = delays(play)
    once_before(play, lambda call: call.method == "range", lambda: play.attend(ref))

    play.tick()

    assert delays(play) == sent
    assert due_of(play, ref) > 29 * DAY

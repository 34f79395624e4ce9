"""``plan``: what a look at a run should do next, given its state, the time and the hint."""

from __future__ import annotations

import pytest

from kernel.core.codec import inline
from kernel.core.events import (
    AnyEvent,
    ErrorRecord,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunFailed,
    Slept,
    StageCompleted,
    StageFailed,
    StageScheduled,
    StageStarted,
    StageSuspended,
    TimerSet,
)
from kernel.core.plan import Check, Execute, Fire, Idle, Over, Overdue, Recover, Start, Step, plan
from kernel.core.state import State
from tests.core.pure import IDENTITY, NOW
from tests.core.test_codec import state_after

SKEW = 1_000
LATER = NOW + 3_600_000
ERROR = ErrorRecord("user", "ValueError", "oops", "a", 1)


def scheduled(stage: str) -> AnyEvent:
    return StageScheduled(stage)


def running(stage: str, lease: int = LATER) -> AnyEvent:
    return StageStarted(stage, 1, lease)


def retrying(stage: str, at: int) -> AnyEvent:
    return StageFailed(stage, 1, ERROR, at)


def suspended(stage: str, at: int) -> AnyEvent:
    return StageSuspended(stage, 1, inline(b"{}"), at, at * 2)


def after(*events: AnyEvent) -> State:
    """A run in which these things have happened, all in one commit."""
    return state_after(events)


def look(state: State, now: int = NOW, hint: str = "") -> Step:
    """What there is to do at that time."""
    return plan(state, now, SKEW, hint)


def test_a_run_that_is_only_created_is_begun() -> None:
    assert look(state_after()) == Start()


@pytest.mark.parametrize("end", [RunCompleted(), RunFailed(ERROR), RunCancelled()], ids=lambda end: type(end).__name__)
def test_a_finished_run_is_over_whatever_its_stages_were_doing(end: AnyEvent) -> None:
    assert look(after(scheduled("a"), running("b", NOW), end), LATER * 2, hint="a") == Over()


def test_a_scheduled_stage_is_executed() -> None:
    assert look(after(running("a"), scheduled("b"))) == Execute("b")


def test_the_stage_of_the_hint_comes_first() -> None:
    state = after(scheduled("a"), scheduled("b"))
    assert look(state) == Execute("a")
    assert look(state, hint="b") == Execute("b")


@pytest.mark.parametrize("hint", ["", "first", "second", "late"])
def test_timers_fire_in_order_of_time_and_then_as_they_were_set_whatever_the_hint(hint: str) -> None:
    state = after(TimerSet("late", LATER + 1), TimerSet("first", LATER), TimerSet("second", LATER))

    assert look(state, LATER + SKEW, hint=hint) == Fire("first")
    assert look(state, LATER + 2 * SKEW, hint=hint) == Fire("first")


@pytest.mark.parametrize("hint", ["done", "nonsense", "compensate:a"])
def test_a_hint_at_nothing_to_do_is_passed_over(hint: str) -> None:
    assert look(after(StageCompleted("done", 1, inline(b"1")), scheduled("a")), hint=hint) == Execute("a")


def test_scheduled_stages_that_others_were_poked_for_are_left_to_them() -> None:
    state = after(scheduled("a"), scheduled("b"))
    assert plan(state, NOW, SKEW, others={"a"}) == Execute("b")
    assert plan(state, NOW, SKEW, others={"a", "b"}) == Idle(IDENTITY.deadline + SKEW, quiet=False)


@pytest.mark.parametrize(
    ("event", "step"),
    [(retrying("a", LATER), Execute("a")), (suspended("a", LATER), Check("a")), (running("a", LATER), Recover("a"))],
    ids=["retry", "check", "lease"],
)
def test_nothing_fires_before_every_clock_has_reached_its_time(event: AnyEvent, step: Step) -> None:
    state = after(event)
    early = look(state, LATER + SKEW - 1)
    assert isinstance(early, Idle)
    assert early.until == LATER + SKEW, "looking again then finds it"
    assert look(state, LATER + SKEW) == step


def test_a_sign_of_life_counts_in_place_of_the_lease() -> None:
    state = after(running("a", NOW))
    now = NOW + SKEW
    assert plan(state, now, SKEW) == Recover("a")
    assert plan(state, now, SKEW, leases={"a": LATER}) == Idle(LATER + SKEW, quiet=False)
    assert plan(state, now, SKEW, "a", leases={"a": LATER}) == Idle(LATER + SKEW, quiet=False)


def test_a_stage_that_was_reaped_is_settled_whoever_comes() -> None:
    assert look(after(running("a"), LeaseExpired("a", 1)), hint="a") == Recover("a")


def test_the_deadline_comes_before_everything_but_not_before_its_time() -> None:
    state = after(scheduled("a"))
    assert look(state, IDENTITY.deadline + SKEW - 1) == Execute("a")
    assert look(state, IDENTITY.deadline + SKEW, hint="a") == Overdue()
    assert look(state_after(), IDENTITY.deadline + SKEW) == Overdue(), "also when it has not begun"


def test_the_next_need_is_the_earliest_of_all_stages() -> None:
    state = after(suspended("a", LATER + 50), retrying("b", LATER + 20), suspended("c", LATER + 70))
    assert look(state) == Idle(LATER + 20 + SKEW, quiet=True)


def test_the_deadline_bounds_the_next_need() -> None:
    assert look(after(suspended("a", IDENTITY.deadline + 5))) == Idle(IDENTITY.deadline + SKEW, quiet=True)


def test_a_run_is_not_quiet_while_a_stage_runs() -> None:
    assert look(after(suspended("a", LATER + 50), running("b", LATER))) == Idle(LATER + SKEW, quiet=False)


def test_a_run_that_sleeps_is_planned_by_its_stages() -> None:
    state = state_after((suspended("a", LATER),), (Slept(LATER + SKEW),))
    assert look(state) == Idle(LATER + SKEW, quiet=True)
    assert look(state, LATER + SKEW) == Check("a")


def test_stages_of_a_finished_kind_ask_for_nothing() -> None:
    finished = StageFailed("a", 3, ERROR), StageCompleted("b", 1, inline(b"1"))
    assert look(after(*finished, suspended("c", LATER))) == Idle(LATER + SKEW, quiet=True)

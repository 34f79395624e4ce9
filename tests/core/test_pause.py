"""Pausing (R7), as it is decided: what may still happen in a run that is paused, and what may not."""

from __future__ import annotations

import pytest

from kernel.core import commands as c
from kernel.core.codec import inline
from kernel.core.definition import PollPolicy, Strategy
from kernel.core.draft import Stale
from kernel.core.events import RunPaused, RunResumed
from kernel.core.graph import Node
from kernel.core.plan import Check, EndPause, Execute, Fire, Idle, Overdue, Recover, Start, plan
from kernel.core.state import Pause, RunStatus, StageStatus
from kernel.errors import Conflict
from tests.core.pure import CHAIN, GRACE, MINUTE, NOW, TIMEOUT, Run, node

SKEW = 1_000
POLL = PollPolicy(every=MINUTE, limit=10 * MINUTE, errors=3)
HOLD = c.Pause("hold on", None)


def two(**options: object) -> Run:
    return Run(node("a"), node("b", "a"), **options)


def claimed() -> Run:
    run = two()
    run.begin()
    run.claim("a")
    return run


def suspended() -> Run:
    run = Run(node("a", poll=POLL))
    run.begin()
    run.claim("a")
    run.do(c.Suspend("a", run.seq("a"), inline(b"{}")))
    return run


def timed() -> Run:
    timer = Node(node("t").spec, (), until=lambda _values, now: now + MINUTE)
    run = Run(timer, node("b", "t"))
    run.begin()
    return run


def look(run: Run, now: int = NOW) -> object:
    return plan(run.state, now, SKEW)


def test_a_pause_says_since_when_until_when_and_why() -> None:
    run = claimed()
    run.now = NOW + 5
    assert run.do(c.Pause("hold on", NOW + MINUTE)) == ["RunPaused"]
    assert run.state.paused == Pause(NOW + 5, NOW + MINUTE, "hold on")
    assert run.log[-1] == [RunPaused("hold on", NOW + MINUTE)]
    assert run.state.status is RunStatus.RUNNING


def test_a_run_that_is_resumed_is_not_paused_and_both_are_published() -> None:
    run = claimed()
    run.do(HOLD)
    assert run.do(c.Resume("go on")) == ["RunResumed"]
    assert run.log[-1] == [RunResumed("go on")]
    assert run.state.paused is None
    assert run.state.milestones[-2:] == (3, 4)


def test_nothing_that_waited_before_the_pause_starts_after_it() -> None:
    run = two()
    run.begin()
    claim = c.Claim("a", run.seq("a"), GRACE)
    run.do(HOLD)
    with pytest.raises(Stale, match="paused"):
        run.do(claim)
    run.do(c.Resume(""))
    assert run.do(claim) == ["StageStarted a"], "it is as ready as it was"


def test_a_run_that_was_paused_before_it_began_begins_when_it_is_resumed() -> None:
    run = two()
    run.do(HOLD)
    assert look(run) == Idle(run.state.deadline + SKEW, quiet=True)
    with pytest.raises(Stale, match="paused"):
        run.begin()
    run.do(c.Sleep(run.state.deadline, SKEW))
    run.do(c.Resume(""))
    assert look(run) == Start()
    assert run.begin(CHAIN) == ["StageStarted a"]


def test_no_check_counts_and_no_timer_fires() -> None:
    run = suspended()
    at = run.state.stages["a"].at
    run.do(HOLD)
    run.now = at + MINUTE
    for command in (
        c.Ready("a", run.seq("a"), at, inline(b"{}"), CHAIN),
        c.NotReady("a", run.seq("a"), at, None, None, CHAIN),
    ):
        with pytest.raises(Stale, match="paused"):
            run.do(command)
    run = timed()
    run.do(HOLD)
    run.now = NOW + 2 * MINUTE
    with pytest.raises(Stale, match="paused"):
        run.do(c.Fire("t", run.seq("t"), CHAIN))


def test_what_runs_may_end_and_what_follows_is_made_ready_and_no_more() -> None:
    run = claimed()
    run.do(HOLD)
    assert run.complete("a", chain=CHAIN) == ["StageCompleted a", "StageScheduled b"]
    assert look(run) == Idle(run.state.deadline + SKEW, quiet=True)


def test_a_retry_is_set_and_waits() -> None:
    run = claimed()
    run.do(HOLD)
    run.fail("a", chain=CHAIN)
    assert run.state.stages["a"].status is StageStatus.RETRYING
    assert look(run, NOW + MINUTE) == Idle(run.state.deadline + SKEW, quiet=True)
    run.do(c.Resume(""))
    assert look(run, NOW + MINUTE) == Execute("a")


def test_a_lease_that_ends_is_settled() -> None:
    run = claimed()
    lease = run.state.stages["a"].at
    run.do(HOLD)
    assert look(run) == Idle(lease + SKEW, quiet=False)
    assert look(run, lease + SKEW) == Recover("a")
    run.do(c.Reap("a", run.seq("a")))
    assert look(run) == Recover("a")
    assert run.do(c.Settle("a", run.seq("a"), 0.5, CHAIN)) == ["StageFailed a"]
    assert look(run, lease * 2 - NOW) == Idle(run.state.deadline + SKEW, quiet=True)


def test_the_last_stage_ends_the_run_paused_or_not() -> None:
    run = Run(node("a"))
    run.begin()
    run.claim("a")
    run.do(HOLD)
    assert run.complete("a") == ["StageCompleted a", "RunCompleted"]
    assert run.state.paused is None


def test_what_is_to_be_undone_waits_for_the_end_of_the_pause() -> None:
    run = Run(node("a", compensated=True), node("b", "a", on_failure=Strategy.COMPENSATE))
    run.begin()
    run.through("a")
    run.claim("b")
    run.do(HOLD)
    assert run.fail("b", retryable=False, chain=CHAIN) == [
        "StageFailed b",
        "CompensationStarted",
        "StageScheduled compensate:a",
    ]
    assert isinstance(look(run), Idle)
    run.do(c.Resume(""))
    assert look(run) == Execute("compensate:a")


def test_a_cancel_ends_the_pause_and_undoes_at_once() -> None:
    run = Run(node("a", compensated=True), node("b", "a"), undo_on_cancel=True)
    run.begin()
    run.through("a")
    run.do(HOLD)
    assert run.do(c.Cancel("enough")) == ["CompensationStarted", "StageScheduled compensate:a"]
    assert run.state.paused is None
    assert look(run) == Execute("compensate:a")


def test_the_deadline_holds_and_comes_before_the_end_of_the_pause() -> None:
    run = claimed()
    deadline = run.state.deadline
    run.do(c.Pause("", deadline))
    assert look(run, deadline + SKEW) == Overdue()
    run.do(c.Expire(deadline))
    assert (run.state.status, run.state.paused) == (RunStatus.FAILED, None)


def test_a_pause_ends_by_itself_when_every_clock_agrees_that_its_time_has_come() -> None:
    run = two()
    run.begin()
    run.do(c.Pause("", NOW + MINUTE))
    assert look(run, NOW + MINUTE + SKEW - 1) == Idle(NOW + MINUTE + SKEW, quiet=True)
    assert look(run, NOW + MINUTE + SKEW) == EndPause()
    assert run.do(c.EndPause(NOW + MINUTE)) == ["RunResumed"]


def test_the_end_of_one_pause_is_not_that_of_another() -> None:
    run = two()
    run.begin()
    run.do(c.Pause("", NOW + MINUTE))
    run.do(c.Resume(""))
    for _ in range(2):
        with pytest.raises(Stale):
            run.do(c.EndPause(NOW + MINUTE))
        run.do(c.Pause("", None)) if run.state.paused is None else None


def test_the_limit_of_a_wait_does_not_count_the_time_of_a_pause() -> None:
    run = suspended()
    before = run.state.stages["a"]
    run.do(HOLD)
    run.now = NOW + 60 * MINUTE
    run.do(c.Resume(""))
    after = run.state.stages["a"]
    assert (after.at, after.give_up_at) == (before.at, before.give_up_at + 60 * MINUTE)
    assert look(run, run.now) == Check("a"), "it is asked at once, and has as long as it had"
    assert run.do(c.NotReady("a", after.seq, after.at, None, None, CHAIN)) == ["StageChecked a"]


def test_a_timer_fires_as_soon_as_the_run_goes_on() -> None:
    run = timed()
    run.do(HOLD)
    run.now = NOW + 2 * MINUTE
    assert look(run, run.now) == Idle(run.state.deadline + SKEW, quiet=True)
    run.do(c.Resume(""))
    assert look(run, run.now) == Fire("t")


def undoing() -> Run:
    run = Run(node("a", compensated=True), node("b", "a"), undo_on_cancel=True)
    run.begin()
    run.through("a")
    run.do(c.Cancel("enough"))
    return run


def over() -> Run:
    run = two()
    run.do(c.Cancel("enough"))
    return run


def held() -> Run:
    run = two()
    run.do(HOLD)
    return run


@pytest.mark.parametrize(
    ("given", "command", "says"),
    [
        (held, HOLD, "is paused already and cannot be paused"),
        (undoing, HOLD, "is being compensated and cannot be paused"),
        (over, HOLD, "is cancelled already and cannot be paused"),
        (two, c.Resume(""), "is running and not paused"),
        (over, c.Resume(""), "is cancelled and not paused"),
    ],
)
def test_what_cannot_be_is_refused(given: object, command: c.Command, says: str) -> None:
    assert callable(given)
    run: Run = given()
    with pytest.raises(Conflict, match=says):
        run.do(command)


def test_a_run_that_ended_while_it_was_paused_goes_on_when_it_is_reopened() -> None:
    run = held()
    run.do(c.Cancel("enough"))
    run.do(c.Reopen("a", NOW + TIMEOUT, "after all"))
    assert run.state.paused is None

"""``decide``: which events follow from a command. Pure: the state given is never changed, whatever comes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from kernel.core import commands as c
from kernel.core.codec import encode_events, inline
from kernel.core.decide import decide
from kernel.core.definition import RetryPolicy
from kernel.core.draft import Stale
from kernel.core.events import ErrorRecord, RunFailed, StageFailed, StageStarted
from kernel.core.evolve import fold
from kernel.core.state import RunStatus, StageStatus
from tests.core.pure import (
    CHAIN,
    GRACE,
    IDENTITY,
    MINUTE,
    NO_CHAIN,
    NOW,
    STEADY,
    TIMEOUT,
    UNDO,
    Run,
    node,
    oops,
    waiting,
)


def two() -> Run:
    """``a`` then ``b``."""
    return Run(node("a"), node("b", "a"))


def undone() -> Run:
    """``a`` is done, ``b`` has failed for good, and ``a`` is being undone."""
    run = Run(node("a", compensated=True), node("b", "a", on_failure=UNDO))
    run.begin()
    run.through("a")
    run.fail_for_good("b")
    return run


def finished() -> Run:
    run = Run(node("a"))
    run.begin()
    run.through("a")
    return run


def claimed() -> Run:
    run = two()
    run.begin(CHAIN)
    return run


def paused() -> Run:
    run = waiting()
    run.do(c.Pause("why", NOW + MINUTE))
    return run


def asleep() -> Run:
    run = waiting()
    run.do(c.Sleep(NOW))
    return run


# --- what every decision holds to -------------------------------------------------------------------------------------

DECISIONS: dict[str, tuple[Callable[[], Run], c.Command]] = {
    "begin": (two, c.Begin(CHAIN)),
    "complete": (claimed, c.Complete("a", 1, inline(b"{}"), CHAIN)),
    "fail": (claimed, c.Fail("a", 1, oops("a"), True, 0.5, CHAIN)),
    "settle": (claimed, c.Settle("a", 1, 0.5, CHAIN)),
    "reap": (claimed, c.Reap("a", 1)),
    "expire": (claimed, c.Expire(IDENTITY.deadline)),
    "cancel": (claimed, c.Cancel("why")),
    "asleep": (asleep, c.NotReady("a", 2, NOW + MINUTE, 0.5, None, CHAIN)),
    "not ready": (waiting, c.NotReady("a", 2, NOW + MINUTE, 0.5, None, CHAIN)),
    "ready": (waiting, c.Ready("a", 2, NOW + MINUTE, inline(b"{}"), CHAIN)),
    "sleep": (waiting, c.Sleep(NOW)),
    "close": (finished, c.Close()),
    "rerun": (finished, c.Reopen("a", NOW + MINUTE, "why")),
    "pause": (claimed, c.Pause("why", NOW + MINUTE)),
    "resume": (paused, c.Resume("why")),
    "end pause": (paused, c.EndPause(NOW + MINUTE)),
}


@pytest.mark.parametrize(("given", "command"), DECISIONS.values(), ids=DECISIONS.keys())
def test_a_decision_changes_nothing_and_tells_its_own_fold(given: Callable[[], Run], command: c.Command) -> None:
    run = given()
    before = copy.deepcopy(run.state)
    decision = decide(run.definition, run.state, command, NOW + 5, lambda _stage, _seq: b"{}")
    assert run.state == before
    assert decision.events, "a commit is never empty"
    assert fold(run.state.fork(), before.seq + 1, NOW + 5, decision.events) == decision.state, "replay equals live"


@pytest.mark.parametrize(("given", "command"), DECISIONS.values(), ids=DECISIONS.keys())
def test_the_same_decision_comes_out_the_same(given: Callable[[], Run], command: c.Command) -> None:
    run = given()
    texts = {
        encode_events(decide(run.definition, run.state, command, NOW + 5, lambda _stage, _seq: b"{}").events)
        for _ in range(3)
    }
    assert len(texts) == 1


def test_commit_times_never_decrease_when_a_clock_is_behind() -> None:
    run = two()
    run.begin()
    run.now = NOW + 10_000
    run.claim("a")
    run.now = NOW + 2_000
    run.complete("a")
    assert run.state.at == NOW + 10_000


def test_a_commit_takes_the_next_number() -> None:
    run = two()
    assert run.state.seq == 0
    run.begin()
    assert run.state.seq == 1


# --- attempts ---------------------------------------------------------------------------------------------------------


def test_an_attempt_has_its_timeout_and_the_grace() -> None:
    run = two()
    run.begin()
    run.now = NOW + 7
    run.claim("a")
    assert run.log[-1] == [StageStarted("a", 1, NOW + 7 + TIMEOUT + GRACE)]


def test_completing_and_claiming_the_next_are_one_commit() -> None:
    run = claimed()
    assert run.complete("a", chain=CHAIN) == ["StageCompleted a", "StageStarted b"]


def test_a_stage_that_does_not_fit_the_room_is_only_scheduled() -> None:
    run = claimed()
    assert run.complete("a", chain=c.Chain(TIMEOUT - 1, GRACE)) == ["StageCompleted a", "StageScheduled b"]
    run = claimed()
    assert run.complete("a", chain=c.Chain(TIMEOUT, GRACE)) == ["StageCompleted a", "StageStarted b"]


def test_of_several_ready_stages_one_is_kept() -> None:
    run = Run(node("a"), node("b", "a"), node("c", "a"), node("d", "a"))
    run.begin(CHAIN)
    assert run.complete("a", chain=CHAIN)[1:] == ["StageStarted b", "StageScheduled c", "StageScheduled d"]


def test_a_kept_stage_is_the_first_that_fits() -> None:
    run = Run(node("a"), node("long", "a", timeout=2 * TIMEOUT), node("short", "a"))
    run.begin(CHAIN)
    chain = c.Chain(TIMEOUT, GRACE)
    assert run.complete("a", chain=chain)[1:] == ["StageScheduled long", "StageStarted short"]


@pytest.mark.parametrize("second", ["complete", "fail", "claim", "reap"])
def test_what_an_older_attempt_says_is_stale(second: str) -> None:
    run = claimed()
    run.do(c.Settle("a", run.seq("a"), 0.0, NO_CHAIN))
    run.claim("a")
    commands: dict[str, c.Command] = {
        "complete": c.Complete("a", 1, inline(b"{}"), NO_CHAIN),
        "fail": c.Fail("a", 1, oops("a"), True, 0.0, NO_CHAIN),
        "claim": c.Claim("a", 1, GRACE),
        "reap": c.Reap("a", 1),
    }
    with pytest.raises(Stale):
        run.do(commands[second])
    assert run.state.stages["a"].attempt == 2


def test_what_an_attempt_says_that_was_reaped_is_stale_before_anybody_settles_it() -> None:
    run = claimed()
    run.do(c.Reap("a", 1))
    with pytest.raises(Stale):
        run.complete("a")
    with pytest.raises(Stale):
        run.fail("a")


def test_a_stage_is_tried_again_after_its_delay_until_the_policy_is_used_up() -> None:
    run = Run(node("a", retry=RetryPolicy(attempts=2, first=4_000, jitter=0.5)))
    run.begin(CHAIN)
    assert run.fail("a", roll=0.5) == ["StageFailed a"]
    assert run.log[-1] == [StageFailed("a", 1, oops("a"), NOW + 3_000)]
    run.claim("a")
    assert run.fail("a") == ["StageFailed a", "RunFailed"]


def test_an_error_that_is_not_to_be_retried_fails_the_stage_at_once() -> None:
    run = two()
    run.begin(CHAIN)
    assert run.fail("a", retryable=False) == ["StageFailed a", "RunFailed"]


def test_a_lost_lease_counts_as_an_attempt() -> None:
    run = Run(node("a", retry=STEADY))
    run.begin(CHAIN)
    for _ in range(2):
        assert run.do(c.Settle("a", run.seq("a"), 0.0, NO_CHAIN)) == ["LeaseExpired a", "StageFailed a"]
        run.claim("a")
    run.do(c.Reap("a", run.seq("a")))
    assert run.do(c.Settle("a", run.seq("a"), 0.0, NO_CHAIN)) == ["StageFailed a", "RunFailed"]
    assert run.state.error is not None
    assert (run.state.error.category, run.state.error.kind) == ("lease", "LeaseLost")


def test_what_is_at_most_once_is_not_started_again() -> None:
    run = Run(node("a", at_most_once=True, retry=STEADY))
    run.begin(CHAIN)
    assert run.do(c.Settle("a", run.seq("a"), 0.0, NO_CHAIN)) == ["LeaseExpired a", "StageFailed a", "RunFailed"]


# --- time and people --------------------------------------------------------------------------------------------------


def test_a_run_past_its_deadline_fails_with_that_reason_and_its_stages_are_stale() -> None:
    run = claimed()
    assert run.do(c.Expire(run.state.deadline)) == ["RunFailed"]
    assert run.state.error is not None
    assert run.state.error.category == "deadline"
    with pytest.raises(Stale):
        run.complete("a")


def test_a_deadline_in_the_middle_of_compensation_leaves_it_incomplete() -> None:
    run = undone()
    assert run.do(c.Expire(run.state.deadline)) == ["RunFailed"]
    assert run.state.compensation == "incomplete"


@pytest.mark.parametrize(
    "command",
    [c.Expire(IDENTITY.deadline), c.Sleep(NOW), c.Begin(NO_CHAIN)],
    ids=lambda each: type(each).__name__,
)
def test_nothing_happens_to_a_finished_run(command: c.Command) -> None:
    run = finished()
    with pytest.raises(Stale):
        run.do(command)


def test_a_deadline_that_was_replaced_meanwhile_ends_nothing() -> None:
    """A tick that saw the old one was overtaken by a retry."""
    run = claimed()
    old = run.state.deadline
    run.do(c.Cancel("why"))
    run.do(c.Reopen("a", old + MINUTE, "once more"))
    with pytest.raises(Stale):
        run.do(c.Expire(old))


def test_a_run_that_ended_before_it_began_is_not_begun() -> None:
    run = two()
    run.do(c.Cancel("why"))
    with pytest.raises(Stale):
        run.begin()


def test_a_run_that_goes_on_cannot_be_closed() -> None:
    with pytest.raises(Stale):
        claimed().do(c.Close())


def test_a_deadline_record_names_no_stage() -> None:
    run = claimed()
    run.do(c.Expire(run.state.deadline))
    text = "the run did not end before its deadline"
    assert run.log[-1] == [RunFailed(ErrorRecord("deadline", "DeadlineExceeded", text))]


def test_running_stages_are_no_longer_active_after_a_cancel() -> None:
    run = claimed()
    assert run.do(c.Cancel("why")) == ["RunCancelled"]
    assert (run.state.status, run.state.reason) == (RunStatus.CANCELLED, "why")
    assert not run.state.active
    with pytest.raises(Stale):
        run.complete("a")
    assert run.state.stages["a"].status is not StageStatus.COMPLETED
    assert IDENTITY.deadline == run.state.deadline

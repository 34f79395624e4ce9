"""Compensation, cancelling and reopening, decided: what is undone, in which order, and what runs again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernel.core import commands as c
from kernel.core.decide import Stale, decide
from kernel.core.definition import Recall
from kernel.core.events import CompensationStarted, RunCancelled, RunFailed, RunReopened
from kernel.core.state import RunStatus, StageStatus
from kernel.errors import Conflict, NotFound
from tests.core.pure import CHAIN, DAY, IDENTITY, NO_CHAIN, NOW, PROCEED, UNDO, Run, node, oops

LATER = NOW + DAY // 2


def line(**options: object) -> Run:
    """``a``, ``b`` and ``c`` in a row: the first two can be undone, the last one says so when it fails."""
    run = Run(node("a", compensated=True), node("b", "a", compensated=True), node("c", "b", on_failure=UNDO), **options)
    run.begin()
    return run


def failed_at_c() -> Run:
    """``c`` has failed for good, and ``b`` is to be undone first."""
    run = line()
    run.through("a", "b")
    run.fail_for_good("c")
    return run


# --- compensation -----------------------------------------------------------------------------------------------------


def test_completed_stages_are_undone_in_reverse_order_and_then_the_run_fails() -> None:
    run = failed_at_c()
    assert CompensationStarted(("b", "a"), oops("c")) in run.log[-1]
    assert run.state.status is RunStatus.COMPENSATING
    run.claim("compensate:b")
    assert run.complete("compensate:b") == ["StageCompleted compensate:b", "StageScheduled compensate:a"]
    run.claim("compensate:a")
    assert run.complete("compensate:a") == ["StageCompleted compensate:a", "RunFailed"]
    assert RunFailed(oops("c"), "complete") in run.log[-1]


def test_the_order_is_that_of_completion_not_of_the_graph() -> None:
    run = Run(
        node("a", compensated=True),
        node("b", compensated=True),
        node("c", compensated=True),
        node("z", "a", "b", "c", on_failure=UNDO),
    )
    run.begin()
    run.through("b", "c", "a")
    run.fail_for_good("z")
    assert run.state.undo == ("a", "c", "b")


def test_only_what_completed_and_has_a_compensation_is_undone() -> None:
    run = Run(
        node("plain"),
        node("skipped", compensated=True, condition=lambda _values: False),
        node("lost", compensated=True, on_failure=PROCEED),
        node("done", "plain", compensated=True),
        node("z", "done", on_failure=UNDO),
    )
    run.begin()
    run.fail_for_good("lost")
    run.through("plain", "done")
    run.fail_for_good("z")
    assert run.state.undo == ("done",)


def test_compensation_waits_until_no_stage_runs() -> None:
    run = Run(node("a", compensated=True), node("b", "a", on_failure=UNDO), node("x", "a", compensated=True))
    run.begin()
    run.through("a")
    run.claim("x")
    assert run.fail_for_good("b") == ["StageFailed b"]
    assert run.complete("x")[1:] == ["CompensationStarted", "StageScheduled compensate:x"]
    assert run.state.undo == ("x", "a"), "what finished meanwhile is undone, too"


def test_with_nothing_to_undo_the_run_just_fails() -> None:
    run = Run(node("a", on_failure=UNDO, compensated=True))
    run.begin()
    assert run.fail_for_good("a") == ["StageFailed a", "RunFailed"]
    assert run.state.compensation == ""


def test_a_compensation_is_retried_as_any_stage() -> None:
    run = failed_at_c()
    run.claim("compensate:b")
    assert run.fail("compensate:b") == ["StageFailed compensate:b"]
    assert run.state.stages["compensate:b"].status is StageStatus.RETRYING
    run.through("compensate:b", "compensate:a")
    assert run.state.compensation == "complete"


def test_when_a_compensation_fails_for_good_the_others_still_run() -> None:
    run = failed_at_c()
    assert run.fail_for_good("compensate:b") == ["StageFailed compensate:b", "StageScheduled compensate:a"]
    run.through("compensate:a")
    assert (run.state.status, run.state.compensation) == (RunStatus.FAILED, "incomplete")
    assert run.state.error == oops("c"), "the run fails with what went wrong first"


def test_a_compensation_may_be_chained_to_the_commit_that_starts_it() -> None:
    run = line()
    run.through("a", "b")
    run.claim("c")
    happened = run.fail("c", retryable=False, chain=CHAIN)
    assert happened == ["StageFailed c", "CompensationStarted", "StageStarted compensate:b"]


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_cancel_ends_the_run_as_it_is() -> None:
    run = line()
    run.through("a")
    assert run.do(c.Cancel("why")) == ["RunCancelled"]


def test_cancel_undoes_the_run_if_the_workflow_says_so() -> None:
    run = line(compensate_on_cancel=True)
    run.through("a")
    run.claim("b")
    assert run.do(c.Cancel("why")) == ["CompensationStarted"]
    assert list(run.state.active) == ["b"], "undoing waits for what runs"
    assert run.complete("b") == ["StageFailed b", "StageScheduled compensate:a"], "and what it says does not count"
    run.claim("compensate:a")
    assert run.complete("compensate:a") == ["StageCompleted compensate:a", "RunCancelled"]
    assert run.log[-1][1] == RunCancelled("why", "complete")
    assert run.state.status is RunStatus.CANCELLED


def test_cancel_with_nothing_to_undo_ends_the_run_at_once() -> None:
    assert line(compensate_on_cancel=True).do(c.Cancel("why")) == ["RunCancelled"]


def test_cancel_is_refused_while_the_run_is_being_undone() -> None:
    with pytest.raises(Conflict, match="being compensated"):
        failed_at_c().do(c.Cancel("why"))


def test_cancel_is_refused_when_the_run_is_over() -> None:
    run = line()
    run.through("a", "b", "c")
    with pytest.raises(Conflict, match="completed already"):
        run.do(c.Cancel("why"))


def test_cancel_needs_no_workflow() -> None:
    run = line()

    def nothing(stage: str, seq: int) -> bytes:
        raise AssertionError(stage, seq)

    recall: Recall = nothing
    assert decide(None, run.state, c.Cancel(""), NOW, recall).events == [RunCancelled()]


# --- reopen -----------------------------------------------------------------------------------------------------------


def failed_at_b() -> Run:
    """``b`` has failed for good; nothing was undone."""
    run = Run(node("a"), node("b", "a"), node("c", "b"), node("x", "a"))
    run.begin()
    run.through("a", "x")
    run.fail_for_good("b")
    return run


def reopened(run: Run, stage: str = "", deadline: int = LATER) -> tuple[tuple[str, ...], list[str]]:
    """What was taken back, and what is ready now."""
    run.do(c.Reopen(stage, deadline, "why"))
    event = run.log[-1][0]
    assert isinstance(event, RunReopened)
    return event.reset, [id_ for id_ in run.state.active if run.state.stages[id_].status is StageStatus.SCHEDULED]


def test_retry_runs_the_failed_stage_again_and_keeps_what_was_done() -> None:
    run = failed_at_b()
    assert reopened(run) == (("b",), ["b"])
    assert (run.state.generation, run.state.deadline) == (1, LATER)
    run.through("b", "c")
    assert run.state.status is RunStatus.COMPLETED


def test_attempts_are_counted_anew_in_a_new_generation() -> None:
    run = failed_at_b()
    reopened(run)
    run.claim("b")
    assert run.state.stages["b"].attempt == 1


def test_rerun_takes_back_the_stage_and_what_depends_on_it() -> None:
    run = Run(node("a"), node("b", "a"), node("c", "b"), node("x", "a"))
    run.begin()
    run.through("a", "b", "c", "x")
    assert reopened(run, "b") == (("b", "c"), ["b"])


def test_retry_does_again_what_was_undone() -> None:
    run = failed_at_c()
    run.through("compensate:b", "compensate:a")
    reset, ready = reopened(run)
    assert set(reset) == {"a", "b", "c", "compensate:a", "compensate:b"}
    assert ready == ["a"]


def test_rerun_below_what_was_undone_is_refused() -> None:
    run = failed_at_c()
    run.through("compensate:b", "compensate:a")
    with pytest.raises(Conflict, match="'b', which it depends on, has no output"):
        run.do(c.Reopen("c", LATER, ""))


@pytest.mark.parametrize("stage", ["b", "c"])
def test_rerun_below_what_never_ran_or_failed_is_refused(stage: str) -> None:
    run = Run(node("a"), node("b", "a"), node("c", "b"))
    run.begin()
    run.fail_for_good("a")
    with pytest.raises(Conflict, match="has no output"):
        run.do(c.Reopen(stage, LATER, ""))


def test_rerun_below_what_was_allowed_to_fail_sees_the_failure_again() -> None:
    run = Run(node("a", on_failure=PROCEED), node("b", "a"))
    run.begin()
    run.fail_for_good("a")
    run.through("b")
    assert reopened(run, "b") == (("b",), ["b"])


def test_retry_does_not_run_again_what_was_allowed_to_fail_nor_what_saw_that() -> None:
    """The run failed elsewhere, and what completed upstream of that is used again (R8)."""
    run = Run(node("a", on_failure=PROCEED), node("b", "a"), node("c", "b"))
    run.begin()
    run.fail_for_good("a")
    run.through("b")
    run.fail_for_good("c")
    assert reopened(run) == (("c",), ["c"])


def test_rerun_of_a_cancelled_run_also_runs_what_was_cut_off() -> None:
    run = Run(node("a"), node("b", "a"), node("c", "a"))
    run.begin()
    run.through("a")
    run.claim("b")
    run.do(c.Cancel(""))
    reset, ready = reopened(run, "c")
    assert set(reset) == {"b", "c"}
    assert set(ready) == {"b", "c"}


def test_a_run_that_failed_before_it_began_can_be_retried() -> None:
    run = Run(node("a"), node("b", "a"))
    run.do(c.Expire(run.state.deadline))
    assert reopened(run) == ((), ["a"])


REFUSED: dict[str, tuple[Callable[[], Run], c.Reopen, type[Exception], str]] = {
    "unknown stage": (failed_at_b, c.Reopen("nope", LATER, ""), NotFound, "no stage 'nope'; it has a, b, c, x"),
    "a compensation": (failed_at_c, c.Reopen("compensate:a", LATER, ""), Conflict, "only a finished run"),
    "still running": (line, c.Reopen("a", LATER, ""), Conflict, "only a finished run"),
    "expires too soon": (failed_at_b, c.Reopen("", IDENTITY.expires + 1, ""), Conflict, "expires before"),
}


@pytest.mark.parametrize(("given", "command", "error", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_run_again_is_refused(
    given: Callable[[], Run], command: c.Reopen, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        given().do(command)


def test_only_a_failed_run_can_be_retried() -> None:
    run = Run(node("a"))
    run.begin()
    run.through("a")
    with pytest.raises(Conflict, match="only a failed run can be retried"):
        run.do(c.Reopen("", LATER, ""))


def test_what_an_attempt_of_an_older_generation_says_is_stale() -> None:
    run = Run(node("a"), node("b", "a"))
    run.begin()
    run.claim("a")
    old = run.seq("a")
    run.do(c.Cancel(""))
    reopened(run, "a")
    run.claim("a")
    with pytest.raises(Stale):
        run.do(c.Fail("a", old, oops("a"), True, 0.0, NO_CHAIN))

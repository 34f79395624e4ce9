"""Compensation and cancelling, decided: what is undone, in which order, and how the run ends."""

from __future__ import annotations

import pytest

from kernel.core import commands as c
from kernel.core.decide import decide
from kernel.core.definition import Recall
from kernel.core.events import CompensationStarted, RunCancelled, RunFailed
from kernel.core.state import RunStatus, StageStatus
from kernel.errors import Conflict
from tests.core.pure import CHAIN, NOW, PROCEED, UNDO, Run, node, oops


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
    run = line(undo_on_cancel=True)
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
    assert line(undo_on_cancel=True).do(c.Cancel("why")) == ["RunCancelled"]


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

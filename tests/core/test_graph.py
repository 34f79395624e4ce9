"""The graph program: order, joins, conditions, failure strategies, and what running again takes back."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from kernel.core.codec import encode_events
from kernel.core.definition import MissingValue, Values
from kernel.core.events import ErrorRecord, RunFailed, StageFailed
from kernel.core.state import StageStatus
from kernel.define.workflow import MAX_IDS
from tests.core.pure import CHAIN, PROCEED, Run, definition, node, oops


def diamond() -> Run:
    """``a``, then ``b`` beside ``c``, then ``d``."""
    return Run(node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c"))


def test_stages_that_depend_on_nothing_begin_the_run() -> None:
    assert Run(node("a"), node("b"), node("c", "b")).begin() == ["StageScheduled a", "StageScheduled b"]


def test_a_stage_waits_for_everything_it_depends_on() -> None:
    run = diamond()
    run.begin()
    run.through("a", "b")
    assert "d" not in run.state.stages
    run.claim("c")
    assert run.complete("c") == ["StageCompleted c", "StageScheduled d"]


@pytest.mark.parametrize("order", ["bc", "cb"])
def test_a_join_fires_once_whoever_comes_last(order: str) -> None:
    run = diamond()
    run.begin()
    run.through("a", *order, "d")
    happened = [each for events in run.log for each in events]
    assert sum(type(each).__name__ == "StageScheduled" and getattr(each, "stage", "") == "d" for each in happened) == 1


def test_a_stage_may_depend_on_any_stages_before_it() -> None:
    run = Run(node("a"), node("b", "a"), node("c", "b"), node("d", "c", "a"), node("e", "a", "d"))
    run.begin()
    run.through("a", "b", "c")
    assert run.state.stages["d"].status is StageStatus.SCHEDULED
    assert "e" not in run.state.stages
    run.through("d", "e")
    assert run.state.status == "completed"


def test_the_run_completes_when_its_last_stage_does() -> None:
    run = diamond()
    run.begin()
    run.through("a", "b", "c")
    run.claim("d")
    assert run.complete("d") == ["StageCompleted d", "RunCompleted"]


def test_a_stage_that_nothing_follows_holds_up_the_end_of_the_run() -> None:
    run = Run(node("a"), node("aside", "a"), node("b", "a"))
    run.begin()
    run.through("a", "b")
    assert run.state.status == "running"
    run.through("aside")
    assert run.state.status == "completed"


# --- conditions -------------------------------------------------------------------------------------------------------


def conditional() -> Run:
    """``a``, then ``b`` if it gave ``true``, then ``c``."""
    return Run(node("a"), node("b", "a", condition=lambda values: values("a") == b"true"), node("c", "b"))


def test_a_condition_sees_the_output_of_the_very_commit_that_decides() -> None:
    run = conditional()
    run.begin(CHAIN)
    assert run.complete("a", b"true", CHAIN) == ["StageCompleted a", "StageStarted b"]


def test_a_condition_that_says_no_skips_the_stage_and_goes_on() -> None:
    run = conditional()
    run.begin(CHAIN)
    assert run.complete("a", b"false", CHAIN) == ["StageCompleted a", "StageSkipped b", "StageStarted c"]
    assert run.state.stages["b"].status is StageStatus.SKIPPED


def test_what_depends_on_a_skipped_stage_sees_none() -> None:
    seen: list[object] = []

    def look(values: Values) -> bool:
        seen.append(values("b"))
        return True

    run = Run(node("a"), node("b", "a", condition=lambda _values: False), node("c", "b", condition=look))
    run.begin(CHAIN)
    run.complete("a")
    assert seen == [b"null"]


def test_a_condition_may_look_at_the_runs_input() -> None:
    run = Run(node("a", condition=lambda values: values("") == b"{}"), node("b", "a"))
    assert run.begin() == ["StageScheduled a"]


def test_a_run_of_skipped_stages_only_completes() -> None:
    run = Run(node("a", condition=lambda _values: False), node("b", condition=lambda _values: False))
    assert run.begin() == ["StageSkipped a", "StageSkipped b", "RunCompleted"]


def test_a_join_of_stages_that_are_skipped_in_one_commit_fires_once() -> None:
    run = Run(
        node("a", condition=lambda _values: False), node("b", condition=lambda _values: False), node("c", "a", "b")
    )
    assert run.begin() == ["StageSkipped a", "StageSkipped b", "StageScheduled c"]


def test_a_condition_that_needs_an_output_that_is_not_at_hand_asks_for_it() -> None:
    run = Run(node("a"), node("x", "a"), node("b", "x", condition=lambda values: values("a") == b"1"))
    run.begin(CHAIN)
    run.complete("a", b"1", CHAIN)
    run._outputs.clear()
    with pytest.raises(MissingValue) as missing:
        run.complete("x")
    assert (missing.value.stage, missing.value.seq) == ("a", run.seq("a"))


def broken(_values: Values) -> bool:
    raise KeyError("no such line")


def test_a_condition_that_throws_fails_its_stage() -> None:
    run = Run(node("a"), node("b", "a", condition=broken))
    run.begin(CHAIN)
    assert run.complete("a") == ["StageCompleted a", "StageFailed b", "RunFailed"]
    event = run.log[-1][1]
    assert isinstance(event, StageFailed)
    assert replace(event.error, traceback="") == ErrorRecord("condition", "KeyError", "'no such line'", "b")
    assert "in broken" in event.error.traceback


def test_thousands_of_conditions_that_throw_still_fit_one_item() -> None:
    """A store takes 400 KB at most: a commit that is larger could never be written."""

    def throw(_values: Values) -> bool:
        raise ValueError("no" * 500)

    longest = "b" * (MAX_IDS // 2_000 - 4)
    run = Run(node("a"), *(node(f"{longest}{number:04d}", "a", condition=throw) for number in range(2_000)))
    run.begin(CHAIN)
    run.complete("a")
    assert len(encode_events(run.log[-1])) < 380_000
    told = [event.error for event in run.log[-1] if isinstance(event, StageFailed)]
    assert len(told) == 2_000
    assert {error.kind for error in told} == {"ValueError"}
    assert sum(bool(error.message) for error in told) == 20


def test_a_condition_that_throws_in_a_stage_that_may_fail_lets_the_run_proceed() -> None:
    run = Run(node("a"), node("b", "a", condition=broken, on_failure=PROCEED), node("c", "b"))
    run.begin(CHAIN)
    assert run.complete("a") == ["StageCompleted a", "StageFailed b", "StageScheduled c"]


# --- failure ----------------------------------------------------------------------------------------------------------


def test_what_depends_on_a_failed_stage_never_runs() -> None:
    run = Run(node("a"), node("b", "a"), node("c", "b"))
    run.begin()
    run.through("a")
    assert run.fail_for_good("b") == ["StageFailed b", "RunFailed"]
    assert "c" not in run.state.stages


def test_siblings_of_a_failed_stage_are_let_finish_and_go_on() -> None:
    run = Run(node("a"), node("b", "a"), node("x", "a"), node("y", "x"))
    run.begin()
    run.through("a")
    assert run.fail_for_good("b") == ["StageFailed b"]
    run.through("x")
    assert run.state.status == "running"
    run.claim("y")
    assert run.complete("y") == ["StageCompleted y", "RunFailed"]


def test_a_sibling_with_a_retry_coming_is_let_finish() -> None:
    run = diamond()
    run.begin()
    run.through("a")
    run.claim("c")
    assert run.fail("c") == ["StageFailed c"]
    assert run.fail_for_good("b") == ["StageFailed b"]
    assert run.state.status == "running"
    run.claim("c")
    assert run.complete("c") == ["StageCompleted c", "RunFailed"]


def test_the_run_fails_with_the_first_failure() -> None:
    run = diamond()
    run.begin()
    run.through("a")
    run.fail_for_good("c")
    run.fail_for_good("b")
    assert run.log[-1][1] == RunFailed(oops("c"))


def test_what_may_fail_lets_its_dependents_run() -> None:
    run = Run(node("a"), node("b", "a", on_failure=PROCEED), node("c", "b"))
    run.begin()
    run.through("a")
    assert run.fail_for_good("b") == ["StageFailed b", "StageScheduled c"]
    run.claim("c")
    assert run.complete("c") == ["StageCompleted c", "RunCompleted"]


@pytest.mark.parametrize("after", [(), ("b",)], ids=["of the failure only", "of the sibling as well"])
def test_what_a_failure_means_may_change_and_still_no_run_completes_without_a_stage(after: tuple[str, ...]) -> None:
    """A deployment may change policies under the same fingerprint; what waits for the failed stage saw the old one."""
    run = Run(node("a"), node("b"), node("c", "a", *after))
    run.begin()
    run.claim("a")
    assert run.fail("a", retryable=False) == ["StageFailed a"]
    run.definition = definition(node("a", on_failure=PROCEED), node("b"), node("c", "a", *after))
    run.claim("b")
    assert run.complete("b") == ["StageCompleted b", "StageScheduled c"]
    run.claim("c")
    assert run.complete("c") == ["StageCompleted c", "RunCompleted"]


def test_what_a_failure_means_may_change_the_other_way() -> None:
    run = Run(node("a", on_failure=PROCEED), node("b", "a"))
    run.begin()
    run.claim("a")
    assert run.fail("a", retryable=False) == ["StageFailed a", "StageScheduled b"]
    run.definition = definition(node("a"), node("b", "a"))
    run.claim("b")
    assert run.complete("b") == ["StageCompleted b", "RunFailed"]


def test_a_failure_that_is_to_be_retried_moves_nothing() -> None:
    run = Run(node("a", on_failure=PROCEED), node("b", "a"))
    run.begin(CHAIN)
    assert run.fail("a") == ["StageFailed a"]


# --- size -------------------------------------------------------------------------------------------------------------


def test_a_thousand_stages_in_a_row_take_time_in_proportion() -> None:
    run = Run(node("s0"), *(node(f"s{number}", f"s{number - 1}") for number in range(1, 1_000)))
    began = time.process_time()
    run.begin(CHAIN)
    for number in range(1_000):
        run.complete(f"s{number}", chain=CHAIN)
    assert run.state.status == "completed"
    assert run.state.seq == 1_001, "S + 1 commits"
    assert time.process_time() - began < 5, "far from it: it takes a tenth of a second"


def test_a_thousand_stages_side_by_side_join_once() -> None:
    branches = [f"b{number}" for number in range(1_000)]
    run = Run(node("a"), *(node(branch, "a") for branch in branches), node("z", *branches))
    run.begin(CHAIN)
    assert len(run.complete("a")) == 1_001
    run.through(*branches[:-1])
    run.claim(branches[-1])
    assert run.complete(branches[-1]) == ["StageCompleted b999", "StageScheduled z"]

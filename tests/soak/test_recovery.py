"""Recovery times: what counts as hit by a kill, and until when a run or a stage takes to go on."""

from __future__ import annotations

import pytest

from bench.soak.account import Account, Entry
from bench.soak.chaos import Kill
from bench.soak.effects import ANSWERED, BEGAN, RETURNED, Effect
from bench.soak.losses import Loss
from bench.soak.recovery import Times, recovery, recovery_after
from kernel.core.events import AnyEvent, RunCompleted, StageScheduled, StageStarted
from kernel.ports import RunRef

PID = 100


def entry(seq: int, at: int, *events: AnyEvent, over: bool = False) -> Entry:
    return Entry(seq, at, f"t{seq}", events, {}, over)


def account(*log: Entry) -> dict[str, Account]:
    return {"r": Account(RunRef("soak", "r"), log=list(log))}


def effect(kind: str, at: int, stage: str = "a") -> Effect:
    return Effect(kind, "r", stage, 1, 1, PID, at)


def kill(at: int, *holding: str, function: str = "job") -> Kill:
    return Kill(function, PID, at, busy=True, holding=holding)


OPEN = (entry(1, 1_000, StageStarted("a", 1, 5_000)), entry(2, 4_000, StageScheduled("b")))


def test_a_run_of_which_a_message_was_in_hand_has_recovered_with_its_next_commit() -> None:
    found = recovery([kill(1_500, "r")], [], account(*OPEN))

    assert found.runs == Times(1, 2.5, 2.5, 2.5)
    assert (found.stages.count, found.in_stage) == (0, 0)


def test_a_run_whose_stage_was_running_is_hit_once_with_or_without_its_message() -> None:
    begun = [effect(BEGAN, 1_200)]

    assert recovery([kill(1_500)], begun, account(*OPEN)).runs.count == 1
    assert recovery([kill(1_500, "r")], begun, account(*OPEN)).runs.count == 1


def test_a_stage_has_recovered_with_the_next_commit_about_it() -> None:
    log = (*OPEN, entry(3, 9_500, StageStarted("a", 2, 12_000)))

    found = recovery([kill(1_500)], [effect(BEGAN, 1_200)], account(*log))

    assert found.in_stage == 1
    assert found.runs.maximum == 2.5
    assert found.stages.maximum == 8.0


def test_a_stage_has_recovered_when_its_run_is_over() -> None:
    log = (*OPEN, entry(3, 9_500, RunCompleted(), over=True))

    assert recovery([kill(1_500)], [effect(BEGAN, 1_200)], account(*log)).stages.maximum == 8.0


def test_a_body_that_had_returned_was_not_running_and_a_check_is_no_body() -> None:
    done = [effect(BEGAN, 1_200), effect(RETURNED, 1_400)]
    asked = [effect(BEGAN, 1_200), effect(ANSWERED, 1_400, "b")]

    assert recovery([kill(1_500)], done, account(*OPEN)).in_stage == 0
    assert recovery([kill(1_500)], asked, account(*OPEN)).in_stage == 1


def test_a_run_that_was_over_was_not_hit() -> None:
    over = (entry(1, 1_000, RunCompleted(), over=True), entry(2, 4_000, StageScheduled("a")))

    assert recovery([kill(1_500, "r")], [], account(*over)).runs.count == 0


def test_an_unknown_run_and_one_without_a_next_commit_have_no_recovery_time() -> None:
    assert recovery([kill(1_500, "unknown"), kill(5_000, "r")], [], account(*OPEN)).runs.count == 0


def test_all_bodies_that_the_threads_of_a_worker_were_running_are_hit() -> None:
    begun = [effect(BEGAN, 1_100, "a"), effect(BEGAN, 1_200, "b"), effect(BEGAN, 1_300, "c")]
    done = [*begun, effect(RETURNED, 1_400, "a"), effect(RETURNED, 1_600, "b")]

    found = recovery([kill(1_500, function="worker")], done, account(*OPEN))

    assert (found.in_stage, found.bodies) == (1, 2)
    assert found.stages == Times(1, 2.5, 2.5, 2.5)  # nothing was ever said of c again
    assert found.runs.count == 1


def test_a_run_of_which_a_message_vanished_has_recovered_with_its_next_commit() -> None:
    losses = [Loss("restart", 1_500, 0.3, ("r", "r", "unknown")), Loss("flush", 3_000, 0.0, ("r",))]

    assert recovery_after(losses, account(*OPEN)) == Times(2, 1.75, 2.5, 2.5)


@pytest.mark.parametrize("function", ["tick", "intake"])
def test_what_another_function_did_under_the_same_process_id_does_not_count(function: str) -> None:
    found = recovery([kill(1_500, function=function)], [effect(BEGAN, 1_200)], account(*OPEN))

    assert (found.in_stage, found.runs.count) == (0, 0)


def test_times_are_told_in_seconds() -> None:
    assert Times.of([]) == Times(0, 0.0, 0.0, 0.0)
    assert Times.of(range(0, 101_000, 1_000)) == Times(101, 50.0, 95.0, 100.0)

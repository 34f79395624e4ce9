"""Leases and fencing (DESIGN 4, 9): workers that die, freeze or come back, and how often a stage may be started."""

from __future__ import annotations

import logging

import pytest

from kernel.core.events import StageCompleted, StageFailed, StageStarted
from kernel.core.state import StageStatus
from kernel.ports import RunRef
from kernel.testing.faults import Call, Crash
from kernel.testing.play import Play
from onewrite import Context, Retry
from tests.shell.script import (
    MINUTE,
    Note,
    Script,
    dies,
    events,
    fork,
    line,
    stage_of,
    state_of,
    work,
)

LEASE = 65_000
"""Milliseconds: the default timeout and the grace."""


def begun(play: Play, ref: RunRef, stage: str = "a") -> list[int]:
    """The attempts at a stage."""
    return [each.attempt for each in events(play, ref, StageStarted) if each.stage == stage]


# --- workers that die -------------------------------------------------------------------------------------------------


def test_a_stage_whose_worker_died_is_started_again_once_its_lease_is_over(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note())
    work(play)
    play.clock.move(LEASE + play.env.limits.max_skew - 1)
    play.attend(ref)
    assert script.calls == ["a"], "not while the lease may still be running by somebody's clock"
    play.clock.move(1)
    play.attend(ref)
    assert stage_of(play, ref, "a").status is StageStatus.RETRYING
    play.play([ref])
    assert (script.calls, begun(play, ref)) == (["a", "a"], [1, 2])


@pytest.mark.parametrize("attempts", [1, 2, 3, 5])
def test_a_stage_that_kills_its_process_is_tried_as_often_as_its_policy_says(script: Script, attempts: int) -> None:
    """bratsos/workflow-engine: a redelivery after a stale lease ignores the limit, a poison stage runs for ever."""
    play = Play(flow := line(script.stage("a", dies(), retry=Retry(attempts))))
    ended = play.run(flow, Note())
    assert script.calls == ["a"] * attempts
    assert ended.status == "failed"
    assert ended.view.error is not None
    assert (ended.view.error.category, ended.view.error.kind) == ("lease", "LeaseLost")


def test_deaths_and_errors_count_together(script: Script) -> None:
    left: list[BaseException] = [Crash(), ValueError("no"), Crash(), ValueError("no")]

    def act(_ctx: Context) -> None:
        raise left.pop(0)

    play = Play(flow := line(script.stage("a", act, retry=Retry(3))))
    ended = play.run(flow, Note())
    assert begun(play, ended.ref) == [1, 2, 3]
    assert ended.status == "failed"


def test_a_poison_stage_blocks_nothing_else(script: Script) -> None:
    flow = fork(script.stage("a"), script.stage("poison", dies()), script.stage("c"))
    play = Play(flow, other := line(script.stage("z"), id="other"))
    ref, beside = play.start(flow, Note()), play.start(other, Note())
    work(play)
    assert {"c", "z"} <= set(script.calls), "the sibling and the other run went on"
    play.play([ref, beside])
    assert play.ended(beside).status == "completed"
    assert play.ended(ref).status == "failed"


@pytest.mark.parametrize("where", ["body", "claim"])
def test_what_is_at_most_once_is_never_started_twice(script: Script, where: str) -> None:
    play = Play(flow := line(script.stage("a", dies() if where == "body" else None, at_most_once=True)))
    ref = play.start(flow, Note())
    if where == "claim":

        def choose(call: Call) -> None:
            if call.method == "put" and call.arguments[1].key == "log#0000000001":
                play.faults.choose = lambda _call: None
                play.store.put(*call.arguments)
                raise Crash

        play.faults.choose = choose
    play.play([ref])
    assert begun(play, ref) == [1]
    assert play.ended(ref).status == "failed"
    assert len(script.calls) <= 1


def test_one_dead_worker_holds_up_its_run_for_its_lease_and_a_look_at_most(script: Script) -> None:
    """dbos-transact-ts 872 and others: a dead holder strands the run. Here every message is lost, too."""
    play = Play(flow := line(script.stage("a", dies(1), retry=Retry(2, jitter=0.0))))
    ref = play.start(flow, Note())
    died = play.clock.now()
    work(play)
    limits = play.env.limits
    while not state_of(play, ref).status.finished:
        play.queue.clear()
        play.clock.move(limits.tick)
        play.tick()
        work(play)
    assert play.clock.now() - died <= LEASE + 2 * (limits.look_grace + limits.tick) + MINUTE


# --- zombies ----------------------------------------------------------------------------------------------------------


def frozen_past_its_lease(script: Script, by: str) -> tuple[Play, RunRef]:
    """The first attempt freezes until it was reaped, retried and completed; then it returns."""

    def act(ctx: Context) -> Note | None:
        if ctx.attempt > 1:
            return Note(text="second")
        play.clock.move(LEASE + 2_000)
        if by == "tick":
            play.clock.move(play.env.limits.look_grace)
            play.tick()
        play.attend(ref)
        play.clock.move(5_000)
        play.attend(ref)
        return Note(text="zombie")

    play = Play(flow := line(script.stage("a", act), script.stage("b")))
    ref = play.start(flow, Note())
    return play, ref


@pytest.mark.parametrize("by", ["worker", "tick"])
def test_a_zombies_result_is_discarded_and_said_so(script: Script, by: str, caplog: pytest.LogCaptureFixture) -> None:
    """bratsos/workflow-engine: the zombie and the new attempt both complete, and "completed" is published twice."""
    caplog.set_level(logging.INFO, "onewrite")
    play, ref = frozen_past_its_lease(script, by)
    play.play([ref])
    completed = [(each.stage, each.attempt) for each in events(play, ref, StageCompleted)]
    assert completed == [("a", 2), ("b", 1)]
    assert script.seen["b"] == Note(text="second")
    published = {each.id: each.type for each in play.sink.events}
    assert list(published.values()) == ["RunCreated", "RunCompleted"], "one completion, by its id"
    assert any("result discarded" in record.message for record in caplog.records)


def test_a_zombies_failure_is_discarded(script: Script) -> None:
    def act(ctx: Context) -> None:
        if ctx.attempt == 1:
            play.clock.move(LEASE + 2_000)
            play.attend(ref)
            play.clock.move(5_000)
            play.attend(ref)
            raise ValueError("zombie")

    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.play([ref])
    assert play.ended(ref).status == "completed"
    assert [each.error.category for each in events(play, ref, StageFailed)] == ["lease"]


def test_a_zombies_large_output_overwrites_nothing(script: Script) -> None:
    def act(ctx: Context) -> Note:
        if ctx.attempt == 1:
            play.clock.move(LEASE + 2_000)
            play.attend(ref)
            play.clock.move(5_000)
            play.attend(ref)
        return Note(text=str(ctx.attempt) * 2_000)

    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.play([ref])
    assert play.ended(ref).output == Note(text="2" * 2_000)


def test_running_code_can_ask_whether_it_was_overtaken(script: Script) -> None:
    asked: list[bool] = []

    def act(ctx: Context) -> None:
        if ctx.attempt == 1:
            asked.append(ctx.cancelled)
            play.clock.move(LEASE + 2_000)
            play.attend(ref)
            asked.append(ctx.cancelled)

    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.play([ref])
    assert asked == [False, True]

"""Attending and chaining (DESIGN 4): what a worker does, in how many commits and messages, and when it stops."""

from __future__ import annotations

import pytest

from kernel.core.state import StageStatus
from kernel.ports import Guard
from kernel.shell.attend import RESERVE, attend
from kernel.shell.environment import Limits
from kernel.testing.faults import Call
from kernel.testing.play import Play
from tests.shell.flows import Order, steps
from tests.shell.script import (
    Note,
    Script,
    commits_of,
    fork,
    is_commit_of,
    line,
    log_of,
    once_before,
    poke,
    stage_of,
)


@pytest.mark.parametrize("count", [1, 5, 12])
def test_a_chain_of_stages_takes_a_commit_each_one_more_and_one_message(count: int) -> None:
    play = Play(steps[count, True])
    ended = play.run(steps[count, True], Order())
    assert ended.status == "completed"
    assert len(commits_of(play, ended.ref)) == count + 1
    assert play.meter.total.messages == 1


def test_a_commit_of_a_chain_completes_one_stage_and_claims_the_next(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.run(flow, Note()).ref
    assert log_of(play, ref) == [
        ["StageStarted a"],
        ["StageCompleted a", "StageStarted b"],
        ["StageCompleted b", "RunCompleted"],
    ]


@pytest.mark.parametrize("count", [1, 5])
def test_without_chaining_a_stage_takes_two_commits_and_a_message(count: int) -> None:
    play = Play(steps[count, False])
    ended = play.run(steps[count, False], Order())
    assert len(commits_of(play, ended.ref)) == 2 * count
    assert play.meter.total.messages == count


def test_without_chaining_a_worker_runs_one_stage(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b"), chain=False))
    play.start(flow, Note())
    play.step()
    assert script.calls == ["a"]


def test_of_parallel_stages_a_worker_keeps_one_and_pokes_for_the_others(script: Script) -> None:
    branches = [script.stage(id_) for id_ in ("b", "c", "d")]
    play = Play(flow := fork(script.stage("a"), *branches))
    play.start(flow, Note())
    play.step()
    assert script.calls == ["a", "b"]
    assert sorted(each.stage for each in play.queue.waiting if each.at == 0) == ["c", "d"]


def test_pokes_for_what_became_ready_follow_the_commit(script: Script) -> None:
    """A fast worker never sees a run in which its stage is not scheduled yet."""
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c")))
    ref = play.start(flow, Note())

    def choose(call: Call) -> None:
        if call.method == "send" and any(sent.stage == "c" for sent, _ in call.arguments[0]):
            assert stage_of(play, ref, "c").status is StageStatus.SCHEDULED

    play.faults.choose = choose
    play.play([ref])
    assert sorted(script.calls) == ["a", "b", "c"]


def test_a_join_is_started_once_with_the_outputs_in_order(script: Script) -> None:
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d"))
    play = Play(flow)
    ended = play.run(flow, Note())
    assert script.calls.count("d") == 1
    assert script.seen["d"] == (Note(text="b"), Note(text="c"))
    assert ended.output == Note(text="d")


def test_two_workers_that_finish_the_branches_of_a_join_at_once_start_it_once(script: Script) -> None:
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d"))
    play = Play(flow)
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "b"), lambda: play.attend(ref, "c"))
    play.play([ref])
    assert script.calls == ["a", "b", "c", "d"]
    assert play.ended(ref).status == "completed"


# --- room and time ----------------------------------------------------------------------------------------------------


def test_the_chain_ends_at_its_cap_and_goes_on_by_a_poke(script: Script) -> None:
    flow = line(*(script.stage(f"s{number}") for number in range(5)))
    play = Play(flow, limits=Limits(chain_cap=2))
    ref = play.start(flow, Note())
    play.step()
    assert script.calls == ["s0", "s1"]
    assert play.queue.waiting == [poke(ref, "s2")]
    play.play([ref])
    assert script.calls == ["s0", "s1", "s2", "s3", "s4"]


def test_a_stage_that_does_not_fit_the_time_left_is_poked_and_not_started(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    play.step(seconds=60 + RESERVE / 1000 - 0.1)
    assert script.calls == []
    assert stage_of(play, ref, "a").status is StageStatus.SCHEDULED
    assert play.queue.waiting == [poke(ref, "a")]
    play.play([ref])
    assert script.calls == ["a", "b"]


def test_a_stage_that_just_fits_is_started(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    play.start(flow, Note())
    play.step(seconds=60 + RESERVE / 1000)
    assert script.calls == ["a"]


def test_time_that_stages_take_is_taken_from_those_that_follow(script: Script) -> None:
    slow = script.stage("a", lambda _ctx: play.clock.move(30_000))
    play = Play(flow := line(slow, script.stage("b")))
    ref = play.start(flow, Note())
    play.step(seconds=90)
    assert script.calls == ["a"]
    assert play.queue.waiting == [poke(ref, "b")]


def test_a_share_of_the_batch_ends_the_chain_but_not_the_first_stage(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    now = play.clock.monotonic()
    attend(play.env, poke(ref), now + 300, share=now + 10)
    assert script.calls == ["a"]
    assert poke(ref, "b") in play.queue.waiting


def test_workers_write_nothing_but_commits_while_a_run_goes_on(script: Script) -> None:
    """Neither index nor head is touched by the hot path."""
    play = Play(flow := line(*(script.stage(f"s{number}") for number in range(6))))
    play.start(flow, Note())

    def choose(call: Call) -> None:
        if call.port == "store" and "s5" not in script.calls:
            assert call.method != "update"
            assert call.method != "put" or call.arguments[2] is Guard.COMMIT_IS_NEXT

    play.faults.choose = choose
    play.step()
    assert len(script.calls) == 6

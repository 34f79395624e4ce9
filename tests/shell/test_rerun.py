"""Retry and rerun (R8): a new generation on the same log; what was done upstream is used again."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from kernel.core.events import RunReopened, StageStarted
from kernel.errors import Conflict
from kernel.ports import Guard, RunRef
from kernel.shell.rerun import retry
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, PermanentError, Retry
from tests.shell.script import (
    Note,
    Script,
    commits_of,
    events,
    fork,
    head_of,
    is_commit_of,
    is_under,
    line,
    on_condition,
    once,
    once_before,
    state_of,
    throws,
    work,
)

NO = PermanentError("no")


def failed(script: Script, times: int = 1) -> tuple[Play, RunRef]:
    """``a`` and ``b`` are done, ``c`` has failed."""
    flow = line(script.stage("a"), script.stage("b"), script.stage("c", throws(NO, times)), script.stage("d"))
    play = Play(flow)
    ref = play.run(flow, Note()).ref
    script.calls.clear()
    return play, ref


def completed(script: Script) -> tuple[Play, RunRef]:
    """Four stages, all done."""
    play, ref = failed(script)
    play.retry(ref)
    play.play([ref])
    script.calls.clear()
    return play, ref


def test_retry_goes_on_where_the_run_failed(script: Script) -> None:
    play, ref = failed(script)
    play.retry(ref)
    shown = play.ended(ref).view
    assert (shown.status, shown.generation, shown.error) == ("running", 1, None)
    play.play([ref])
    assert script.calls == ["c", "d"]
    assert play.ended(ref).status == "completed"


def test_retry_is_a_new_generation_and_history_is_kept(script: Script) -> None:
    play, ref = failed(script)
    before = commits_of(play, ref)
    retry(play.env, ref, by="api:alice", reason="the card works again")
    play.play([ref])
    after = commits_of(play, ref)
    assert after[: len(before)] == before
    (reopened,) = events(play, ref, RunReopened)
    assert (reopened.reset, reopened.reason) == (("c",), "the card works again")
    assert after[len(before)].by == "api:alice"
    assert [each.attempt for each in events(play, ref, StageStarted) if each.stage == "c"] == [1, 1]


def test_a_reopened_run_has_a_new_deadline(script: Script) -> None:
    play, ref = failed(script)
    play.clock.move(86_400_000)
    play.retry(ref)
    assert state_of(play, ref).deadline == play.clock.now() + play.env.limits.deadline


def test_a_run_can_be_retried_again_and_again(script: Script) -> None:
    play, ref = failed(script, times=3)
    for _ in range(3):
        play.retry(ref)
        play.play([ref])
    assert play.ended(ref).view.generation == 3
    assert play.ended(ref).status == "completed"


def test_retry_wakes_the_run_and_pokes_for_it(script: Script) -> None:
    play, ref = failed(script)
    play.retry(ref)
    head = head_of(play, ref)
    assert (head.status, head.due) == ("open", play.clock.now() + play.env.limits.look_grace)
    assert len(play.queue.waiting) == 1


def test_a_retry_whose_message_is_lost_is_found_by_the_tick(script: Script) -> None:
    play, ref = failed(script)
    play.retry(ref)
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().claimed == 1


def test_retrying_several_failed_branches_pokes_for_each(script: Script) -> None:
    """A commit that makes k stages ready pokes for each that is not kept (DESIGN 4)."""
    flow = fork(script.stage("a"), script.stage("b", throws(NO, 1)), script.stage("c", throws(NO, 1)))
    play = Play(flow)
    ref = play.run(flow, Note()).ref
    play.retry(ref)
    assert sorted(each.stage for each in play.queue.waiting) == ["b", "c"]


def test_rerun_from_a_stage_runs_it_and_what_depends_on_it(script: Script) -> None:
    play, ref = completed(script)
    play.rerun(ref, "c")
    play.play([ref])
    assert script.calls == ["c", "d"]
    assert script.seen["c"] == Note(text="b"), "with the output that was recorded"


def test_rerun_of_one_branch_leaves_the_other_alone(script: Script) -> None:
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d"))
    play = Play(flow)
    ref = play.run(flow, Note()).ref
    script.calls.clear()
    play.rerun(ref, "b")
    play.play([ref])
    assert script.calls == ["b", "d"]


def test_a_rerun_that_gives_something_else_replaces_the_output(script: Script) -> None:
    given = ["first", "second"]
    flow = line(script.stage("a", lambda _ctx: Note(text=given.pop(0))), script.stage("b"))
    play = Play(flow)
    ref = play.run(flow, Note()).ref
    play.rerun(ref, "a")
    play.play([ref])
    assert script.seen["b"] == Note(text="second")


def test_rerun_decides_conditions_anew(script: Script) -> None:
    wanted = [False]
    play = Play(flow := on_condition(line(script.stage("a")), lambda _note: wanted[0], script.stage("b")))
    ref = play.run(flow, Note()).ref
    wanted[0] = True
    play.rerun(ref, "b")
    play.play([ref])
    assert script.calls == ["a", "b"]


def test_rerun_of_a_cancelled_run_goes_on(script: Script) -> None:
    def act(_ctx: Context) -> None:
        if script.calls.count("a") == 1:
            play.cancel(ref)

    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.play([ref])
    play.rerun(ref, "a")
    play.play([ref])
    assert play.ended(ref).status == "completed"


def test_retry_of_a_run_that_failed_by_its_deadline_goes_on(script: Script) -> None:
    flow = line(script.stage("a"), script.stage("b"), deadline=timedelta(minutes=10), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())
    play.step()
    play.clock.move(700_000)
    play.step()
    assert play.ended(ref).status == "failed"
    play.retry(ref)
    play.play([ref])
    assert (play.ended(ref).status, script.calls) == ("completed", ["a", "b"])


def test_a_rerun_that_is_over_at_once_is_poked_for_to_be_published_and_finalised(script: Script) -> None:
    play = Play(flow := on_condition(line(script.stage("a")), lambda _note: False, script.stage("b")))
    ref = play.run(flow, Note()).ref
    play.rerun(ref, "b")
    work(play)
    assert (head_of(play, ref).status, head_of(play, ref).due) == ("completed", None)


# --- at once, and with a crash ----------------------------------------------------------------------------------------


def test_of_two_retries_at_once_one_is_refused(script: Script) -> None:
    play, ref = failed(script)
    once_before(play, lambda call: is_commit_of(call, "RunReopened"), lambda: play.retry(ref))
    with pytest.raises(Conflict, match="only a finished run"):
        play.retry(ref)
    play.play([ref])
    assert script.calls == ["c", "d"]


@pytest.mark.parametrize("when", ["WAKE_IS_NEWER", "COMMIT_IS_NEXT"])
def test_a_retry_that_died_on_its_way_leaves_a_failed_run_that_can_be_retried(script: Script, when: str) -> None:
    play, ref = failed(script)
    once(play, lambda call: is_under(call, Guard[when]), Fault.CRASH_BEFORE)
    with suppress(Crash):
        play.retry(ref)
    play.clock.move(play.env.limits.look_grace)
    play.tick()
    head = head_of(play, ref)
    assert (head.status, head.due) == ("failed", None)
    play.retry(ref)
    work(play)
    assert play.ended(ref).status == "completed"


def test_what_an_attempt_of_the_former_generation_gives_is_discarded(script: Script) -> None:
    def act(ctx: Context) -> Note:
        if script.calls.count("a") == 1:
            play.cancel(ref)
            play.rerun(ref, "a")
            play.attend(ref)
            return Note(text="former")
        return Note(text="new")

    play = Play(flow := line(script.stage("a", act, retry=Retry(1))))
    ref = play.start(flow, Note())
    play.play([ref])
    assert play.ended(ref).output == Note(text="new")

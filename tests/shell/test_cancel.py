"""Cancelling (R6): wins or loses whole, from any unfinished status, whatever runs meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.events import RunCancelled
from kernel.errors import Conflict, CorruptLog, InvalidInput, NotFound, Unavailable
from kernel.ports import Guard, RunRef
from kernel.shell.cancel import cancel
from kernel.testing.faults import Call, Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, Retry
from tests.shell.script import (
    MINUTE,
    Note,
    Script,
    commits_of,
    dies,
    events,
    fork,
    head_of,
    is_commit_of,
    is_under,
    line,
    once,
    once_before,
    pending,
    throws,
    work,
)


def started(play: Play, flow: Any) -> RunRef:
    """A run that workers have done with for now."""
    ref = play.start(flow, Note())
    work(play)
    return ref


def test_cancel_ends_the_run_with_the_reason_and_who_gave_it(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    cancel(play.env, ref, by="api:alice", reason="changed my mind")
    shown = play.ended(ref).view
    assert (shown.status, shown.reason) == ("cancelled", "changed my mind")
    assert commits_of(play, ref)[-1].by == "api:alice"
    assert (head_of(play, ref).status, head_of(play, ref).due) == ("cancelled", None)
    assert [each.type for each in play.sink.events] == ["RunCreated", "RunCancelled"]


UNFINISHED: dict[str, Callable[[Script], Any]] = {
    "suspended": lambda script: line(script.job("a", pending(9))),
    "retrying": lambda script: line(script.stage("a", throws(ValueError()), retry=Retry(2))),
    "running": lambda script: line(script.stage("a", dies())),
    "half done": lambda script: fork(script.stage("a"), script.stage("b"), script.job("c", pending(9))),
}


@pytest.mark.parametrize("status", UNFINISHED)
def test_cancel_ends_a_run_in_any_unfinished_status(script: Script, status: str) -> None:
    play = Play(flow := UNFINISHED[status](script))
    ref = started(play, flow)
    before = list(script.calls)
    play.cancel(ref)
    play.clock.move(60 * MINUTE)
    play.tick()
    work(play)
    assert play.ended(ref).status == "cancelled"
    assert script.calls == before, "no stage starts, and no check is made"


def test_cancel_discards_what_a_running_stage_gives(script: Script) -> None:
    play = Play(flow := line(script.stage("a", lambda _ctx: play.cancel(ref)), script.stage("b")))
    ref = play.start(flow, Note())
    play.play([ref])
    assert script.calls == ["a"]
    assert play.ended(ref).names()[-1] == "RunCancelled"


def test_running_code_can_ask_whether_it_was_cancelled(script: Script) -> None:
    asked: list[bool] = []

    def act(ctx: Context) -> None:
        asked.append(ctx.cancelled)
        play.cancel(ref)
        asked.append(ctx.cancelled)

    play = Play(flow := line(script.stage("a", act)))
    ref = play.start(flow, Note())
    play.play([ref])
    assert asked == [False, True]


def test_progress_of_others_does_not_look_like_a_cancel(script: Script) -> None:
    asked: list[bool] = []

    def act(ctx: Context) -> None:
        play.attend(ref, "c")
        asked.append(ctx.cancelled)

    play = Play(flow := fork(script.stage("a"), script.stage("b", act), script.stage("c")))
    ref = play.start(flow, Note())
    play.step()
    assert (asked, script.calls) == ([False], ["a", "b", "c"])


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_finished_run_cannot_be_cancelled(script: Script, end: str) -> None:
    play = Play(flow := line(script.stage("a", throws(ValueError("no")) if end == "failed" else None)))
    ref = play.start(flow, Note())
    if end == "cancelled":
        play.cancel(ref)
    play.play([ref])
    before = (head_of(play, ref), commits_of(play, ref))
    with pytest.raises(Conflict, match=f"is {end} already and cannot be cancelled"):
        play.cancel(ref)
    assert (head_of(play, ref), commits_of(play, ref)) == before


def test_when_the_run_completes_first_the_cancel_loses_whole(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "RunCancelled"), lambda: work(play))
    with pytest.raises(Conflict, match="completed already"):
        play.cancel(ref)
    assert not events(play, ref, RunCancelled)
    assert head_of(play, ref).status == "completed"


def test_when_the_cancel_comes_first_the_completion_loses_whole(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "RunCompleted"), lambda: play.cancel(ref))
    work(play)
    assert play.ended(ref).names()[-1] == "RunCancelled"
    assert head_of(play, ref).status == "cancelled"


def test_cancel_goes_on_against_busy_workers_for_longer_than_they_do(script: Script) -> None:
    """Each time that it finds a place in the log, somebody else takes it first, for ten seconds on end."""
    play = Play(flow := fork(script.stage("a"), *(script.job(f"j{number}", pending(99)) for number in range(6))))
    ref = started(play, flow)
    ends = play.clock.now() + 10_000

    def choose(call: Call) -> None:
        if is_commit_of(call, "RunCancelled") and play.clock.now() < ends:
            play.faults.choose = lambda _call: None
            taken = commits_of(play, ref)[-1]
            play.store.put(
                ref, type(taken)(taken.seq + 1, taken.at, f"t{taken.seq}", "w", b'[{"type":"Closed"}]', 0, 1)
            )
            play.faults.choose = choose

    play.faults.choose = choose
    play.cancel(ref)
    assert play.ended(ref).status == "cancelled"


def test_a_cancel_whose_reply_was_lost_is_done(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_commit_of(call, "RunCancelled"), Fault.LOST_REPLY)
    play.cancel(ref)
    assert len(events(play, ref, RunCancelled)) == 1


def test_a_canceller_that_dies_before_finalising_is_helped_by_the_tick(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_under(call, Guard.FINALISE_IS_LATEST), Fault.CRASH_BEFORE)
    with suppress(Crash, Unavailable):
        play.cancel(ref)
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().finalised == 1
    assert head_of(play, ref).status == "cancelled"


@pytest.mark.parametrize("reason", ["x" * 501, "\ud800"], ids=["long", "surrogate"])
def test_a_reason_that_cannot_be_kept_is_refused(script: Script, reason: str) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    with pytest.raises(InvalidInput, match="reason"):
        play.cancel(ref, reason)
    assert not commits_of(play, ref)


@pytest.mark.parametrize("error", [NotFound("gone"), CorruptLog("damaged")], ids=["gone", "damaged"])
def test_a_cancel_that_is_in_the_log_is_accepted_whatever_is_found_afterwards(script: Script, error: Exception) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())

    def publish(_events: object) -> Any:
        raise error

    play.env = replace(play.env, sink=SimpleNamespace(publish=publish))
    play.cancel(ref)
    assert len(events(play, ref, RunCancelled)) == 1


def test_a_run_that_is_not_there_cannot_be_cancelled(script: Script) -> None:
    with pytest.raises(NotFound, match="there is no run"):
        Play(line(script.stage("a"))).cancel(RunRef("test", "0" * 24))


def test_a_cancel_that_is_in_the_log_is_accepted_whatever_fails_afterwards(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    landed: list[Call] = []

    def choose(call: Call) -> Fault | None:
        if landed:
            return Fault.UNAVAILABLE
        if is_commit_of(call, "RunCancelled"):
            landed.append(call)
        return None

    play.faults.choose = choose
    play.cancel(ref)
    play.faults.choose = lambda _call: None
    play.play([ref], days=1)
    assert head_of(play, ref).status == "cancelled"

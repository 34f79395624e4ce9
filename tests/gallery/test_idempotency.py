"""Idempotency: keys that stay the same, marks that lose no work and block none, and no word from whom was overtaken."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from kernel.core.events import StageCompleted, StageFailed
from kernel.errors import InvalidInput, Unavailable
from kernel.ports import Data, Guard, RunRef
from kernel.shell import read
from kernel.shell.start import start
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, PermanentError, Retry
from tests.gallery.stage import SOON, attempts, each_death, finish, look, restart, take_over
from tests.gallery.traps import trap
from tests.shell.script import (
    Flow,
    Note,
    Script,
    dies,
    events,
    head_of,
    is_commit_of,
    is_under,
    line,
    once,
    once_before,
    throws,
    work,
)

ALGA, BRATSOS, POWERTOOLS = "AlgaPSA", "bratsos/workflow-engine", "Powertools idempotency"


def runs(play: Play) -> list[RunRef]:
    """Every run that there is."""
    return [entry.ref for entry in read.list_runs(play.env, "test", ["flow"])]


def begin(play: Play, flow: Flow, given: Any) -> tuple[RunRef, bool]:
    """Start a run under the one key; which it is, and whether it was there already."""
    started = start(play.env, flow, given, tenant="test", by="test", key="k")
    return started.ref, started.replay


@trap(ALGA, "Keys made of the time and a random number: every retry is new.")
def test_an_effect_that_is_tried_again_is_tried_under_the_same_key(script: Script) -> None:
    def charge(ctx: Context) -> None:
        charged.setdefault(ctx.key, []).append(ctx.attempt)
        restart(play, flow)
        play.clock.move(1_234)
        if ctx.attempt == 1:
            raise ConnectionError("it went through, but nobody knows")
        if ctx.attempt == 2:
            raise Crash

    charged: dict[str, list[int]] = {}
    play = Play(flow := line(script.stage("a", charge), script.stage("b", charge)))
    refs = [play.start(flow, Note()) for _ in range(2)]
    for ref in refs:
        finish(play, ref)
    assert charged == {f"{ref.run}/{stage}": [1, 2, 3] for ref in refs for stage in "ab"}


@trap(ALGA, "The marker is written before the work: a crash in between loses the work.")
def test_a_crash_between_the_mark_that_work_begins_and_the_work_loses_nothing(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b"), chain=False))
    once(play, lambda call: is_under(call, Guard.RUN_IS_NEW), Fault.CRASH_AFTER)
    with pytest.raises(Crash):
        begin(play, flow, Note())  # the run is marked as started under its key, and nobody was told
    (ref,) = runs(play)
    look(play)

    def dies_before(stage: str) -> None:
        once(play, lambda call: is_commit_of(call, "StageStarted", stage), Fault.CRASH_AFTER)
        with pytest.raises(Crash):
            work_on(play)
        play.queue.clear()
        assert script.calls.count(stage) == 0
        look(play)
        work(play)
        play.clock.move(SOON)

    dies_before("a")
    dies_before("b")
    finish(play, ref)
    assert (script.calls, attempts(play, ref, "a"), attempts(play, ref, "b")) == (["a", "b"], [1, 2], [1, 2])


def work_on(play: Play) -> None:
    """Let workers take what is due; whoever dies says so."""
    while play.step() is not None:
        pass


@trap(ALGA, "A failed record blocks its own retry by the unique key.")
def test_what_has_failed_does_not_stand_in_the_way_of_its_own_retry(script: Script) -> None:
    play = Play(flow := line(script.stage("a", throws(PermanentError("no"), 1)), script.stage("b")))
    with pytest.raises(InvalidInput):
        begin(play, flow, {"text": 7})  # refused: the key is not used up
    play.faults.choose = lambda call: Fault.UNAVAILABLE if is_under(call, Guard.RUN_IS_NEW) else None
    with pytest.raises(Unavailable):
        begin(play, flow, Note())  # never got through: nor is it now
    play.faults.choose = lambda _call: None
    ref, replay = begin(play, flow, Note())
    assert not replay
    finish(play, ref, "failed")
    assert begin(play, flow, Note()) == (ref, True), "the key leads to the run that failed ..."
    play.retry(ref)
    finish(play, ref)  # ... which goes on under it
    assert (script.calls, runs(play)) == (["a", "a", "b"], [ref])

    large = Note(text="x" * 5_000)
    for fault, tries in ((Fault.LOST_REPLY, [1]), (Fault.CRASH_AFTER, [1, 2])):
        play = Play(flow := line(script.stage("a", lambda _ctx: large)))
        ref = play.start(flow, Note())
        once(play, lambda call: call.method == "put" and isinstance(call.arguments[1], Data), fault)
        with suppress(Crash):
            play.attend(ref)
        assert finish(play, ref).output == large, "what the first try has written is in nobody's way"
        assert attempts(play, ref) == tries


@trap(POWERTOOLS, "The final update carries no owner: a zombie overwrites its successor's record.", 8386, 8049)
def test_a_zombie_does_not_overwrite_what_its_successor_recorded() -> None:
    def meets(zombie: Any, successor: Any) -> tuple[Play, RunRef]:
        """The first worker ends so, but only after another one has taken over and ended so, or not yet."""

        def act(ctx: Context) -> Any:
            if ctx.attempt == 1:
                with suppress(Crash):
                    take_over(play, ref)
                return zombie(ctx)
            return successor(ctx) if ctx.attempt == 2 else Note(text="3" * 5_000)

        play = Play(flow := line(Script().stage("a", act, retry=Retry(3))))
        ref = play.start(flow, Note())
        play.step(seconds=900)
        return play, ref

    def returns(ctx: Context) -> Note:
        return Note(text=str(ctx.attempt) * 5_000)

    for zombie in (returns, throws(PermanentError("zombie"))):
        for successor, winner in ((returns, 2), (dies(1), 3)):  # it has ended; and it is in the middle of it
            play, ref = meets(zombie, successor)
            assert finish(play, ref).output == Note(text=str(winner) * 5_000)
            assert [each.attempt for each in events(play, ref, StageCompleted)] == [winner]
            assert {each.error.kind for each in events(play, ref, StageFailed)} == {"LeaseLost"}


@trap(POWERTOOLS, "The final update carries no owner: a zombie deletes its successor's record.", 8386, 8049)
def test_a_zombie_does_not_take_a_run_out_of_the_index_that_was_reopened(script: Script) -> None:
    play = Play(flow := line(script.stage("a", throws(PermanentError("no"), 1))))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_under(call, Guard.FINALISE_IS_LATEST), lambda: play.retry(ref))
    play.attend(ref)  # it was about to say that the run is over
    play.queue.clear()
    assert (head_of(play, ref).due is not None, head_of(play, ref).status) == (True, "open")
    assert look(play).claimed == 1
    finish(play, ref)
    assert script.calls == ["a", "a"]


@trap(BRATSOS, "A key is stuck 'in progress' after a crash.")
def test_a_key_whose_starter_died_at_any_moment_leads_to_one_run_that_ends(script: Script) -> None:
    flow = line(script.stage("a"))
    for given in (Note(), Note(text="x" * 5_000)):

        def starts(play: Play, _nothing: RunRef, given: Note = given) -> None:
            begin(play, flow, given)

        for play, _ in each_death(lambda: (Play(flow), RunRef("test", "")), starts):
            created = runs(play)
            ref, replay = begin(play, flow, given)
            assert replay == (created == [ref]), "what was created is answered with, never created over again"
            play.queue.clear()
            assert runs(play) == [ref]
            finish(play, ref)


@trap(BRATSOS, "A key is released after a commit whose reply was lost, and the run is created twice.")
def test_a_key_whose_starter_never_heard_of_its_success_creates_no_second_run(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    play.faults.choose = lambda call: Fault.LOST_REPLY if is_under(call, Guard.RUN_IS_NEW) else None
    with pytest.raises(Unavailable):
        begin(play, flow, Note())
    play.faults.choose = lambda _call: None
    ref, replay = begin(play, flow, Note())
    assert (replay, runs(play)) == (True, [ref])
    finish(play, ref)
    assert begin(play, flow, Note()) == (ref, True)
    assert script.calls == ["a"]

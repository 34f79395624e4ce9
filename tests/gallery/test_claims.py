"""Claims: of all that try, one creates the run, takes the stage, has the last word; and none comes too early."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from msgspec.structs import replace

from infra.clients import Clients
from infra.dynamodb.store import DynamoDbStore
from infra.dynamodb.table import create_table
from infra.system import SystemRandom
from kernel.errors import Conflict
from kernel.ports import Head
from kernel.shell.attend import Attended, Outcome, attend
from kernel.shell.start import start
from kernel.testing.play import Play
from tests.gallery.stage import SOON, finish, on_engine, published
from tests.gallery.traps import trap
from tests.shell.script import Note, Script, fork, is_commit_of, line, once_before, throws

BRATSOS, LUNO = "bratsos/workflow-engine", "luno/workflow"


@trap(BRATSOS, "Enqueue before commit: a fast worker sees a run that is not there yet and throws the job away.")
def test_no_worker_is_fast_enough_to_meet_a_message_before_what_it_is_about(script: Script) -> None:
    class Instant:
        """Delivers a message while its sender is still sending it."""

        def send(self, pokes: Any) -> None:
            for sent, delay in pokes:
                assert delay == 0
                before = list(script.calls)
                outcomes.append(attend(env, sent, env.clock.monotonic() + 300).outcome)
                useful.append(script.calls != before)

    outcomes: list[Outcome] = []
    useful: list[bool] = []
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c"), script.stage("d")))
    env = replace(play.env, queue=Instant())
    ref = start(env, flow, Note(), tenant="test", by="test").ref
    assert (outcomes, useful) == ([Outcome.ATTENDED] * 3, [True] * 3), "the run's message, and two branches'"
    finish(play, ref)
    assert sorted(script.calls) == ["a", "b", "c", "d"]


@trap("dbos-transact-py", "A lost claim runs the body anyway.", 742)
def test_a_worker_that_loses_the_race_for_a_stage_does_not_run_it(script: Script) -> None:
    def raced(stage: str) -> None:
        """Somebody else claims it while the claim of the one who is about to do so is on its way."""
        before = script.calls.count(stage)
        winner: list[Attended] = []
        once_before(
            play, lambda call: is_commit_of(call, "StageStarted", stage), lambda: winner.append(play.attend(ref))
        )
        play.attend(ref)
        assert winner
        assert script.calls.count(stage) == before + 1

    flow = line(script.stage("a"), script.stage("b", throws(ValueError("again"), 2)), script.stage("c"), chain=False)
    play = Play(flow)
    ref = play.start(flow, Note())
    raced("a")  # the claim that begins the run; whoever loses it goes on to b, which fails
    play.clock.move(SOON)
    raced("b")  # that of a retry
    play.clock.move(SOON)
    play.attend(ref)
    raced("c")  # that of a stage which is ready
    finish(play, ref)
    assert script.calls == ["a", "b", "b", "b", "c"]


@pytest.mark.dynamodb_local
@trap(LUNO, "Check-then-store without a condition: 16 concurrent starts for one key, 16 accepted.")
def test_of_sixteen_starts_at_once_with_one_key_one_creates_the_run(dynamodb_local: Clients, script: Script) -> None:
    create_table(dynamodb_local.dynamodb, "onewrite-gallery")
    flow = line(script.stage("a"))
    play = Play(flow)
    store = DynamoDbStore(dynamodb_local.dynamodb, "onewrite-gallery")
    env = replace(on_engine(play, store).env, store=store, random=SystemRandom())
    key, together = env.random.token(), Barrier(16)

    def begin(number: int) -> Any:
        together.wait(timeout=30)
        text = "the same" if number < 8 else "another"
        try:
            return start(env, flow, Note(text=text), tenant="test", by=f"caller {number}", key=key)
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(begin, range(16)))
    (created,) = [number for number, answer in enumerate(answers) if getattr(answer, "replay", None) is False]
    alike, unlike = (answers[:8], answers[8:]) if created < 8 else (answers[8:], answers[:8])
    assert {answer.ref for answer in alike} == {answers[created].ref}
    assert all(isinstance(answer, Conflict) for answer in unlike)
    head = store.get(answers[created].ref, "~head")
    assert isinstance(head, Head)
    assert head.by == f"caller {created}"


@trap(LUNO, "A successful pause is overwritten by a completion.")
def test_a_cancel_that_was_accepted_is_not_undone_by_a_completion_nor_the_other_way_round(script: Script) -> None:
    """What somebody asks of a run from outside is a cancel here."""
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted"), lambda: play.cancel(ref, "stop"))
    play.attend(ref)  # it had its result in hand when the cancel was accepted
    ended = finish(play, ref, "cancelled")
    assert (ended.view.reason, script.calls) == ("stop", ["a"])
    assert published(play, ref) == ["RunCreated", "RunCancelled"]

    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "RunCancelled"), lambda: play.attend(ref))
    with pytest.raises(Conflict, match="completed already"):
        play.cancel(ref)
    finish(play, ref)
    assert published(play, ref) == ["RunCreated", "RunCompleted"]

"""Errors and strategies: each does what its name says, nobody's failure ends what others still do, numbers compare."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from kernel.core.events import RunFailed
from kernel.core.state import RunStatus, StageStatus
from kernel.testing.play import Play
from onewrite import Context, Failed, PermanentError, Retry, Workflow, stage
from tests.gallery.stage import finish, look, published, restart
from tests.gallery.traps import trap
from tests.shell.script import Note, Script, events, line, stage_of, state_of, throws, work

ALGA, BRATSOS = "AlgaPSA", "bratsos/workflow-engine"


@trap(ALGA, "Stop, continue, retry and compensate exist by name and behave alike.")
def test_each_strategy_does_what_it_says_and_no_two_do_the_same() -> None:
    def fails(times: int, **policy: Any) -> tuple[list[str], str, str, Any]:
        """What becomes of a run whose middle stage throws so often, under that policy."""
        script = Script()
        first = script.stage("a", compensate=script.undo())
        middle: Any = script.stage("b", throws(ConnectionError("no"), times), **policy)
        last: Any = script.after_failure("c") if policy["on_failure"] == "proceed" else script.stage("c")
        flow: Any = line(first, middle).then(last)
        play = Play(flow)
        ref = play.start(flow, Note())
        play.play([ref], days=1)
        view = play.ended(ref).view
        return script.calls, view.status, view.compensation, script.seen.get("c")

    stop = fails(9, retry=Retry(1), on_failure="stop")
    proceed = fails(9, retry=Retry(1), on_failure="proceed")
    compensate = fails(9, retry=Retry(1), on_failure="compensate")
    retry = fails(2, retry=Retry(3), on_failure="stop")
    assert stop == (["a", "b"], "failed", "", None)
    failure = Failed(stage="b", kind="ConnectionError", message="no", category="user")
    assert proceed == (["a", "b", "c"], "completed", "", failure)
    assert compensate == (["a", "b", "compensate:a"], "failed", "complete", None)
    assert retry == (["a", "b", "b", "b", "c"], "completed", "", Note(text="b"))


@trap(BRATSOS, "A parallel stage that fails for good kills the run while its sibling has a retry coming.")
def test_a_run_does_not_fail_before_its_last_branch_has_come_to_its_end() -> None:
    for on_failure, then in (("stop", []), ("compensate", ["compensate:b", "compensate:a"])):
        script = Script()
        wait = timedelta(minutes=10)
        flow: Any = (
            Workflow("flow", input=Note, on_failure=on_failure)  # type: ignore[arg-type]  # one of the literals
            .then(script.stage("a", compensate=script.undo()))
            .together(
                script.stage(
                    "b",
                    throws(ConnectionError("later"), 1),
                    retry=Retry(2, first=wait, cap=wait, jitter=0.0),
                    compensate=script.undo(),
                ),
                script.stage("c", throws(PermanentError("no"))),
            )
            .then(script.join("d"))
        )
        play = Play(flow)
        ref = play.start(flow, Note())
        work(play)
        look(play, times=4)
        statuses = [stage_of(play, ref, id_).status for id_ in "bc"]
        assert statuses == [StageStatus.RETRYING, StageStatus.FAILED]
        assert state_of(play, ref).status is RunStatus.RUNNING
        assert published(play, ref) == ["RunCreated"]
        finish(play, ref, "failed")
        assert script.calls == ["a", "b", "c", "b", *then]
        (failed,) = events(play, ref, RunFailed)
        assert (failed.error.stage, stage_of(play, ref, "b").status) == ("c", StageStatus.COMPLETED)


class Purchase(BaseModel):
    """Two amounts, which are recorded as texts."""

    amount: Decimal
    limit: Decimal


@trap(ALGA, "Guards coerce: 500 > 100 is false.")
def test_a_condition_compares_numbers_as_numbers_however_they_were_sent() -> None:
    @stage
    def quote(ctx: Context, purchase: Purchase) -> Purchase:
        return purchase

    @stage
    def approve(ctx: Context, purchase: Purchase) -> Note:
        return Note(text="approved")

    def above(purchase: Purchase) -> bool:
        return purchase.amount > purchase.limit

    sure: Any = Workflow("sure", input=Purchase).then_if(above, approve)
    later: Any = Workflow("later", input=Purchase, chain=False).then(quote).then_if(above, approve)
    play = Play(sure, later)
    for amount, limit in ((500, 100), (100, 500), (9, 10), (10, 9), (500, 1_000), (1_000, 999), (-5, -50), (7, 7)):
        sent = (
            Purchase(amount=Decimal(amount), limit=Decimal(limit)),
            {"amount": amount, "limit": f"{limit}.00"},
            f'{{"amount": "{amount}", "limit": {limit}}}',
            f'{{"amount": {amount}.0, "limit": "{limit}"}}',
        )
        for flow in (sure, later):
            for given in sent:
                ref = play.start(flow, given)
                work(play)
                restart(play, sure, later)
                ended = finish(play, ref)
                assert (ended.output is not None) == (amount > limit), (amount, limit, given)

"""Events and waits: nothing is told before it is true, decided on unrecorded data, missed or waited for in vain."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, PrivateAttr

from kernel.core.codec import to_json
from kernel.core.events import LeaseExpired
from kernel.ports import Published, RunRef
from kernel.shell import read
from kernel.shell.environment import Limits
from kernel.testing.faults import Fault
from kernel.testing.play import Play
from onewrite import Context, Pending, PermanentError, Workflow, stage
from tests.gallery.stage import SOON, finish, published, restart
from tests.gallery.traps import trap
from tests.shell.script import Note, Script, events, fork, is_commit_of, line, once, once_before, throws, work

ALGA, LUNO = "AlgaPSA", "luno/workflow"
NO = PermanentError("no")


@trap(
    ALGA,
    "The event is published inside the database transaction: the worker sees it before the commit, "
    "or sees one that was rolled back.",
)
def test_no_event_is_published_before_its_commit_nor_of_a_commit_that_never_was(script: Script) -> None:
    def listen(event: Published) -> None:
        _, seq, index = event.id.split("#")
        log = play.ended(RunRef(event.tenant, event.run)).log
        told = msgspec.json.decode(event.body)["event"]
        committed = int(seq) < len(log) and told == msgspec.json.decode(to_json(log[int(seq)][int(index)]))
        seen.append((event.type, committed))

    seen: list[tuple[str, bool]] = []
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d"))
    play = Play(flow, limits=Limits(publish="all"))
    play.sink.refuse = listen
    contended, cancelled = play.start(flow, Note()), play.start(flow, Note())
    # The commit of b's end is refused by that of c's; and that of the run's end by a cancel: both are rolled back.
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "b"), lambda: play.attend(contended, "c"))
    play.attend(contended)
    once_before(play, lambda call: is_commit_of(call, "RunCompleted"), lambda: play.cancel(cancelled))
    play.attend(cancelled)
    rolled_back = [call for call in play.faults.calls if is_commit_of(call, "StageCompleted", "b")]
    assert len(rolled_back) == 3, "b's end was committed twice in one of the runs, once in the other"
    play.play([contended, cancelled], days=1)
    assert all(committed for _, committed in seen), seen
    for ref, end in ((contended, "RunCompleted"), (cancelled, "RunCancelled")):
        assert published(play, ref) == [name.split()[0] for name in play.ended(ref).names()]
        assert [each for each in published(play, ref) if each.startswith("Run")] == ["RunCreated", end]


@trap(ALGA, "The enqueued event is already in the log when it is processed: 'no transition'.")
def test_a_worker_that_finds_its_own_commit_in_the_log_already_goes_on_from_it() -> None:
    def unheard(event: str) -> None:
        """The commit of this event lands, and its writer is told that nobody knows."""
        script = Script()
        flow = line(script.stage("a"), script.stage("b", throws(ValueError("again"), 1)), script.stage("c"))
        play = Play(flow)
        ref = play.start(flow, Note())
        begun = play.clock.now()
        once(play, lambda call: is_commit_of(call, event), Fault.LOST_REPLY)
        play.attend(ref)
        play.clock.move(SOON)
        play.attend(ref, "b")
        tokens = [call.arguments[1].token for call in play.faults.calls if is_commit_of(call, event)]
        assert len(tokens) == len(set(tokens)) + 1, "it was put again"
        assert play.ended(ref).status == "completed", "at once: nobody had to wait for a lease"
        assert play.clock.now() - begun < 2 * SOON
        finish(play, ref)
        assert script.calls == ["a", "b", "b", "c"]
        assert events(play, ref, LeaseExpired) == []

    for event in ("StageStarted", "StageFailed", "StageCompleted", "RunCompleted"):
        unheard(event)


class Amount(BaseModel):
    """Something that a condition decides on."""

    euros: Decimal
    within: timedelta
    _unseen: str = PrivateAttr("")


@trap(ALGA, "Guards see other data live than on replay.")
def test_a_condition_sees_what_is_recorded_whoever_decides_and_is_not_asked_again_by_a_replay() -> None:
    @stage
    def quote(ctx: Context, note: Note) -> Amount:
        amount = Amount(euros=Decimal("500.00"), within=timedelta(days=1))
        amount._unseen = "in memory only"
        return amount

    @stage
    def ship(ctx: Context, one: Amount, two: Amount) -> Note:
        return Note(text="shipped")

    def large(one: Amount, two: Amount) -> bool:
        given.extend((repr(each), each._unseen) for each in (one, two))
        return one.euros > 100

    given: list[tuple[str, str]] = []
    first = quote.named("first")
    flow = Workflow("flow", input=Note).together(first, quote.named("second")).then_if(large, ship)
    play = Play(flow)
    ref = play.start(flow, Note())
    play.attend(ref, "first")  # one worker has just given the one output, and reads the other from the log
    play.attend(ref)
    finish(play, ref)
    assert len(given) == 2
    read.replay(play.env, read.find(play.env, ref))
    for seq in range(len(play.ended(ref).log)):
        read.show(play.env, ref, seq=seq)
    assert len(given) == 2, "what was decided stands in the log"
    play.rerun(ref, "ship")  # decided anew, by somebody who has to read both
    finish(play, ref)
    assert given == [(repr(Amount(euros=Decimal("500.00"), within=timedelta(days=1))), "")] * 4


@trap(ALGA, "An event that arrives before the wait is missed.")
def test_what_happens_before_anybody_waits_for_it_is_not_missed(script: Script) -> None:
    """A provider is done before the run waits for it, and a branch before the other ones are."""
    done: list[int] = []
    play = Play(flow := line(script.job("a", lambda _ctx: None if done else Pending())))
    ref = play.start(flow, Note())
    # The provider is done before the commit that says that somebody waits for it.
    once_before(play, lambda call: is_commit_of(call, "StageSuspended"), lambda: done.append(play.clock.now()))
    play.step()
    assert done
    finish(play, ref)
    assert script.calls == ["a", "check:a"], "found by the first look"

    def joined(early: str, late: str) -> None:
        """One branch ends while the other's end, already in its worker's hand, waits to be committed."""
        script.calls.clear()
        flow = fork(script.stage("z"), script.stage("b"), script.stage("c"), chain=False).then(script.join("d"))
        play = Play(flow)
        ref = play.start(flow, Note())
        play.attend(ref)
        once_before(play, lambda call: is_commit_of(call, "StageCompleted", late), lambda: play.attend(ref, early))
        play.attend(ref, late)
        finish(play, ref)
        assert script.calls == ["z", late, early, "d"]
        assert script.seen["d"] == (Note(text="b"), Note(text="c"))

    joined("b", "c")
    joined("c", "b")

    # An event from outside is in the run's state, whoever looks at it next, until a wait takes it.
    waits: Any = line(script.stage("c")).wait_for(Note).then(script.stage("d"))
    play = Play(waits)
    ref = play.start(waits, Note())
    play.queue.clear()
    play.send(ref, Note(text="early"), id="e-1")
    play.play(ref)
    assert script.seen["d"] == Note(text="early")
    assert play.event(ref, "e-1").status == "applied"


@trap(LUNO, "Waiting for a status that was already reached hangs.")
def test_waiting_for_what_was_reached_or_passed_already_returns_at_once(script: Script) -> None:
    flows = (
        line(script.stage("a")),
        line(script.stage("a", throws(NO)), id="failing"),
        line(script.stage("a", compensate=script.undo()), script.stage("b", throws(NO)), id="undone"),
    )
    play = Play(*flows)
    for flow, status in zip(flows, ("completed", "failed", "failed"), strict=True):
        ref = play.run(flow, Note()).ref
        before = play.clock.now()
        for wanted in (("completed", "failed", "cancelled"), (status,), ("running",), ("compensating",), ("parked",)):
            shown = read.wait_for(play.env, ref, timeout=60, until=frozenset(wanted))
            assert shown is not None
            assert shown.status == status
        assert play.clock.now() == before


@trap(LUNO, "Waiting for the end returns on 'paused'.")
def test_waiting_for_the_end_goes_on_while_a_run_is_parked(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parked run is what a paused one is elsewhere: not running, and not over."""
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    restart(play)  # a deployment that does not have its workflow
    work(play)
    shown = read.wait_for(play.env, ref, timeout=60, until=frozenset({"parked"}))
    assert shown is not None
    assert shown.status == "parked"
    assert read.wait_for(play.env, ref, timeout=60) is None

    def meanwhile(seconds: float) -> None:
        naps.append(seconds)
        play.clock.move(int(seconds * 1_000))
        if len(naps) == 20:
            restart(play, flow)
            play.attend(ref)

    naps: list[float] = []
    monkeypatch.setattr(play.clock, "sleep", meanwhile)
    shown = read.wait_for(play.env, ref, timeout=600)
    assert shown is not None
    assert (shown.status, len(naps)) == ("completed", 20)

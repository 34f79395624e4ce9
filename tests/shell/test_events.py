"""External events and waits (E1, E2): accepted once, applied once, kept for who waits later, refused with a reason."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from kernel.core.decide import KEPT
from kernel.core.events import EventReceived, StageSkipped, WaitMatched, WaitStarted
from kernel.define.registry import Registry
from kernel.errors import Conflict, InvalidInput, NotDeployed, NotFound
from kernel.ports import INBOX, Poke, RunRef
from kernel.shell import receive
from kernel.shell.attend import attend
from kernel.shell.receive import LARGEST
from kernel.testing.faults import Fault
from kernel.testing.play import Play
from onewrite import Context, Retry, Workflow, stage
from tests.shell.script import (
    DAY,
    MINUTE,
    SECOND,
    Flow,
    Note,
    Script,
    commits_of,
    events,
    head_of,
    keys_of,
    once,
    once_before,
    stage_of,
    state_of,
    work,
)


class Delivered(BaseModel):
    parcel: str
    place: str = "door"


class Lost(BaseModel):
    reason: str


class Scan(BaseModel):
    number: int


@stage
def settle(ctx: Context, event: Delivered | Lost) -> str:
    """What came of it."""
    return repr(event)


@stage
def count(ctx: Context, scan: Scan) -> int:
    """The number that was scanned."""
    return scan.number


def is_ours(note: Note, event: Delivered | Lost) -> bool:
    """Whether the event is about the parcel of the run."""
    return isinstance(event, Lost) or event.parcel == note.text


def parcel(script: Script, **options: Any) -> Flow:
    """A stage, then a wait for one of two events."""
    begun: Any = Workflow("parcel", input=Note).then(script.stage("a"))
    waits: Flow = begun.wait_for(Delivered, Lost, **options).then(settle)
    return waits


def scans(number: int) -> Flow:
    """Several waits, one after the other."""
    flow: Any = Workflow("scans", input=Note)
    for index in range(number):
        flow = flow.wait_for(Scan).then(count.named(f"count-{index}"))
    scanned: Flow = flow
    return scanned


def waiting(script: Script, **options: Any) -> tuple[Play, RunRef]:
    """A run that waits."""
    play = Play(flow := parcel(script, **options))
    ref = play.start(flow, Note())
    work(play)
    assert stage_of(play, ref, "wait-1").status == "waiting"
    return play, ref


def statuses(play: Play, ref: RunRef, *ids: str) -> list[str]:
    """What became of events."""
    return [play.event(ref, id_).status for id_ in ids]


# --- applied once -----------------------------------------------------------------------------------------------------


def test_an_event_goes_to_the_wait_and_what_it_carries_to_the_next_stage(script: Script) -> None:
    play, ref = waiting(script)
    assert play.send(ref, Delivered(parcel="p"), id="e-1").status == "accepted"
    work(play)
    ended = play.ended(ref)
    assert ended.output == "Delivered(parcel='p', place='door')"
    told = play.event(ref, "e-1")
    assert (told.status, told.name) == ("applied", "Delivered")
    assert [event.event for event in events(play, ref, EventReceived)] == ["e-1"]
    assert told.seq is not None
    assert isinstance(ended.log[told.seq][0], EventReceived)


def test_the_same_id_is_the_same_event_and_with_other_content_a_conflict(script: Script) -> None:
    play, ref = waiting(script)
    first = play.send(ref, Delivered(parcel="p"), id="e-1")
    assert play.send(ref, Delivered(parcel="p"), id="e-1") == first
    for other in (Delivered(parcel="q"), Lost(reason="p")):
        with pytest.raises(Conflict, match="was used for another event"):
            play.send(ref, other, id="e-1")
    play.play(ref)
    assert play.send(ref, Delivered(parcel="p"), id="e-1").status == "applied"
    assert len(events(play, ref, EventReceived)) == 1


def test_an_event_without_an_id_is_given_one(script: Script) -> None:
    play, ref = waiting(script)
    sent = play.send(ref, Lost(reason="storm"))
    work(play)
    assert play.event(ref, sent.id).status == "applied"


@pytest.mark.parametrize("fault", [Fault.LOST_REPLY, Fault.UNAVAILABLE], ids=str)
def test_an_event_is_applied_once_whatever_becomes_of_the_reply(script: Script, fault: Fault) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"), id="e-1")
    once(play, lambda call: call.method == "put_all", fault)
    play.play(ref)
    assert len(events(play, ref, EventReceived)) == 1
    assert play.event(ref, "e-1").status == "applied"


def test_two_workers_that_are_poked_for_one_event_apply_it_once(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"), id="e-1")

    def other() -> None:
        attend(play.env, Poke(ref.tenant, ref.run, event="e-1"), play.env.clock.monotonic() + 300)

    once_before(play, lambda call: call.method == "put_all", other)
    play.play(ref)
    assert len(events(play, ref, EventReceived)) == 1
    assert play.ended(ref).status == "completed"


def test_a_hundred_events_delivered_ten_times_each_and_shuffled_are_applied_once_each() -> None:
    play = Play(flow := scans(100))
    ref = play.start(flow, Note())
    pokes = [Poke(ref.tenant, ref.run, event=f"e-{number}") for number in range(100)] * 10
    for number in range(100):
        play.send(ref, Scan(number=number), id=f"e-{number}")
    play.queue.clear()
    random.Random(7).shuffle(pokes)
    for poke in pokes:
        attend(play.env, poke, play.env.clock.monotonic() + 300)
    play.play(ref)
    received = [event.event for event in events(play, ref, EventReceived)]
    assert sorted(received) == sorted(f"e-{number}" for number in range(100))
    assert set(statuses(play, ref, *received)) == {"applied"}


def test_what_order_events_have_is_that_of_the_log(script: Script) -> None:
    play = Play(flow := scans(3))
    ref = play.start(flow, Note())
    for number in (3, 1, 2):
        play.send(ref, Scan(number=number), id=f"e-{number}")
    play.play(ref)
    received = [bytes(event.payload.json) for event in events(play, ref, EventReceived)]
    assert received == [b'{"number":3}', b'{"number":1}', b'{"number":2}']
    assert play.ended(ref).output == 2


# --- lost pokes -------------------------------------------------------------------------------------------------------


def test_an_accepted_event_whose_poke_is_lost_is_found_by_a_tick(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"), id="e-1")
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().events == 1
    assert play.tick().events == 0, "the look grace has to pass before anybody looks again"
    work(play)
    assert statuses(play, ref, "e-1") == ["applied"]
    play.clock.move(play.env.limits.look_grace * 3)
    assert play.tick().events == 0, "it left the index"


def test_an_event_for_a_run_that_is_parked_waits_for_its_code(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"), id="e-1")
    env = replace(play.env, definitions=Registry())
    attend(env, Poke(ref.tenant, ref.run, event="e-1"), env.clock.monotonic() + 60)
    assert statuses(play, ref, "e-1") == ["accepted"]
    play.play(ref)
    assert statuses(play, ref, "e-1") == ["applied"]


# --- early, and refused -----------------------------------------------------------------------------------------------


def test_an_event_that_comes_before_the_wait_is_kept_for_it(script: Script) -> None:
    """AlgaPSA: an event that arrives before the wait is missed."""
    play = Play(flow := parcel(script))
    ref = play.start(flow, Note())
    play.queue.clear()
    play.send(ref, Delivered(parcel="early"), id="e-1")
    play.play(ref)
    ended = play.ended(ref)
    assert ended.output == "Delivered(parcel='early', place='door')"
    order = [name for name in ended.names() if name.startswith(("Event", "Wait"))]
    assert order == ["EventReceived Delivered", "WaitStarted wait-1", "WaitMatched wait-1"]


def test_a_large_event_is_kept_beside_the_log_and_read_back_whole(script: Script) -> None:
    play = Play(flow := parcel(script))
    ref = play.start(flow, Note())
    place = "x" * 50_000
    play.send(ref, Delivered(parcel="p", place=place), id="e-1")
    play.play(ref)
    assert play.ended(ref).output == f"Delivered(parcel='p', place='{place}')"
    assert max(len(commit.events) for commit in commits_of(play, ref)) < 51_500


def test_a_run_keeps_a_hundred_events_and_refuses_the_next_with_a_reason(script: Script) -> None:
    play = Play(flow := Workflow("flow", input=Note).then(script.stage("a")).wait_for(Scan, match=never).then(count))
    ref = play.start(flow, Note())
    for number in range(KEPT + 5):
        play.send(ref, Scan(number=number), id=f"e-{number}")
    work(play)
    assert set(statuses(play, ref, *(f"e-{number}" for number in range(KEPT)))) == {"applied"}
    for number in range(KEPT, KEPT + 5):
        told = play.event(ref, f"e-{number}")
        assert told.status == "refused"
        assert f"keeps {KEPT} events" in told.reason
    assert len(state_of(play, ref).events) == KEPT


def never(note: Note, scan: Scan) -> bool:
    """Nothing will do."""
    return False


def test_an_event_for_a_run_that_is_over_is_refused_and_nothing_is_stored(script: Script) -> None:
    play, ref = waiting(script)
    play.cancel(ref)
    with pytest.raises(Conflict, match="is cancelled: it takes no events any more"):
        play.send(ref, Delivered(parcel="p"), id="e-1")
    assert not keys_of(play, ref, INBOX)


def test_an_event_whose_run_ends_before_it_is_applied_is_refused_with_a_reason(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"), id="e-1")
    play.cancel(ref)
    work(play)
    told = play.event(ref, "e-1")
    assert (told.status, "cancelled" in told.reason) == ("refused", True)
    play.clock.move(DAY)
    assert play.tick().looked == play.tick().events == 0, "both have left the index"


BAD: dict[str, tuple[str, object, str, str]] = {
    "unknown": ("Stolen", {}, "e-1", "waits for no event 'Stolen'; it waits for: Delivered, Lost"),
    "wrong payload": ("Delivered", {"parcel": 7}, "e-1", "payload.parcel"),
    "no payload": ("Delivered", None, "e-1", "payload"),
    "too large": ("Lost", {"reason": "x" * LARGEST}, "e-1", "at most 100000"),
    "an odd id": ("Lost", {"reason": "x"}, "e 1", "1 to 64 letters"),
    "a long id": ("Lost", {"reason": "x"}, "e" * 65, "1 to 64 letters"),
    "an empty id": ("Lost", {"reason": "x"}, "", "1 to 64 letters"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_by_name_and_nothing_is_stored(script: Script, case: str) -> None:
    play, ref = waiting(script)
    name, payload, id_, says = BAD[case]
    with pytest.raises(InvalidInput) as refused:
        receive.accept(play.env, ref, name, payload, by="test", id_=id_)
    assert says in str(refused.value)
    assert not keys_of(play, ref, INBOX)


@pytest.mark.parametrize("wrong", [{"parcel": "p"}, Delivered, None], ids=str)
def test_a_test_that_sends_no_event_is_told_so(script: Script, wrong: Any) -> None:
    play, ref = waiting(script)
    with pytest.raises(TypeError, match="give the event itself, a model"):
        play.send(ref, wrong)


def test_another_tenants_run_and_one_that_never_was_are_not_found(script: Script) -> None:
    play, ref = waiting(script)
    for other in (RunRef("stranger", ref.run), RunRef(ref.tenant, "0" * 24), RunRef(ref.tenant, "../..")):
        with pytest.raises(NotFound):
            receive.accept(play.env, other, "Lost", Lost(reason="x"), by="test")
        with pytest.raises(NotFound):
            receive.look_up(play.env, other, "e-1")
    with pytest.raises(NotFound, match="was sent no event"):
        receive.look_up(play.env, ref, "e-1")


def test_a_deployment_without_the_runs_code_cannot_take_its_events(script: Script) -> None:
    play, ref = waiting(script)
    with pytest.raises(NotDeployed, match="does not have parcel version 1"):
        receive.accept(replace(play.env, definitions=Registry()), ref, "Lost", Lost(reason="x"), by="test")


# --- waits ------------------------------------------------------------------------------------------------------------


def test_a_wait_takes_the_first_event_that_matches_and_the_others_stay(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).wait_for(Delivered, Lost, match=is_ours).then(settle)
    play = Play(flow)
    ref = play.start(flow, Note(text="ours"))
    for number, parcel_ in enumerate(("theirs", "ours", "ours")):
        play.send(ref, Delivered(parcel=parcel_, place=str(number)), id=f"e-{number}")
    play.play(ref)
    assert play.ended(ref).output == "Delivered(parcel='ours', place='1')"
    assert [event.event for event in events(play, ref, WaitMatched)] == ["e-1"]


def test_two_waits_side_by_side_take_an_event_each(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note)
    begun = flow.together(a := script.stage("a"), b := script.stage("b"))
    flow = begun.output(a).wait_for(Scan, id="one").then(count.named("one-done"))
    flow = flow.output(b).wait_for(Scan, id="two").then(count.named("two-done"))
    play = Play(flow)
    ref = play.start(flow, Note())
    play.send(ref, Scan(number=1), id="e-1")
    play.send(ref, Scan(number=2), id="e-2")
    play.play(ref)
    assert {event.wait: event.event for event in events(play, ref, WaitMatched)} in (
        {"one": "e-1", "two": "e-2"},
        {"one": "e-2", "two": "e-1"},
    )


def test_two_waits_that_begin_in_one_commit_do_not_take_the_same_kept_event(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).then(a := script.stage("a"))
    flow = flow.wait_for(Scan, id="one").then(count.named("one-done"))
    flow = flow.output(a).wait_for(Scan, id="two").then(count.named("two-done"))
    play = Play(flow)
    ref = play.start(flow, Note())
    play.queue.clear()
    for number in (1, 2):
        play.send(ref, Scan(number=number), id=f"e-{number}")
    play.play(ref)
    assert {event.wait: event.event for event in events(play, ref, WaitMatched)} == {"one": "e-1", "two": "e-2"}
    assert (
        len({seq for seq, each in enumerate(play.ended(ref).log) for event in each if type(event) is WaitStarted}) == 1
    )


@pytest.mark.parametrize("late", [timedelta(minutes=5), timedelta(days=3)], ids=str)
def test_a_wait_whose_time_is_up_fails_with_what_it_waited_for(script: Script, late: timedelta) -> None:
    play, ref = waiting(script, timeout=late)
    begun = state_of(play, ref).at
    play.play(ref)
    ended = play.ended(ref)
    assert ended.status == "failed"
    assert ended.view.error is not None
    assert (ended.view.error.kind, ended.view.error.stage) == ("WaitTimedOut", "wait-1")
    assert "no Delivered or Lost came in time" in ended.view.error.message
    waited = play.clock.now() - begun
    assert late / timedelta(milliseconds=1) <= waited <= late / timedelta(milliseconds=1) + 2 * SECOND


def test_a_wait_that_proceeds_gives_none_when_its_time_is_up() -> None:
    @stage
    def anyhow(ctx: Context, event: Scan | None) -> str:
        return repr(event)

    flow = Workflow("flow", input=Note).wait_for(Scan, timeout=timedelta(hours=1), on_timeout="proceed").then(anyhow)
    play = Play(flow)
    ended = play.run(flow, Note())
    assert ended.output == "None"
    assert len(events(play, ended.ref, StageSkipped)) == 1
    ref = play.start(flow, Note())
    play.send(ref, Scan(number=7))
    play.play(ref)
    assert play.ended(ref).output == "Scan(number=7)"


def test_an_event_that_comes_after_the_time_is_up_is_kept_and_changes_nothing(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).wait_for(Scan, timeout=timedelta(minutes=1), on_timeout="proceed")
    flow = flow.sleep(timedelta(hours=1)).then(anything)
    play = Play(flow)
    ref = play.start(flow, Note())
    work(play)
    play.clock.move(MINUTE + SECOND)
    work(play)
    play.send(ref, Scan(number=1), id="late")
    play.play(ref)
    assert play.ended(ref).output == "None"
    assert statuses(play, ref, "late") == ["applied"]
    assert list(state_of(play, ref).events) == ["late"]


@stage
def anything(ctx: Context, event: Scan | None) -> str:
    return repr(event)


def test_a_filter_that_throws_fails_the_wait_with_that_error(script: Script) -> None:
    def broken(note: Note, scan: Scan) -> bool:
        raise KeyError("place")

    flow = Workflow("flow", input=Note).wait_for(Scan, match=broken).then(count)
    play = Play(flow)
    ref = play.start(flow, Note())
    play.send(ref, Scan(number=1))
    play.play(ref)
    error = play.ended(ref).view.error
    assert error is not None
    assert (error.category, error.kind, error.stage) == ("condition", "KeyError", "wait-1")


def test_a_wait_has_no_output_to_ask_for_by_its_id(script: Script) -> None:
    """What a wait gives, only what comes next takes."""
    asks: Any = lambda ctx: ctx.output("wait-1")  # noqa: E731 - a body in a line
    flow: Any = Workflow("flow", input=Note).wait_for(Note).then(script.stage("a", asks, retry=Retry(1)))
    play = Play(flow)
    ref = play.start(flow, Note())
    play.send(ref, Note())
    play.play(ref)
    error = play.ended(ref).view.error
    assert error is not None
    assert (error.kind, error.message) == ("TypeError", "ctx.output takes a stage, itself and not its id: not 'wait-1'")


def test_a_cancelled_wait_takes_nothing_any_more_and_a_rerun_waits_anew(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"), id="e-1")
    play.play(ref)
    play.rerun(ref, "a")
    work(play)
    assert stage_of(play, ref, "wait-1").status == "waiting"
    play.send(ref, Lost(reason="again"), id="e-2")
    play.play(ref)
    assert play.ended(ref).output == "Lost(reason='again')"


def test_events_that_look_alike_are_told_apart_or_refused() -> None:
    class One(BaseModel):
        kind: Literal["one"] = "one"
        number: int

    class Two(BaseModel):
        kind: Literal["two"] = "two"
        number: int

    @stage
    def told(ctx: Context, event: One | Two) -> str:
        return type(event).__name__

    flow = Workflow("flow", input=Note).wait_for(One, Two).then(told)
    play = Play(flow)
    for event in (One(number=1), Two(number=1)):
        ref = play.start(flow, Note())
        play.send(ref, event)
        play.play(ref)
        assert play.ended(ref).output == type(event).__name__


def test_an_event_that_could_be_taken_for_another_one_is_refused() -> None:
    class Wide(BaseModel):
        number: int
        more: str = ""

    class Narrow(BaseModel):
        number: int

    @stage
    def told(ctx: Context, event: Wide | Narrow) -> str:
        return type(event).__name__

    flow = Workflow("flow", input=Note).wait_for(Wide, Narrow).then(told)
    play = Play(flow)
    ref = play.start(flow, Note())
    with pytest.raises(InvalidInput, match="Narrow would be read as a Wide: give the classes a field that tells them"):
        play.send(ref, Narrow(number=1))


def test_what_follows_may_ask_at_once_what_the_event_carries(script: Script) -> None:
    """In the very commit that receives it: a condition, the filter of the next wait, the time of a timer."""

    def is_big(scan: Scan) -> bool:
        return scan.number > 5

    def is_next(before: Scan, scan: Scan) -> bool:
        return scan.number == before.number + 1

    flow: Any = Workflow("flow", input=Note).wait_for(Scan)
    flow = flow.wait_for(Scan, match=is_next).sleep_until(lambda scan: EARLY).then_if(is_big, count)
    play = Play(flow)
    ref = play.start(flow, Note())
    work(play)
    for number in (6, 9, 7):
        play.send(ref, Scan(number=number))
        work(play)
    play.play(ref)
    assert play.ended(ref).output == 7


EARLY = datetime(2020, 1, 1, tzinfo=UTC)


def test_a_filter_that_throws_holds_no_other_wait_up(script: Script) -> None:
    def broken(note: Note, scan: Scan) -> bool:
        raise KeyError("place")

    flow: Any = Workflow("flow", input=Note, on_failure="stop").then(a := script.stage("a"))
    flow = flow.wait_for(Scan, match=broken, id="one").then(count.named("one-done"))
    flow = flow.output(a).wait_for(Scan, id="two").then(count.named("two-done"))
    play = Play(flow)
    ref = play.start(flow, Note())
    work(play)
    play.send(ref, Scan(number=1), id="e-1")
    play.play(ref)
    assert [event.wait for event in events(play, ref, WaitMatched)] == ["two"]
    assert play.ended(ref).status == "failed"


def test_an_event_of_a_finished_run_is_settled_by_whoever_looks_whatever_they_deploy(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"), id="e-1")
    play.queue.clear()
    play.cancel(ref)
    env = replace(play.env, definitions=Registry())
    play.clock.move(play.env.limits.look_grace)
    play.tick()
    while (poke := play.queue.receive()) is not None:
        attend(env, poke, env.clock.monotonic() + 60)
    assert statuses(play, ref, "e-1") == ["refused"]


def test_an_event_that_nobody_can_settle_is_looked_at_ever_more_rarely(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p", place="x" * 50_000), id="e-1")
    looks = []
    for _ in range(2):
        before = play.meter.kinds.get("Inbox", 0)
        for _ in range(24 * 60):
            play.queue.clear()
            play.clock.move(MINUTE)
            play.tick()
        looks.append(play.meter.kinds.get("Inbox", 0) - before)
    assert looks[1] <= 24 * 60, "once an hour, of 50 KB or so"


def test_a_workflow_may_end_with_a_wait(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).then(script.stage("a")).wait_for(Scan, Lost)
    play = Play(flow)
    ref = play.start(flow, Note())
    play.send(ref, Scan(number=3))
    play.play(ref)
    assert play.ended(ref).output == Scan(number=3)


def test_a_time_out_that_would_come_after_the_deadline_cannot_let_the_run_go_on(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).wait_for(Scan, timeout=timedelta(days=40), on_timeout="proceed")
    play = Play(flow := flow.then(anything))
    ended = play.run(flow, Note())
    assert ended.view.error is not None
    assert ended.view.error.kind == "BeyondDeadline"


# --- what it costs ----------------------------------------------------------------------------------------------------


def test_an_event_costs_two_write_units_to_accept_and_six_to_apply_to_a_run_that_is_awake(script: Script) -> None:
    flow: Any = Workflow("flow", input=Note).then(script.stage("a")).wait_for(Scan, timeout=timedelta(minutes=5))
    play = Play(flow := flow.then(count))
    ref = play.start(flow, Note())
    work(play)
    before = play.meter.of(ref).write_units
    play.send(ref, Scan(number=1))
    accepted = play.meter.of(ref).write_units
    assert accepted - before <= 2
    kinds = dict(play.meter.kinds)
    work(play)
    spent = {kind: units - kinds.get(kind, 0) for kind, units in play.meter.kinds.items()}
    # The commit after that is the stage's own, and the head's change is the end of the run.
    assert spent["Inbox"] + spent["Commit"] - 1 <= 6


def test_an_event_costs_nine_write_units_to_apply_to_a_run_that_sleeps(script: Script) -> None:
    play, ref = waiting(script)
    play.send(ref, Delivered(parcel="p"))
    kinds = dict(play.meter.kinds)
    work(play)
    spent = {kind: units - kinds.get(kind, 0) for kind, units in play.meter.kinds.items()}
    assert spent["Inbox"] + spent["Commit"] - 1 + spent["wake-is-newer"] <= 9


def test_a_wait_without_a_time_out_costs_nothing_by_the_day(script: Script) -> None:
    play, ref = waiting(script)
    before = play.meter.of(ref).writes
    for _ in range(24 * 60):
        play.clock.move(MINUTE)
        play.tick()
    assert play.meter.of(ref).writes == before
    assert head_of(play, ref).due is not None

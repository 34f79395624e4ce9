"""State machines (P4): one state at a time, left by events, time and finished work; data that pure functions change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from kernel.core.decide import KEPT
from kernel.core.definition import DATA
from kernel.core.events import EventReceived, StateEntered, TimerFired, TransitionTaken
from kernel.define.registry import Registry
from kernel.errors import Conflict, Forbidden, Gone, InvalidInput
from kernel.ports import DATA as ASIDE
from kernel.ports import INBOX, RunRef
from kernel.shell import read
from kernel.shell.attend import attend
from kernel.shell.read import find, steps
from kernel.shell.receive import PAGE
from kernel.testing.faults import Fault
from kernel.testing.play import Play
from onewrite import Context, Failed, Machine, PermanentError, Retry, State, Transition, Workflow, stage
from tests.shell.script import (
    DAY,
    MINUTE,
    SECOND,
    Note,
    Script,
    calls,
    commits_of,
    events,
    is_commit_of,
    keys_of,
    log_of,
    once,
    once_before,
    pending,
    poke,
    stage_of,
    state_of,
    work,
)


class Go(BaseModel):
    """Takes a machine to the next state."""

    text: str = ""


class Stop(BaseModel):
    """Takes it to the end."""


class Write(BaseModel):
    """Changes what it knows."""

    text: str


def written(data: Note, event: Go | Write) -> Note:
    """The data, with what the event says at its end."""
    return Note(text=data.text + event.text)


def noted(data: Note, out: Note) -> Note:
    """The data, with what a stage gave at its end."""
    return Note(text=f"{data.text} {out.text}".strip())


END = State("end", Note, final=True)


def machine(start: State[Note], *transitions: Transition[Note], **options: Any) -> Machine[Note, Note]:
    """A machine that begins with a note, in this state."""
    return Machine("machine", input=Note, start=start, transitions=transitions, **options)


def begun(made: Machine[Note, Note], text: str = "") -> tuple[Play, RunRef]:
    """A run of it, as far as it comes by itself."""
    play = Play(made)
    ref = play.start(made, Note(text=text))
    work(play)
    return play, ref


def deploy(play: Play, made: Machine[Note, Note]) -> None:
    """Deploy another build of the machine."""
    play.env = replace(play.env, definitions=Registry(made))
    play._plain = replace(play._plain, definitions=Registry(made))


def data_of(play: Play, ref: RunRef) -> str:
    """The text of the machine's data."""
    found = find(play.env, ref).value(play.env, DATA)
    assert isinstance(found, bytes)
    return Note.model_validate_json(found).text


def where(play: Play, ref: RunRef) -> str:
    """The state that it is in."""
    return play.look(ref).state


# --- moving on --------------------------------------------------------------------------------------------------------


def test_events_take_it_from_state_to_state_and_its_data_is_the_result(script: Script) -> None:
    first, second = State("first", Note, enter=script.stage("ask")), State("second", Note)
    made = machine(first, first.on(Go, to=second, update=written), second.on(Stop, to=END))
    play, ref = begun(made, "a")
    assert where(play, ref) == "first"
    play.send(ref, Go(text="b"))
    work(play)
    assert where(play, ref) == "second"
    play.send(ref, Stop())
    play.play(ref)
    assert play.ended(ref).output == Note(text="ab")
    assert script.calls == ["ask"]
    assert [each for each in log_of(play, ref) if each != ["Slept"]] == [
        ["StateEntered first", "StageStarted ask"],
        ["StageCompleted ask"],
        ["EventReceived Go", "StateEntered second"],
        ["EventReceived Stop", "StateEntered end", "RunCompleted"],
    ]


def test_finished_work_leads_on_in_the_commit_that_records_it(script: Script) -> None:
    ask, tell = script.stage("ask"), script.stage("tell")
    first, second = State("first", Note, enter=ask), State("second", Note, enter=tell)
    play, ref = begun(machine(first, first.done(ask, to=second, update=noted), second.done(tell, to=END, update=noted)))
    assert log_of(play, ref) == [
        ["StateEntered first", "StageStarted ask"],
        ["StageCompleted ask", "StateEntered second", "StageStarted tell"],
        ["StageCompleted tell", "StateEntered end", "RunCompleted"],
    ]
    assert play.ended(ref).output == Note(text="ask tell")


def test_the_first_transition_that_fits_is_taken() -> None:
    first, small, large = (State(id_, Note) for id_ in ("first", "small", "large"))
    made = machine(
        first,
        first.on(Go, to=large, when=lambda data, event: len(data.text + event.text) > 3),
        first.on(Go, to=small),
        small.on(Stop, to=END),
        large.on(Stop, to=END),
    )
    for text, expected in (("b", "small"), ("bcd", "large")):
        play, ref = begun(made, "a")
        play.send(ref, Go(text=text))
        work(play)
        assert where(play, ref) == expected


def test_a_work_may_be_a_graph(script: Script) -> None:
    graph: Any = Workflow("graph", input=Note).then(script.stage("a"))
    graph = graph.together(script.stage("b"), script.stage("c")).then(script.join("d"))
    first = State("first", Note, enter=graph)
    play, ref = begun(machine(first, first.done(graph, to=END, update=lambda data, out: out)))
    assert script.calls[0] == "a"
    play.play(ref)
    assert set(script.calls) == {"a", "b", "c", "d"}
    assert script.seen["d"] == (Note(text="b"), Note(text="c"))
    assert play.ended(ref).output == Note(text="d")


def test_stages_of_a_machine_are_given_its_data_and_may_ask_for_its_input(script: Script) -> None:
    @stage
    def ask(ctx: Context, data: Note) -> Note:
        return Note(text=f"{data.text} of {ctx.run_input(Note).text}")

    first, second = State("first", Note), State("second", Note, enter=ask)
    made = machine(first, first.on(Go, to=second, update=written), second.done(ask, to=END, update=lambda _, out: out))
    play, ref = begun(made, "a")
    play.send(ref, Go(text="b"))
    play.play(ref)
    assert play.ended(ref).output == Note(text="ab of a")


def test_an_internal_transition_changes_the_data_and_cuts_nothing_off(script: Script) -> None:
    first = State("first", Note, enter=script.job("ask", pending(99)))
    made = machine(
        first, first.on(Write, update=written), first.on(Stop, to=END), first.after(timedelta(days=1), to=END)
    )
    play, ref = begun(made)
    before = state_of(play, ref)
    play.send(ref, Write(text="b"), id="e-1")
    play.send(ref, Write(text="c"), id="e-2")
    work(play)
    after = state_of(play, ref)
    assert after.stages == before.stages
    assert data_of(play, ref) == "bc"
    assert [each.event for each in events(play, ref, TransitionTaken)] == ["e-1", "e-2"]


# --- events that do not fit -------------------------------------------------------------------------------------------


def test_an_event_that_the_state_does_not_take_is_refused_with_those_that_it_does() -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(first, first.on(Go, to=second), first.on(Stop, to=END), second.on(Write, to=END))
    play, ref = begun(made)
    with pytest.raises(Conflict, match="state first takes no event Write; it takes: Go, Stop"):
        play.send(ref, Write(text="x"))
    with pytest.raises(InvalidInput, match="waits for no event 'Note'; it waits for: Go, Stop, Write"):
        play.send(ref, Note())
    assert keys_of(play, ref, INBOX) == []


def test_an_event_needs_one_of_the_roles_that_its_transition_names() -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(
        first, first.on(Go, to=second, roles=("manager", "owner")), second.on(Go, to=END, roles=("director",))
    )
    play, ref = begun(made)
    for roles in ((), ("director",)):
        with pytest.raises(Forbidden, match="state first takes event Go from these roles only: manager, owner"):
            play.send(ref, Go(), roles=roles)
    assert keys_of(play, ref, INBOX) == []
    play.send(ref, Go(), roles=("clerk", "owner"))
    work(play)
    assert where(play, ref) == "second"
    (received,) = events(play, ref, EventReceived)
    assert (received.by, received.roles) == ("test", ("clerk", "owner"))


def test_what_is_accepted_in_one_state_and_comes_to_another_is_refused_with_the_reason() -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(first, first.on(Go, to=second), second.on(Go, to=END, roles=("director",)), second.on(Stop, to=END))
    play, ref = begun(made)
    play.send(ref, Go(), id="e-1")
    play.send(ref, Go(), id="e-2")
    work(play)
    assert where(play, ref) == "second"
    assert play.event(ref, "e-1").status == "applied"
    late = play.event(ref, "e-2")
    assert (late.status, late.reason) == ("refused", "state second takes event Go from these roles only: director")


def test_roles_decide_which_transition_is_taken() -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(
        first,
        first.on(Go, to=END, roles=("director",)),
        first.on(Go, to=second, roles=("clerk",)),
        second.on(Go, to=END),
    )
    play, ref = begun(made)
    play.send(ref, Go(), roles=("clerk",))
    work(play)
    assert where(play, ref) == "second"


def test_an_event_for_which_no_condition_holds_is_refused_and_the_run_stays_as_it_is() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.on(Go, to=END, when=lambda _, event: event.text == "yes")))
    before = state_of(play, ref).seq
    play.send(ref, Go(text="no"), id="e-1")
    work(play)
    found = play.event(ref, "e-1")
    assert found.status == "refused"
    assert found.reason == "event Go is refused: none of the conditions hold on which it would be taken"
    assert state_of(play, ref).seq == before
    play.send(ref, Go(text="yes"))
    play.play(ref)
    assert play.ended(ref).status == "completed"


def thrown(*_given: object) -> Any:
    """What a user's function must not do."""
    raise LookupError("no such thing")


@pytest.mark.parametrize(
    "options", [{"when": thrown}, {"update": thrown}, {"update": lambda *_: Go()}], ids=["when", "update", "data"]
)
def test_an_event_on_which_a_function_throws_is_refused_and_the_run_stays_as_it_is(options: dict[str, Any]) -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.on(Go, to=END, **options), first.on(Stop, to=END)))
    play.send(ref, Go(), id="e-1")
    work(play)
    found = play.event(ref, "e-1")
    assert found.status == "refused"
    assert found.reason.startswith("event Go is refused: first.Go threw ")
    assert where(play, ref) == "first"
    play.send(ref, Stop())
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_an_event_is_applied_once_however_often_it_is_sent_and_delivered() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.on(Write, update=written), first.on(Stop, to=END)))
    for _ in range(3):
        play.send(ref, Write(text="x"), id="e-1")
        play.attend(ref, event="e-1")
    work(play)
    assert data_of(play, ref) == "x"


def test_a_lost_reply_to_a_transition_takes_it_once() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.on(Write, update=written), first.on(Stop, to=END)))
    play.send(ref, Write(text="x"), id="e-1")
    once(play, lambda call: call.method == "put_all", Fault.LOST_REPLY)
    work(play)
    assert data_of(play, ref) == "x"
    assert play.event(ref, "e-1").status == "applied"


def test_an_event_that_comes_before_the_machine_has_begun_waits_for_it() -> None:
    first = State("first", Note)
    made = machine(first, first.on(Go, to=END))
    play = Play(made)
    ref = play.start(made, Note())
    play.queue.clear()
    play.send(ref, Go(), id="e-1")
    play.step()
    assert play.event(ref, "e-1").status == "applied"
    play.play(ref)
    assert play.ended(ref).status == "completed"


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_state_is_left_after_a_time_and_never_before() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.after(timedelta(minutes=10), to=END)))
    set_at = state_of(play, ref).at
    play.clock.move(10 * MINUTE)
    play.attend(ref)
    assert where(play, ref) == "first"  # workers' clocks may be a second off
    play.clock.move(play.env.limits.max_skew)
    play.attend(ref)
    assert play.ended(ref).status == "completed"
    assert state_of(play, ref).at >= set_at + 10 * MINUTE


def test_a_timer_ends_with_its_state_and_begins_anew_when_it_is_entered_again() -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(first, first.on(Go, to=second), first.after(timedelta(days=3), to=END), second.on(Go, to=first))
    play, ref = begun(made)
    play.clock.move(2 * DAY)
    play.send(ref, Go())
    work(play)
    assert state_of(play, ref).active == {}
    play.send(ref, Go())
    work(play)
    play.clock.move(2 * DAY)
    play.tick()
    work(play)
    assert where(play, ref) == "first"
    play.play(ref)
    assert play.ended(ref).status == "completed"
    assert len(events(play, ref, TimerFired)) == 1


def test_a_late_message_for_the_timer_of_a_former_visit_fires_nothing() -> None:
    first = State("first", Note)
    made = machine(first, first.on(Go, to=first), first.after(timedelta(minutes=10), to=END))
    play, ref = begun(made)
    play.clock.move(9 * MINUTE)
    play.send(ref, Go())
    work(play)
    play.clock.move(2 * MINUTE)
    play.attend(ref, "first.after")
    assert where(play, ref) == "first"
    assert events(play, ref, TimerFired) == []


def test_a_timer_whose_condition_does_not_hold_leaves_the_run_where_it_is() -> None:
    first = State("first", Note)
    made = machine(
        first,
        first.after(timedelta(minutes=1), to=END, when=lambda data: data.text == "now"),
        first.after(timedelta(minutes=2), update=lambda data: Note(text="later")),
        first.on(Stop, to=END),
    )
    play, ref = begun(made)
    for _ in range(3):
        play.clock.move(MINUTE + SECOND)
        play.attend(ref)
    assert (where(play, ref), data_of(play, ref)) == ("first", "later")
    assert len(events(play, ref, TimerFired)) == 2


def test_of_two_timers_at_one_time_the_first_that_fits_is_taken_whichever_message_comes_first() -> None:
    first, other = State("first", Note), State("other", Note)
    made = machine(
        first,
        first.after(timedelta(minutes=1), to=END, when=lambda data: data.text == "end"),
        first.after(timedelta(minutes=1), to=other),
        other.on(Stop, to=END),
    )
    for text, expected in (("end", "end"), ("", "other")):
        play, ref = begun(made, text)
        play.clock.move(2 * MINUTE)
        play.attend(ref, "first.after-2")
        assert where(play, ref) == expected


def test_a_timer_waits_while_the_run_is_paused() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.after(timedelta(minutes=5), to=END)))
    play.pause(ref)
    play.clock.move(DAY)
    play.tick()
    work(play)
    assert where(play, ref) == "first"
    play.resume(ref)
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_an_event_while_paused_moves_the_machine_and_what_follows_waits(script: Script) -> None:
    first, second = State("first", Note), State("second", Note, enter=script.stage("ask"))
    play, ref = begun(machine(first, first.on(Go, to=second), second.on(Stop, to=END)))
    play.pause(ref)
    play.send(ref, Go())
    work(play)
    assert (where(play, ref), script.calls) == ("second", [])
    play.resume(ref)
    work(play)
    assert script.calls == ["ask"]


# --- work that is cut off, and work that is not -----------------------------------------------------------------------


def test_the_work_of_a_state_is_cut_off_when_it_is_left(script: Script) -> None:
    seen: list[bool] = []

    def leave_meanwhile(ctx: Context) -> Note:
        play.send(ref, Go())
        seen.append(ctx.cancelled)
        work(play)
        seen.append(ctx.cancelled)
        return Note(text="too late")

    ask = script.stage("ask", leave_meanwhile)
    first, second = State("first", Note, enter=ask), State("second", Note)
    made = machine(first, first.done(ask, to=END), first.on(Go, to=second), second.on(Stop, to=END))
    play = Play(made)
    ref = play.start(made, Note())
    work(play)
    assert where(play, ref) == "second"
    assert state_of(play, ref).stages == {}
    assert seen == [False, True]
    assert not any("StageCompleted ask" in each for each in log_of(play, ref))


@pytest.mark.parametrize("kind", ["suspended", "retrying"])
def test_work_that_waits_is_cut_off_too(script: Script, kind: str) -> None:
    ask = script.job("ask", pending(99)) if kind == "suspended" else script.stage("ask", thrown, retry=Retry(9))
    first, second = State("first", Note, enter=ask), State("second", Note)
    play, ref = begun(machine(first, first.on(Go, to=second), second.on(Stop, to=END)))
    assert stage_of(play, ref, "ask").status == kind
    play.send(ref, Go())
    work(play)
    before = len(script.calls)
    play.clock.move(DAY)
    play.tick()
    work(play)
    assert state_of(play, ref).active == {}
    assert len(script.calls) == before


def test_the_work_of_a_transition_is_not_cut_off_and_events_wait_for_it(script: Script) -> None:
    def send_meanwhile(_ctx: Context) -> None:
        play.send(ref, Stop(), id="e-2")
        with pytest.raises(Conflict, match="state second takes no event Write; it takes: Stop"):
            play.send(ref, Write(text="x"))
        work(play)
        assert play.event(ref, "e-2").status == "accepted"

    pay = script.stage("pay", send_meanwhile)
    first, second = State("first", Note), State("second", Note)
    made = machine(
        first,
        first.on(Go, to=second, update=written, work=pay, result=noted),
        second.on(Stop, to=END),
        first.on(Write, update=written),
    )
    play, ref = begun(made)
    play.send(ref, Go(text="go"), id="e-1")
    play.step()
    assert where(play, ref) == "second"
    assert data_of(play, ref) == "go pay"
    play.play(ref)
    assert play.event(ref, "e-2").status == "applied"
    assert play.ended(ref).output == Note(text="go pay")


def test_an_event_that_waits_is_not_lost_with_its_message(script: Script) -> None:
    first, second = State("first", Note), State("second", Note)
    pay = script.job("pay", pending(3))
    made = machine(first, first.on(Go, to=second, work=pay), second.on(Stop, to=END))
    play, ref = begun(made)
    play.send(ref, Go())
    work(play)
    assert play.look(ref).transition == "first.Go"
    play.send(ref, Stop(), id="e-2")
    work(play)
    play.queue.clear()
    assert play.event(ref, "e-2").status == "accepted"
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_what_is_begun_in_a_former_visit_does_not_count_in_the_next(script: Script) -> None:
    keys: list[str] = []

    def leave_at_first(ctx: Context) -> Note:
        keys.append(ctx.key)
        if len(keys) == 1:
            play.send(ref, Go())
            work(play)  # leaves, enters again, and starts the stage anew
        return Note(text=f"visit {len(keys)}")

    ask = script.stage("ask", leave_at_first)
    first = State("first", Note, enter=ask)
    made = machine(first, first.on(Go, to=first), first.done(ask, to=END, update=noted))
    play = Play(made)
    ref = play.start(made, Note())
    work(play)
    play.play(ref)
    assert play.ended(ref).output == Note(text="visit 2")
    assert len(set(keys)) == 2


# --- loops ------------------------------------------------------------------------------------------------------------


def count(data: Note) -> Note:
    """One more."""
    return Note(text=f"{int(data.text or 0) + 1}")


def test_a_loop_keeps_nothing_of_its_rounds_and_its_stages_are_new_each_time(script: Script) -> None:
    keys: list[str] = []
    ask = script.stage("ask", lambda ctx: keys.append(ctx.key))
    first = State("first", Note, enter=ask)
    made = machine(
        first,
        first.done(ask, to=END, when=lambda data, _: data.text == "40"),
        first.done(ask, to=first, update=lambda data, _: count(data)),
    )
    play = Play(made)
    ended = play.run(made, Note())
    assert ended.output == Note(text="40")
    assert len(keys) == len(set(keys)) == 41
    assert state_of(play, ended.ref).stages == {}
    session = find(play.env, ended.ref)
    assert session.snapshot_seq > 0
    *_, (_, replayed) = steps(play.env, session)
    assert replayed == session.state


def test_a_quota_of_transitions_ends_a_loop_that_does_not(script: Script) -> None:
    ask = script.stage("ask")
    first = State("first", Note, enter=ask)
    made = machine(first, first.done(ask, to=first), first.on(Stop, to=END), quota=7)
    ended = Play(made).run(made, Note())
    assert ended.status == "failed"
    assert ended.view.error is not None
    assert (ended.view.error.kind, ended.view.error.category) == ("TransitionQuota", "limit")
    assert script.calls == ["ask"] * 8  # it is entered once, and by each of seven transitions


# --- failure ----------------------------------------------------------------------------------------------------------


def test_work_that_fails_fails_the_run_and_a_retry_goes_on_there(script: Script) -> None:
    def fail_once(ctx: Context) -> None:
        if script.calls.count("ask") == 1:
            raise PermanentError("no")

    ask = script.stage("ask", fail_once)
    first, second = State("first", Note), State("second", Note, enter=ask)
    made = machine(first, first.on(Go, to=second, update=written), second.done(ask, to=END))
    play, ref = begun(made)
    play.send(ref, Go(text="b"))
    play.play(ref)
    assert play.ended(ref).status == "failed"
    play.retry(ref)
    play.play(ref)
    assert play.ended(ref).output == Note(text="b")
    assert [each.state for each in events(play, ref, StateEntered)] == ["first", "second", "end"]


def test_the_work_of_a_transition_that_fails_is_retried_there_too(script: Script) -> None:
    def fail_once(ctx: Context) -> None:
        if script.calls.count("pay") == 1:
            raise PermanentError("no")

    first = State("first", Note)
    made = machine(first, first.on(Go, to=END, work=script.stage("pay", fail_once)))
    play, ref = begun(made)
    play.send(ref, Go())
    play.play(ref)
    assert (play.ended(ref).status, play.look(ref).transition) == ("failed", "first.Go")
    play.retry(ref)
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_a_transition_may_be_for_work_that_has_failed(script: Script) -> None:
    @stage(retry=Retry(1), on_failure="proceed")
    def ask(ctx: Context, data: Note) -> Note:
        raise LookupError("nobody there")

    def told(data: Note, out: Note | Failed) -> Note:
        return Note(text=out.message if isinstance(out, Failed) else "")

    first = State("first", Note, enter=ask)
    made = machine(first, first.done(ask, to=END, update=told))
    assert Play(made).run(made, Note()).output == Note(text="nobody there")


@pytest.mark.parametrize("options", [{"when": thrown}, {"update": thrown}], ids=["when", "update"])
def test_a_function_that_throws_on_finished_work_fails_the_run_and_a_retry_asks_it_again(
    script: Script, options: dict[str, Any]
) -> None:
    ask = script.stage("ask")

    def build(**given: Any) -> Machine[Note, Note]:
        first = State("first", Note, enter=ask)
        return machine(first, first.done(ask, to=END, **given))

    play = Play(made := build(**options))
    ended = play.run(made, Note())
    assert ended.status == "failed"
    assert ended.view.error is not None
    assert (ended.view.error.kind, ended.view.error.stage) == ("LookupError", "first.done")
    deploy(play, build(**{name: lambda data, _: data for name in options}))
    play.retry(ended.ref)
    play.play(ended)
    assert play.ended(ended).status == "completed"
    assert script.calls == ["ask"]


def test_a_timer_whose_function_throws_fails_the_run_and_a_retry_asks_it_again() -> None:
    def build(**given: Any) -> Machine[Note, Note]:
        first = State("first", Note)
        return machine(first, first.after(timedelta(minutes=1), to=END, **given))

    play = Play(made := build(update=thrown))
    ended = play.run(made, Note())
    assert ended.status == "failed"
    deploy(play, build(update=count))
    play.retry(ended.ref)
    work(play)
    assert play.ended(ended).output == Note(text="1")


def test_a_beginning_that_throws_fails_the_run_and_a_retry_begins_it() -> None:
    first = State("first", Note)

    def build(begin: Any) -> Machine[Note, Note]:
        return Machine("machine", input=Note, begin=begin, start=first, transitions=(first.on(Go, to=END),))

    play = Play(made := build(thrown))
    ended = play.run(made, Note(text="a"))
    assert (ended.status, ended.view.state) == ("failed", "")
    deploy(play, build(lambda given: given))
    play.retry(ended.ref)
    work(play)
    assert (where(play, ended.ref), data_of(play, ended.ref)) == ("first", "a")


def test_a_retry_after_the_deadline_sets_timers_anew() -> None:
    first = State("first", Note)
    made = machine(first, first.after(timedelta(hours=2), to=END), first.on(Go, to=END), deadline=timedelta(hours=3))
    play, ref = begun(made)
    play.pause(ref)
    play.play(ref)
    assert play.ended(ref).status == "failed"
    play.retry(ref)
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_a_finished_machine_is_not_run_again_from_a_stage(script: Script) -> None:
    ask = script.stage("ask")
    first = State("first", Note, enter=ask)
    made = machine(first, first.done(ask, to=END))
    play = Play(made)
    ended = play.run(made, Note())
    with pytest.raises(Conflict, match="cannot run again from 'ask': a machine goes on from end only"):
        play.rerun(ended, "ask")


def test_a_machine_is_cancelled_like_any_run(script: Script) -> None:
    first = State("first", Note, enter=script.stage("ask"))
    play, ref = begun(machine(first, first.on(Stop, to=END), first.after(timedelta(days=1), to=END)))
    play.cancel(ref, "no need")
    play.play(ref)
    assert play.ended(ref).status == "cancelled"
    with pytest.raises(Conflict, match="is cancelled: it takes no events any more"):
        play.send(ref, Stop())


# --- conditions on finished work, data, and what can be asked ---------------------------------------------------------


def test_a_condition_on_finished_work_is_asked_again_once_the_data_has_changed(script: Script) -> None:
    ask = script.stage("ask")
    first = State("first", Note, enter=ask)
    made = machine(
        first,
        first.done(ask, to=END, when=lambda data, out: data.text == "go" and out.text == "ask"),
        first.on(Write, update=written),
    )
    play, ref = begun(made)
    assert where(play, ref) == "first"
    play.send(ref, Write(text="go"))
    play.play(ref)
    assert play.ended(ref).status == "completed"
    assert script.calls == ["ask"]


def test_large_data_is_kept_beside_the_log_and_read_back(script: Script) -> None:
    ask = script.stage("ask")
    first, second = State("first", Note), State("second", Note, enter=ask)
    made = machine(first, first.on(Go, to=second, update=written), second.done(ask, to=END, update=noted))
    play, ref = begun(made, "a")
    play.send(ref, Go(text="b" * 50_000))
    play.play(ref)
    assert play.ended(ref).output == Note(text="a" + "b" * 50_000 + " ask")
    assert script.seen["ask"] == Note(text="a" + "b" * 50_000)
    assert len(keys_of(play, ref, ASIDE)) == 2


def test_data_that_is_too_large_is_no_data() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.on(Go, to=END, update=lambda data, _: Note(text="x" * 100_001))))
    play.send(ref, Go(), id="e-1")
    work(play)
    assert "at most 100000; keep it elsewhere, pass its key" in play.event(ref, "e-1").reason


def test_what_a_function_gave_is_recorded_and_never_asked_for_again() -> None:
    def build(update: Any) -> Machine[Note, Note]:
        first, second = State("first", Note), State("second", Note)
        return machine(first, first.on(Go, to=second, update=update), second.on(Stop, to=END))

    play, ref = begun(build(written), "a")
    play.send(ref, Go(text="b"))
    work(play)
    deploy(play, build(thrown))
    play.send(ref, Stop())
    play.play(ref)
    assert play.ended(ref).output == Note(text="ab")


def test_what_a_run_can_take_is_told() -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(
        first,
        first.on(Go, to=second, roles=("manager",)),
        first.on(Go, to=END, roles=("owner", "manager"), when=lambda *_: False),
        first.on(Write, update=written),
        second.on(Stop, to=END),
    )
    play, ref = begun(made)
    told = [(each.event, each.roles, each.to) for each in play.available(ref)]
    assert told == [("Go", ("manager", "owner"), ("second", "end")), ("Write", (), ("first",))]
    play.send(ref, Go(), roles=("manager",))
    work(play)
    assert [each.event for each in read.available(play.env, ref)] == ["Stop"]
    play.send(ref, Stop())
    play.play(ref)
    assert read.available(play.env, ref) == ()


# --- others, crashes, and what it costs -------------------------------------------------------------------------------


def test_a_worker_that_freezes_before_a_transition_takes_none_that_another_has_taken(script: Script) -> None:
    ask = script.stage("ask")
    first, second = State("first", Note, enter=ask), State("second", Note)
    made = machine(first, first.done(ask, to=END), first.on(Go, to=second), second.on(Stop, to=END))
    play = Play(made)
    ref = play.start(made, Note())

    def leave() -> None:
        play.send(ref, Go(), id="e-1")
        play.attend(ref, event="e-1")

    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "ask"), leave)
    work(play)
    assert where(play, ref) == "second"
    assert state_of(play, ref).stages == {}


def test_a_crash_after_a_transition_loses_nothing_of_what_it_began(script: Script) -> None:
    first, second = State("first", Note), State("second", Note, enter=(ask := script.stage("ask")))
    made = machine(first, first.on(Go, to=second), second.done(ask, to=END))
    play, ref = begun(made)
    play.send(ref, Go())
    once(play, lambda call: call.method == "put_all", Fault.CRASH_AFTER)
    work(play)
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_a_transition_on_finished_work_costs_one_write(script: Script) -> None:
    ask, tell = script.stage("ask"), script.stage("tell")
    first, second = State("first", Note, enter=ask), State("second", Note, enter=tell)
    made = machine(
        first,
        first.done(ask, to=second, update=noted),
        second.done(tell, to=first, update=noted, when=lambda data, _: len(data.text) < 50),
        second.done(tell, to=END),
    )
    play = Play(made)
    ref = play.start(made, Note())
    play.faults.calls.clear()
    attend(play.env, poke(ref), play.clock.monotonic() + 300)
    commits = len(log_of(play, ref))
    assert commits == len(script.calls) + 1
    assert calls(play, "put") == commits
    assert calls(play, "get") == 0


def test_only_so_many_events_wait_for_the_next_state(script: Script) -> None:
    first, second = State("first", Note), State("second", Note)
    pay = script.job("pay", pending(1))
    made = machine(first, first.on(Go, to=second, work=pay), second.on(Write, update=written), second.on(Stop, to=END))
    play, ref = begun(made)
    play.send(ref, Go())
    work(play)
    sent = [play.send(ref, Write(text="x"), id=f"e-{number:04d}").id for number in range(KEPT + 150)]
    work(play)
    standing = [play.event(ref, each).status for each in sent]
    assert standing.count("accepted") == KEPT
    assert standing.count("refused") == 150
    assert play.event(ref, sent[-1]).reason == f"{KEPT} events wait already until the run is further on"
    for _ in range(30):
        play.clock.move(MINUTE)
        play.tick()
        work(play)
    assert data_of(play, ref) == "x" * KEPT


# --- found by others --------------------------------------------------------------------------------------------------


def test_what_waits_for_the_next_state_is_applied_as_soon_as_the_work_is_done(script: Script) -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(first, first.on(Go, to=second, work=script.asks("pay")), second.on(Stop, to=END))
    play, ref = begun(made)
    play.send(ref, Go())
    work(play)
    play.send(ref, Stop(), id="e-2")
    work(play)
    play.clock.move(5 * 60 * MINUTE)
    assert play.event(ref, "e-2").status == "accepted"
    play.answer(script.tokens[0], Note(text="paid"))
    work(play)
    assert play.event(ref, "e-2").status == "applied"
    assert play.look(ref).status == "completed"


def test_what_waits_is_found_though_the_run_has_had_hundreds_of_events(script: Script) -> None:
    first, second = State("first", Note), State("second", Note)
    made = machine(
        first,
        first.on(Write, update=written),
        first.on(Go, to=second, work=script.asks("pay")),
        second.on(Stop, to=END),
    )
    play, ref = begun(made)
    for number in range(PAGE + 20):
        play.send(ref, Write(text="x"), id=f"e-{number:04d}")
        work(play)
    play.send(ref, Go())
    work(play)
    play.send(ref, Stop(), id="e-9999")
    work(play)
    play.clock.move(5 * 60 * MINUTE)
    play.answer(script.tokens[0], Note(text="paid"))
    work(play)
    assert play.event(ref, "e-9999").status == "applied"
    assert play.look(ref).status == "completed"


def test_an_event_that_waits_for_days_costs_no_message_but_those_of_ticks(script: Script) -> None:
    first, second = State("first", Note), State("second", Note)
    pay = script.asks("pay", callback=timedelta(days=9))
    made = machine(first, first.on(Go, to=second, work=pay), second.on(Stop, to=END))
    play, ref = begun(made)
    play.send(ref, Go())
    work(play)
    for _ in range(50):
        play.send(ref, Stop(), id="e-2")
        work(play)
    before = play.meter.snapshot().messages
    play.wait(timedelta(days=3))
    assert play.meter.snapshot().messages - before <= 3 * 24 + 40


def failing_once(script: Script, id_: str) -> Any:
    """A stage that fails for good at its first try."""

    def act(_ctx: Context) -> None:
        if script.calls.count(id_) == 1:
            raise PermanentError("no")

    return script.stage(id_, act)


def test_a_retry_of_work_sets_the_timers_of_its_state_again_as_of_when_it_was_entered(script: Script) -> None:
    first = State("first", Note, enter=failing_once(script, "ask"))
    play, ref = begun(machine(first, first.after(timedelta(hours=5), to=END)))
    entered = state_of(play, ref).at
    assert play.look(ref).status == "failed"
    play.clock.move(2 * 60 * MINUTE)
    play.retry(ref)
    work(play)
    assert stage_of(play, ref, "first.after").at == entered + 5 * 60 * MINUTE
    play.play(ref)
    assert play.ended(ref).status == "completed"


def test_a_retry_takes_no_timer_twice_and_goes_on_with_the_one_that_failed() -> None:
    def build(update: Any) -> Machine[Note, Note]:
        first = State("first", Note)
        return machine(
            first,
            first.after(timedelta(minutes=1), update=count),
            first.after(timedelta(minutes=5), to=END, update=update),
        )

    play = Play(made := build(thrown))
    ended = play.run(made, Note())
    assert ended.status == "failed"
    deploy(play, build(lambda data: data))
    play.retry(ended.ref)
    play.play(ended)
    assert play.ended(ended).output == Note(text="1")


def test_a_retry_asks_only_what_failed_and_no_timer_whose_condition_did_not_hold(script: Script) -> None:
    def build(when: Any) -> Machine[Note, Note]:
        late = State("late", Note, final=True)
        first = State("first", Note, enter=ask)
        return machine(
            first,
            first.done(ask, to=END, when=when),
            first.after(timedelta(minutes=1), to=late, when=lambda data: data.text == "late"),
            first.on(Write, update=written),
        )

    ask = script.job("ask", pending(2))
    play = Play(made := build(thrown))
    ref = play.start(made, Note(text="late"))
    work(play)
    ref = play.start(made, Note())
    play.play(ref)
    assert play.look(ref).status == "failed"
    deploy(play, build(lambda data, _: True))
    play.retry(ref)
    play.play(ref)
    assert play.look(ref).state == "end"


def test_an_event_is_refused_when_what_follows_from_it_would_fail_the_run(script: Script) -> None:
    def grumble(data: Note, _out: Note) -> bool:
        if data.text == "bad":
            raise LookupError("no such thing")
        return data.text == "good"

    ask = script.stage("ask")
    first = State("first", Note, enter=ask)
    play, ref = begun(machine(first, first.done(ask, to=END, when=grumble), first.on(Write, update=written)))
    play.send(ref, Write(text="bad"), id="e-1")
    work(play)
    assert play.event(ref, "e-1").reason == "event Write is refused: first.done threw LookupError: no such thing"
    assert (play.look(ref).status, data_of(play, ref)) == ("running", "")
    play.send(ref, Write(text="good"))
    work(play)
    assert play.look(ref).status == "completed"


def test_an_event_past_the_quota_is_refused_and_the_run_stays_as_it_is() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.on(Write, update=written), first.on(Stop, to=END), quota=1))
    play.send(ref, Write(text="a"))
    work(play)
    play.send(ref, Write(text="b"), id="e-2")
    work(play)
    assert play.event(ref, "e-2").reason.startswith("event Write is refused: the run has taken 1 transitions")
    assert (play.look(ref).status, data_of(play, ref)) == ("running", "a")


def test_a_machine_that_goes_in_circles_without_any_work_fails_at_once(script: Script) -> None:
    skipped = Workflow("skipped", input=Note).then_if(lambda _: False, script.stage("never"))
    first = State("first", Note, enter=skipped)
    made = machine(first, first.done(skipped, to=first), first.on(Stop, to=END))
    ended = Play(made).run(made, Note())
    assert ended.view.error is not None
    assert ended.view.error.kind == "EndlessTransitions"
    assert script.calls == []


def test_several_large_data_of_one_commit_are_all_kept_beside_it(script: Script) -> None:
    skipped = Workflow("skipped", input=Note).then_if(lambda _: False, script.stage("never"))
    first, second = State("first", Note), State("second", Note, enter=skipped)
    made = machine(
        first,
        first.on(Go, to=second, update=written),
        second.done(skipped, to=END, update=lambda _data, _none: Note(text="small")),
    )
    play, ref = begun(made)
    play.send(ref, Go(text="b" * 50_000))
    play.play(ref)
    assert play.ended(ref).output == Note(text="small")
    assert max(len(commit.events) for commit in commits_of(play, ref)) < 2_000


def test_a_stage_that_is_to_run_once_is_not_begun_again_by_a_retry_while_it_may_run(script: Script) -> None:
    def fail_meanwhile(_ctx: Context) -> None:
        play.clock.move(2 * MINUTE)
        play.attend(ref)
        with pytest.raises(Conflict, match=r"charge of run .* may run still, and is to run once at most"):
            play.retry(ref)

    charge = script.stage("charge", fail_meanwhile, at_most_once=True, timeout=timedelta(minutes=4))
    first = State("first", Note, enter=charge)
    made = machine(first, first.after(timedelta(minutes=1), to=END, update=thrown), first.on(Stop, to=END))
    play = Play(made)
    ref = play.start(made, Note())
    work(play)
    assert play.look(ref).status == "failed"
    assert script.calls == ["charge"]
    play.clock.move(10 * MINUTE)
    play.retry(ref)


def test_a_token_of_a_former_visit_is_not_told_the_answer_of_another(script: Script) -> None:
    ask = script.asks("ask")
    first, second = State("first", Note, enter=ask), State("second", Note)
    made = machine(first, first.done(ask, to=second), first.on(Go, to=first), second.on(Stop, to=END))
    play, ref = begun(made)
    play.send(ref, Go())
    work(play)
    former, latter = script.tokens
    play.answer(latter, Note(text="yes"))
    for said in ("yes", "no"):
        with pytest.raises(Gone):
            play.answer(former, Note(text=said))


def test_whatever_a_transition_is_taken_on_it_may_have_work(script: Script) -> None:
    ask, pay, tell = script.stage("ask"), script.stage("pay"), script.stage("tell")
    first, second = State("first", Note, enter=ask), State("second", Note)
    made = machine(
        first,
        first.done(ask, to=second, update=noted, work=pay, result=noted),
        second.after(timedelta(days=3), to=END, work=tell, result=noted),
    )
    assert Play(made).run(made, Note()).output == Note(text="ask pay tell")


def test_a_play_says_what_a_machine_waits_for_and_what_to_give_instead() -> None:
    first = State("first", Note)
    play, ref = begun(machine(first, first.on(Go, to=END), first.on(Stop, to=END)))
    wrong: Any = play
    with pytest.raises(AssertionError, match="it is in state first, which takes Go, Stop"):
        play.play(ref, days=3)
    with pytest.raises(TypeError, match=r"give roles as a tuple, such as \('manager',\)"):
        wrong.send(ref, Go(), roles="manager")
    for lasts in (3, timedelta(days=-1)):
        with pytest.raises(TypeError, match=r"give a datetime.timedelta, such as timedelta\(days=3\)"):
            wrong.wait(lasts)
        with pytest.raises(TypeError, match=r"give a datetime.timedelta, such as timedelta\(days=3\)"):
            wrong.pause(ref, lasts=lasts)

"""Machines that are written wrong: the definition says what to change; and what they look like when drawn."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from kernel.testing.play import Play
from onewrite import Context, DefinitionError, Failed, InvalidInput, Machine, Registry, State, Workflow, stage

HOUR = timedelta(hours=1)


class Invoice(BaseModel):
    id: str = ""


class Approval(BaseModel):
    invoice: Invoice = Invoice()
    signed: int = 0


class Approve(BaseModel):
    by: str = ""


class Reject(BaseModel):
    why: str = ""


def begin(invoice: Invoice) -> Approval:
    """The data at the beginning."""
    return Approval(invoice=invoice)


def sign(data: Approval, _event: Approve) -> Approval:
    """One more signature."""
    return data.model_copy(update={"signed": data.signed + 1})


def undo(ctx: Context, note: Invoice) -> None:
    """Undo nothing."""


@stage
def ask(ctx: Context, data: Approval) -> Invoice:
    """Ask."""
    return data.invoice


@stage
def pay(ctx: Context, data: Approval) -> Invoice:
    """Pay."""
    return data.invoice


@stage(compensate=undo)
def book(ctx: Context, data: Approval) -> Invoice:
    """Book."""
    return data.invoice


@stage
def other(ctx: Context, data: Invoice) -> Invoice:
    """Take something else."""
    return data


first, second = State("first", Approval, enter=ask), State("second", Approval)
end = State("end", Approval, final=True)
untyped: Any = first
made: Any = Machine


def machine(*transitions: Any, **options: Any) -> Any:
    """A machine of these."""
    return made("m", **{"input": Invoice, "begin": begin, "start": first, "transitions": transitions, **options})


WRONG_STATES: dict[str, tuple[Any, str]] = {
    "id": (lambda: State("1st", Approval), "state '1st' is not an id"),
    "data": (lambda: State("s", dict), "state 's': data is <class 'dict'>: give a pydantic model"),  # type: ignore[type-var]  # on purpose
    "enter": (lambda: State("s", Approval, enter=print), "enter is <built-in function print>: give a stage that takes"),  # type: ignore[arg-type]  # on purpose
    "stage": (
        lambda: State("s", Approval, enter=untyped_stage(other)),
        "takes Invoice, but the machine's data gives Approval",
    ),
    "workflow": (
        lambda: State("s", Approval, enter=untyped_stage(Workflow("w", input=Invoice).then(other))),
        "workflow 'w' takes Invoice, not Approval",
    ),
    "final": (lambda: State("s", Approval, enter=ask, final=True), "give what is to run to the transitions"),
    "waits": (
        lambda: State("s", Approval, enter=Workflow("w", input=Approval).then(ask).wait_for(Approve)),
        "it waits for events, which is for states to do",
    ),
    "undone": (lambda: State("s", Approval, enter=book), "book' is to be compensated"),
    "deadline": (
        lambda: State("s", Approval, enter=Workflow("w", input=Approval, deadline=HOUR).then(ask)),
        "give presets and deadline to the machine, not to the workflow 'w'",
    ),
    "empty": (lambda: State("s", Approval, enter=Workflow("w", input=Approval)), "workflow 'w' has no stages"),
}


def untyped_stage(given: Any) -> Any:
    """What a type checker would refuse."""
    return given


@pytest.mark.parametrize("case", WRONG_STATES)
def test_a_state_that_is_written_wrong_is_refused(case: str) -> None:
    build, expected = WRONG_STATES[case]
    with pytest.raises(DefinitionError) as raised:
        build()
    assert expected in str(raised.value)


forked = Workflow("forked", input=Approval).together(pay, ask)

WRONG_TRANSITIONS: dict[str, tuple[Any, str]] = {
    "final": (lambda: end.on(Approve, to=first), "the state is final, so nothing leads out of it"),
    "to": (lambda: untyped.on(Approve, to="end"), "to is 'end': give a State"),
    "data": (lambda: untyped.on(Approve, to=State("i", Invoice)), "has other data, Invoice"),
    "nothing": (lambda: first.on(Approve), "it changes nothing: give it to=... or update=..."),
    "when": (lambda: untyped.on(Approve, to=end, when=lambda data: True), "when must be a plain function of 2 values"),
    "update": (lambda: untyped.after(HOUR, to=end, update=sign), "update must be a plain function of 1 values"),
    "result": (
        lambda: untyped.on(Approve, to=end, work=pay, result=begin),
        "result must be a plain function of 2 values",
    ),
    "no work": (lambda: untyped.on(Approve, to=end, result=sign), "result is of work that there is none of"),
    "nowhere": (lambda: untyped.on(Approve, update=sign, work=pay), "its work leads nowhere: give to=..."),
    "roles": (lambda: untyped.on(Approve, to=end, roles="boss"), "roles are 'boss': give a tuple of names"),
    "role": (
        lambda: untyped.on(Approve, to=end, roles=("the boss",)),
        "roles are ('the boss',): give a tuple of names",
    ),
    "done": (lambda: untyped.done(pay, to=end), "<stage 'pay'> is not what the state is entered with"),
    "done nowhere": (lambda: untyped.done(ask, to=None), "say where it leads, with to=..."),
    "done of nothing": (lambda: State[Approval]("s", Approval).done(None, to=end), "None is not what the state is"),  # type: ignore[call-overload]  # on purpose
    "two outputs": (
        lambda: untyped.on(Approve, to=end, work=forked, result=sign),
        "its work gives 2 values: let it end with one stage",
    ),
    "after": (lambda: untyped.after(3, to=end), "after is 3: give a datetime.timedelta"),
    "negative": (lambda: untyped.after(-HOUR, to=end), "give at least"),
}


@pytest.mark.parametrize("case", WRONG_TRANSITIONS)
def test_a_transition_that_is_written_wrong_is_refused(case: str) -> None:
    build, expected = WRONG_TRANSITIONS[case]
    with pytest.raises(DefinitionError) as raised:
        build()
    assert expected in str(raised.value)


graph = Workflow("g", input=Approval).sleep(HOUR).then(pay)

WRONG_MACHINES: dict[str, tuple[Any, str]] = {
    "id": (lambda: made("1", input=Invoice, begin=begin, start=first, transitions=()), "machine '1' is not an id"),
    "version": (lambda: machine(first.on(Approve, to=end), version=0), "version is 0"),
    "input": (lambda: machine(first.on(Approve, to=end), input=int), "input is <class 'int'>"),
    "start": (lambda: machine(first.on(Approve, to=end), start="first"), "start is 'first': give a State"),
    "transitions": (lambda: machine(transitions=[]), "transitions are []: give a tuple of them"),
    "transition": (lambda: machine(first), "give a tuple of them, in their order"),
    "quota": (lambda: machine(first.on(Approve, to=end), quota=0), "quota is 0: give a whole number from 1"),
    "begin": (
        lambda: machine(first.on(Approve, to=end), begin=None),
        "say with begin=... how the one becomes the other",
    ),
    "begins": (lambda: machine(first.on(Approve, to=end), begin=sign), "begin must be a plain function of one value"),
    "never entered": (
        lambda: machine(first.on(Approve, to=end), second.on(Approve, to=end)),
        "state 'second' is never entered: give a transition to it, or leave it out",
    ),
    "no end": (lambda: machine(first.on(Approve, to=second), second.on(Approve, to=first)), "has no final state"),
    "dead end": (
        lambda: machine(first.on(Approve, to=end), first.on(Reject, to=second), second.on(Approve, update=sign)),
        "from state 'second' no final state can be reached: give it a way out",
    ),
    "shadowed": (
        lambda: machine(first.on(Approve, to=end), first.on(Approve, to=first, roles=("boss",))),
        "a transition of first on Approve is never taken, since one before it always is",
    ),
    "shadowed for its role": (
        lambda: machine(
            first.on(Approve, to=end, roles=("boss", "owner")), first.on(Approve, to=first, roles=("boss",))
        ),
        "is never taken",
    ),
    "shadowed when done": (
        lambda: machine(first.done(ask, to=end), first.done(ask, to=first)),
        "first done is never taken",
    ),
    "shadowed in time": (
        lambda: machine(first.after(HOUR, to=end), first.after(2 * HOUR, to=first)),
        "first after 2:00:00 is never taken, since the state is left after 1:00:00",
    ),
    "late": (lambda: machine(first.after(HOUR, to=end), deadline=HOUR), "comes after the machine's deadline"),
    "two states": (
        lambda: machine(first.on(Approve, to=State("end", Approval, final=True)), first.on(Reject, to=end)),
        "two states have the id 'end'",
    ),
    "same stage": (
        lambda: machine(first.on(Approve, to=end, work=ask)),
        "first and first.Approve both have a stage 'ask': give one of them another id, such as ask.named('ask-2')",
    ),
    "no event": (
        lambda: machine(untyped.on(int, to=end)),
        "<class 'int'> is no event: give its class, a pydantic model",
    ),
    "preset": (lambda: Registry(machine(first.on(Approve, to=end), presets={"p": {"x": {}}})), "there is no stage 'x'"),
}


@pytest.mark.parametrize("case", WRONG_MACHINES)
def test_a_machine_that_is_written_wrong_is_refused(case: str) -> None:
    build, expected = WRONG_MACHINES[case]
    with pytest.raises(DefinitionError) as raised:
        build()
    assert expected in str(raised.value)


def test_two_events_of_one_name_are_told_from_each_other() -> None:
    class Other(BaseModel):
        x: int

    Other.__name__ = "Approve"
    with pytest.raises(DefinitionError, match="there are two classes of the name 'Approve': rename one"):
        machine(first.on(Approve, to=end), first.on(Other, to=first))


def test_what_looks_shadowed_but_is_not_is_allowed() -> None:
    machine(
        first.on(Approve, to=end, when=lambda data, event: data.signed > 0),
        first.on(Approve, to=second, roles=("boss",)),
        first.on(Approve, to=first),
        first.after(HOUR, update=lambda data: data),
        first.after(2 * HOUR, to=end, when=lambda data: data.signed > 0),
        first.after(3 * HOUR, to=second),
        second.on(Approve, to=end),
    )


def test_timers_of_two_works_do_not_get_in_each_others_way() -> None:
    again = Workflow("g", input=Approval).sleep(HOUR).then(pay.named("pay-2"))
    one = State("one", Approval, enter=graph)
    two = State("two", Approval, enter=again)
    play = Play(both := machine(one.done(graph, to=two), two.done(again, to=end), start=one))
    ended = play.run(both, Invoice())
    assert [each for each in ended.names() if each.startswith("TimerFired")] == [
        "TimerFired one.sleep-1",
        "TimerFired two.sleep-1",
    ]


def test_a_fingerprint_is_of_states_transitions_and_models_and_not_of_functions() -> None:
    def fingerprint(*transitions: Any, **options: Any) -> str:
        found: str = machine(*transitions, **options).definition.fingerprint
        return found

    plain = fingerprint(first.on(Approve, to=end, update=sign))
    assert fingerprint(first.on(Approve, to=end, update=lambda data, _: data)) == plain
    assert fingerprint(first.on(Approve, to=end, update=sign, roles=("boss",))) == plain
    others = [
        fingerprint(first.on(Approve, to=end)),
        fingerprint(first.on(Approve, to=end, update=sign, when=lambda *_: True)),
        fingerprint(first.on(Reject, to=end, update=lambda data, _: data)),
        fingerprint(first.on(Approve, to=end, update=sign, work=pay)),
        fingerprint(first.on(Approve, to=end, update=sign), first.on(Reject, to=end)),
        fingerprint(second.on(Approve, to=end, update=sign), start=second),
    ]
    assert len({plain, *others}) == len(others) + 1


def test_a_registry_holds_machines_beside_workflows() -> None:
    both = Registry(machine(first.on(Approve, to=end)), Workflow("w", input=Invoice).then(other))
    assert [each.id for each in both] == ["m", "w"]
    assert sorted(both.latest("m").event_schemas()) == ["Approve"]
    with pytest.raises(InvalidInput):
        both.latest("m").accept({"id": 7})


def test_stages_of_a_machine_are_configured_like_others() -> None:
    class Gateway(BaseModel):
        url: str

    @stage
    def charge(ctx: Context[Gateway], data: Approval) -> Invoice:
        return Invoice(id=ctx.config.url)

    paying = State("paying", Approval, enter=charge)
    play = Play(
        configured := machine(
            paying.done(charge, to=end, update=lambda _, out: Approval(invoice=out)),
            start=paying,
            presets={"test": {"charge": {"url": "there"}}},
        )
    )
    assert play.run(configured, Invoice(), preset="test").output == Approval(invoice=Invoice(id="there"))


def small(data: Approval, _event: Approve) -> bool:
    """Whether it is a trifle."""
    return data.signed > 0


def test_a_machine_is_drawn_with_what_takes_it_from_state_to_state() -> None:
    drawn = machine(
        first.on(Approve, to=end, when=small, roles=("boss", "owner"), work=pay),
        first.on(Reject, update=lambda data, _: data),
        first.done(ask, to=second),
        second.after(timedelta(days=3), to=end),
    ).diagram()
    assert (
        drawn
        == """---
title: "m, version 1"
---
stateDiagram-v2
    direction TB
    state "first<br/>runs ask" as s1
    state "end" as s2
    state "second" as s3
    [*] --> s1
    state "runs pay" as t1
    s1 --> t1 : Approve [small] by boss or owner
    t1 --> s2
    s1 --> s1 : Reject (stays)
    s1 --> s3 : done
    s3 --> s2 : after 3 d
    s2 --> [*]
"""
    )


def test_a_run_is_drawn_with_where_it_is() -> None:
    play = Play(drawn := machine(first.on(Approve, to=end), first.after(HOUR, to=end)))
    run = play.start(drawn, Invoice())
    play.step()
    text = drawn.diagram(play.look(run))
    assert 'state "first<br/>runs ask<br/>ask: completed<br/>first.after: sleeping" as s1' in text
    assert text.endswith("    class s1 here\n")
    play.play(run)
    assert drawn.diagram(play.look(run)).endswith("    class s2 here\n")


def test_a_function_that_does_not_know_that_work_may_have_failed_is_refused_where_it_says_what_it_takes() -> None:
    @stage(on_failure="proceed")
    def try_it(ctx: Context, data: Approval) -> Invoice:
        return data.invoice

    def unaware(data: Approval, out: Invoice) -> Approval:
        return Approval(invoice=out)

    def aware(data: Approval, out: Invoice | Failed) -> Approval:
        return data

    trying = State("trying", Approval, enter=try_it)
    expected = "unaware is given a Failed when try_it has failed: annotate it Invoice | Failed"
    with pytest.raises(DefinitionError, match=re.escape(expected)):
        trying.done(try_it, to=end, update=unaware)
    with pytest.raises(DefinitionError, match=re.escape(expected)):
        first.on(Approve, to=end, work=try_it, result=unaware)
    trying.done(try_it, to=end, update=aware)
    trying.done(try_it, to=end, update=lambda data, _: data)

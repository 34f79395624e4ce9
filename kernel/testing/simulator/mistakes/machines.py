"""Mistakes in what machines are made of, and what becomes of functions of theirs that throw or give the wrong thing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict

from kernel.core.events import StateEntered, TransitionTaken
from kernel.define.context import Suspend
from kernel.define.machine import MAX_STATES, MAX_TRANSITIONS, Machine
from kernel.define.machine_compile import LARGEST
from kernel.define.states import State
from kernel.errors import Conflict, DefinitionError, Forbidden
from kernel.testing.play import Play
from kernel.testing.simulator.mistakes.cases import (
    HOUR,
    NO_SPAN,
    NOT_WHOLE,
    TOO_SHORT,
    Oddities,
    Refusals,
    by_name,
    no_id,
    one_of,
)
from kernel.testing.simulator.mistakes.writing import (
    CHARGE,
    EMPTY,
    POLLED,
    STAMP,
    Flow,
    Locked,
    Order,
    Parcel,
    Receipt,
    Unfinished,
    function_of,
    later,
    stage_of,
)

_State: Any = State
_Machine: Any = Machine


class Go(BaseModel):
    """An event."""

    count: int = 1


class Stop(BaseModel):
    """Another one."""

    count: int = 1


class Count(BaseModel):
    """The data of machines here."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    count: float = 0
    text: str = ""


def _other_go() -> type[BaseModel]:
    """Another class of the same name."""
    return type("Go", (BaseModel,), {"__annotations__": {"other": int}})


def _more(data: Count, event: Go) -> Count:
    return Count(count=data.count + event.count)


A, B = _State("a", Order), _State("b", Order)
END, OTHER = _State("end", Order, final=True), _State("end", Parcel, final=True)
BUSY = _State("busy", Order, enter=CHARGE)
_IN = Flow("in", input=Order)
SUSPENDED: Any = Suspend(Parcel())
_TWO = _IN.then(CHARGE).together(STAMP, STAMP.named("stamp-2"))
_AWAITS = _IN.then(CHARGE).wait_for(Go)
_UNDONE = stage_of(Order, id_="undone", options={"compensate": function_of(Receipt, gives=None)})


def _machine(*ways: object, **options: object) -> object:
    """A machine of these transitions, unless it is refused."""
    return _Machine("m", **{"input": Order, "start": A, "transitions": ways, **options}).definition


def _yields(_data: Order, _event: Go) -> Any:  # noqa: ANN401 - the mistake
    yield True


_NO_FUNCTION = one_of(True, "x", later, lambda: 1, lambda _a: 1, _yields)  # noqa: FBT003 - the mistake

_STATES = {
    "its data: Locked.parts is of a kind that JSON cannot carry": one_of(lambda: _State("s", Locked)),
    ": define it above the state": one_of(lambda: _State("s", Unfinished)),
    "data is <class 'dict'>: give a pydantic model": one_of(lambda: _State("s", dict)),
    "data is Order(": one_of(lambda: _State("s", Order())),
    "state 's' is final: give what is to run to the transitions that lead to it, as work": one_of(
        lambda: _State("s", Order, final=True, enter=CHARGE)
    ),
    "state 's': enter is <function": one_of(lambda: _State("s", Order, enter=CHARGE.function)),
    "enter is 'charge': give a stage that takes Order, or a workflow of it": one_of(
        lambda: _State("s", Order, enter="charge")
    ),
    "parameter 'a' takes Receipt, but the machine's data gives Order": one_of(lambda: _State("s", Order, enter=STAMP)),
    "workflow 'in' takes Order, not Parcel": one_of(lambda: _State("s", Parcel, enter=_IN.then(CHARGE))),
    "'w' has no stages: add one with .then(stage)": one_of(lambda: _State("s", Order, enter=EMPTY)),
    "give presets and deadline to the machine, not to the workflow 'w'": one_of(
        lambda: _State("s", Order, enter=Flow("w", input=Order, deadline=HOUR).then(CHARGE)),
        lambda: _State("s", Order, enter=Flow("w", input=Order, presets={"big": {}}).then(CHARGE)),
    ),
    "it waits for events, which is for states to do: use State.on": one_of(
        lambda: _State("s", Order, enter=_AWAITS), lambda: A.on(Go, to=B, work=_AWAITS)
    ),
    "'undone' is to be compensated, which a machine does by a transition": one_of(
        lambda: _State("s", Order, enter=_UNDONE), lambda: A.on(Go, to=B, work=_UNDONE)
    ),
    "'w' is to be compensated, which a machine does by a transition": one_of(
        lambda: _State("s", Order, enter=Flow("w", input=Order, on_failure="compensate").then(CHARGE)),
        lambda: _State("s", Order, enter=Flow("w", input=Order, on_cancel="compensate").then(CHARGE)),
    ),
}

_TRANSITIONS = {
    "state 'a', on Go: roles are ": lambda chance: partial(
        lambda wrong: A.on(Go, to=B, roles=wrong), chance.pick(("clerk", ["clerk"], (7,), ("",), ("a b",), None))
    ),
    "the state is final, so nothing leads out of it": one_of(lambda: END.on(Go, to=A), lambda: END.after(HOUR, to=A)),
    "to is 'b': give a State": one_of(lambda: A.on(Go, to="b"), lambda: A.after(HOUR, to="b")),
    "has other data, Parcel: a machine has one kind of data": one_of(lambda: A.on(Go, to=OTHER)),
    "it changes nothing: give it to=... or update=...": one_of(lambda: A.on(Go), lambda: A.after(HOUR)),
    "when must be a plain function of 2 values": lambda chance: partial(
        lambda wrong: A.on(Go, to=B, when=wrong), _NO_FUNCTION(chance)
    ),
    "update must be a plain function of 2 values": lambda chance: partial(
        lambda wrong: A.on(Go, to=B, update=wrong), _NO_FUNCTION(chance)
    ),
    "result must be a plain function of 2 values": lambda chance: partial(
        lambda wrong: A.on(Go, to=B, work=CHARGE, result=wrong), _NO_FUNCTION(chance)
    ),
    "after: when must be a plain function of 1 values": one_of(lambda: A.after(HOUR, to=B, when=lambda: True)),
    "result is of work that there is none of: give work=...": one_of(
        lambda: A.on(Go, to=B, result=lambda data, _out: data)
    ),
    "its work leads nowhere: give to=...": one_of(lambda: A.on(Go, work=CHARGE, update=lambda data, _event: data)),
    "is not what the state is entered with: give enter=": one_of(
        lambda: BUSY.done(STAMP, to=B), lambda: A.done(CHARGE, to=B), lambda: BUSY.done("charge", to=B)
    ),
    "its work gives 2 values: let it end with one stage": one_of(
        lambda: _State("s", Order, enter=_TWO).done(_TWO, to=END, when=lambda _data, _out: True),
        lambda: A.on(Go, to=END, work=_TWO, result=lambda data, _out: data),
    ),
    "state 'busy', done: say where it leads, with to=...": one_of(lambda: BUSY.done(CHARGE, to=None)),
}

_DELAYS = {
    "state 'a', after is {0!r}: give a datetime.timedelta": NO_SPAN,
    "give at least 0:00:00.001": TOO_SHORT,
}

_OPTIONS = {
    "version is {0[version]!r}: give a whole number from 1": by_name(version=NOT_WHOLE),
    "quota is {0[quota]!r}: give a whole number from 1": by_name(quota=NOT_WHOLE),
    "input is {0[input]!r}: give a pydantic": by_name(input=one_of(dict, None, "Order", Order())),
    ": define it above the machine": by_name(input=one_of(Unfinished)),
    "start is {0[start]!r}: give a State": by_name(start=one_of("a", None, State)),
    "give a tuple of them, in their order": by_name(transitions=one_of([A.on(Go, to=END)], None, (A,), ("a",))),
    "its input is Parcel, its data Order: say with begin=... how the one becomes the other": by_name(
        input=one_of(Parcel)
    ),
    "begin must be a plain function of one value, the input": by_name(begin=one_of(later, "x", lambda: 1, 7)),
    "deadline is {0[deadline]!r}: give a datetime.timedelta": by_name(deadline=NO_SPAN),
    "has more than 1000 transitions: split it into several": by_name(
        transitions=one_of((A.on(Go, to=END),) * (MAX_TRANSITIONS + 1))
    ),
    "there is no stage 'pcak'; there are: ": by_name(presets=one_of({"big": {"pcak": {}}})),
}


def _crowd() -> object:
    """More states than there may be."""
    states = [_State(f"s{number}", Order) for number in range(MAX_STATES)]
    ways = (one.on(Go, to=other) for one, other in zip([A, *states], [*states, END], strict=True))
    return _machine(*ways)


_WHOLES = {
    "two states have the id 'b': give one of them another": one_of(
        lambda: _machine(A.on(Go, to=B), B.on(Go, to=END), A.on(Stop, to=_State("b", Order)))
    ),
    "has other data than <state 'a'>: a machine has one kind of data": one_of(
        lambda: _machine(A.on(Go, to=END), _State("p", Parcel).on(Go, to=OTHER))
    ),
    "has more than 200 states: split it into several": one_of(_crowd),
    "is no event: give its class, a pydantic model": one_of(
        lambda: _machine(A.on("Go", to=END)), lambda: _machine(A.on(dict, to=END)), lambda: _machine(A.on(Go(), to=END))
    ),
    "there are two classes of the name 'Go': rename one": one_of(
        lambda: _machine(A.on(Go, to=B), B.on(_other_go(), to=END))
    ),
    "both have a stage 'charge': give one of them another id, such as charge.named('charge-2')": one_of(
        lambda: _machine(A.on(Go, to=BUSY, work=CHARGE), BUSY.done(CHARGE, to=END)),
        lambda: _machine(A.on(Go, to=B, work=CHARGE), B.on(Go, to=END, work=CHARGE)),
    ),
    "state 'b' is never entered: give a transition to it, or leave it out": one_of(
        lambda: _machine(A.on(Go, to=END), B.on(Go, to=END))
    ),
    "has no final state, so its runs could only fail": one_of(lambda: _machine(A.on(Go, to=B), B.on(Go, to=A))),
    "from state 'b' no final state can be reached: give it a way out": one_of(
        lambda: _machine(A.on(Go, to=B), A.on(Stop, to=END)),
        lambda: _machine(A.on(Go, to=B), A.on(Stop, to=END), B.on(Go, to=B)),
    ),
    "a after comes after the machine's deadline: give it a longer one": one_of(
        lambda: _machine(A.after(HOUR, to=END), deadline=HOUR)
    ),
    "a transition of a on Go is never taken, since one before it always is": one_of(
        lambda: _machine(A.on(Go, to=END), A.on(Go, to=B), B.on(Go, to=END)),
        lambda: _machine(A.on(Go, to=END, roles=("x", "y")), A.on(Go, to=B, roles=("y",)), B.on(Go, to=END)),
    ),
    "a transition of a after is never taken, since one before it always is": one_of(
        lambda: _machine(A.after(HOUR, to=END), A.after(HOUR, to=B), B.on(Go, to=END))
    ),
    "a after 2:00:00 is never taken, since the state is left after 1:00:00": one_of(
        lambda: _machine(A.after(HOUR * 2, to=END), A.after(HOUR, to=B), B.on(Go, to=END))
    ),
}

REFUSALS: Refusals = (
    ("state", DefinitionError, lambda given: _State(given, Order), {"state {0!r} is not an id": no_id}),
    ("machine", DefinitionError, lambda given: _Machine(given, input=Order, start=A, transitions=(A.on(Go, to=END),)),
     {"machine {0!r} is not an id": no_id}),
    ("state", DefinitionError, lambda make: make(), _STATES),
    ("transition", DefinitionError, lambda make: make(), _TRANSITIONS),
    ("after", DefinitionError, lambda given: A.after(given, to=B), _DELAYS),
    ("machine", DefinitionError, lambda given: _machine(**{"transitions": (A.on(Go, to=END),), **given}), _OPTIONS),
    ("machine", DefinitionError, lambda make: make(), _WHOLES),
)  # fmt: skip


# --- functions that throw, or give the wrong thing --------------------------------------------------------------------

_WRONG: Mapping[str, Callable[..., Any]] = {
    "throws": lambda *_given: dict[str, int]()["nothing"],
    "gives the wrong thing": lambda *_given: 7,
    "gives nothing": lambda *_given: None,
    "gives too much": lambda *_given: Count(text="x" * LARGEST),
    "gives what JSON cannot carry": lambda *_given: Count(count=float("nan")),
    "exits": lambda *_given: sys.exit(3),
}


def _fails(given: tuple[str, str]) -> bool:
    """Whichever function is wrong, the run fails and says so, or the event is refused; the engine goes on."""
    what, how = given
    wrong: Any = _WRONG[how]
    state = _State("s", Count, enter=stage_of(Count, id_="work", body=lambda *_given: Receipt()))
    work = stage_of(Count, id_="more", gives=Receipt, body=lambda *_given: Receipt())
    end = _State("end", Count, final=True)
    machine = _Machine(
        "m",
        input=Count,
        begin=wrong if what == "begin" else None,
        start=state,
        transitions=(
            state.on(Go, to=end, update=wrong if what == "event" else None, when=wrong if what == "when" else None),
            state.on(Stop, to=end, work=work, result=wrong if what == "result" else None),
            state.after(HOUR, to=end, update=wrong if what == "time" else None),
            state.done(state.enter, to=end, when=lambda *_given: what == "done", update=wrong),
        ),
    )
    play = Play(machine)
    run = play.start(machine, Count())
    while play.step():
        pass
    if what in {"event", "when", "result"}:
        play.send(run, Stop() if what == "result" else Go(), id="e")
        while play.step():
            pass
    if what in {"event", "when"}:
        said = play.event(run, "e")
        taken = what == "when" and how in {"gives the wrong thing", "gives too much", "gives what JSON cannot carry"}
        return (said.status == "applied") is taken and (taken or bool(said.reason))
    play.play(run)
    ended = play.ended(run)
    error = ended.view.error
    return ended.status == "failed" and error is not None and error.category == "condition" and ended.outputs == ()


def _kept(size: int) -> bool:
    """Data of any size is what it was, in whatever way it got there; of what changes within a state, too."""
    state, end = _State("s", Count), _State("end", Count, final=True)

    def grown(data: Count, event: Go) -> Count:
        return Count(count=data.count + event.count, text="x" * size)

    machine = _Machine(
        "m",
        input=Count,
        start=state,
        transitions=(state.on(Go, update=grown), state.on(Stop, to=end, roles=("boss",)), state.after(HOUR, to=end)),
    )
    play = Play(machine)
    run = play.start(machine, Count())
    for number in range(3):
        while play.step():
            pass
        play.send(run, Go(count=number), id=f"e-{number}")
    while play.step():
        pass
    refused = False
    try:
        play.send(run, Stop(), roles=("clerk",))
    except Forbidden as error:
        refused = "takes event Stop from these roles only: boss" in str(error)
    play.play(run)
    ended = play.ended(run)
    drawn = "end" in machine.diagram() and "completed" in machine.diagram(ended.view)
    kinds = [type(event) for events in ended.log for event in events]
    moved = (kinds.count(StateEntered), kinds.count(TransitionTaken)) == (2, 3)
    try:
        play.rerun(run, "s")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer that is judged
        refused = refused and "has no stage 's'" in str(error)
    return refused and drawn and moved and ended.output == Count(count=3, text="x" * size)


def _rerun(stage: str) -> bool:
    """A machine goes on from where it is only, whatever it was."""
    play = Play(machine := _Machine("m", input=Order, start=BUSY, transitions=(BUSY.done(CHARGE, to=END),)))
    run = play.run(machine, Order())
    try:
        play.rerun(run, stage)
    except Conflict as error:
        return "a machine goes on from end only" in str(error) and run.status == "completed"
    return False


def _runs(given: tuple[timedelta, int]) -> bool:
    """A loop ends by its quota, and says so."""
    delay, quota = given
    state, end = _State("s", Count), _State("end", Count, final=True)
    ways = (state.after(delay, to=state, when=lambda data: data.count < 99), state.on(Go, to=end))  # noqa: PLR2004 - far
    machine = _Machine("m", input=Count, start=state, transitions=ways, quota=quota, deadline=HOUR * 240)
    ended = Play(machine).run(machine, Count())
    error = ended.view.error
    return ended.status == "failed" and error is not None and f"has taken {quota} transitions" in error.message


def _spins(count: int) -> bool:
    """A machine with nothing to wait for ends, too, and says why."""
    never = Flow("never", input=Count).then_if(lambda _data: False, stage_of(Count, id_="work"))
    state, end = _State("s", Count, enter=never), _State("end", Count, final=True)
    more = lambda data, _out: Count(count=data.count + 1, text="x" * count)  # noqa: E731 - a function
    ways = (state.done(never, to=state, update=more), state.on(Go, to=end))
    ended = Play(machine := _Machine("m", input=Count, start=state, transitions=ways)).run(machine, Count())
    error = ended.view.error
    return ended.status == "failed" and error is not None and error.kind == "EndlessTransitions"


def _on_the_way(given: tuple[str, ...]) -> bool:
    """Where a machine is, is drawn, between two states, too, and before it has begun."""
    work = stage_of(Count, id_="work", gives=Receipt | Suspend[Parcel], options=POLLED, body=lambda *_given: SUSPENDED)
    state, end = _State("s", Count), _State("end", Count, final=True)
    way = state.on(Go, to=end, when=lambda _data, _event: True, roles=given, work=work)
    machine = _Machine(
        "m", input=Count, start=state, transitions=(way, state.on(Stop, update=lambda data, _event: data))
    )
    play = Play(machine)
    run = play.start(machine, Count())
    drawn = [machine.diagram(play.look(run))]
    while play.step():
        pass
    drawn.append(machine.diagram(play.look(run)))
    play.send(run, Go(), roles=given, id="e")
    while play.step():
        pass
    drawn.append(machine.diagram(play.look(run)))
    play.cancel(run)
    drawn.append(machine.diagram(play.look(run)))
    label = f"Go [on a condition]{' by ' + ' or '.join(given).replace(':', '#58;') if given else ''}"
    return all(label in each for each in drawn) and len(set(drawn)) == len(drawn) and "between" in drawn[2]


ODDITIES: Oddities = {
    "a machine on its way is drawn": (_on_the_way, one_of(("a:b", "c"), ("boss",))),
    "a machine that has nothing to wait for": (_spins, one_of(1, 900)),
    "a function of a machine that is wrong": (
        _fails,
        lambda chance: (
            chance.pick(("begin", "event", "when", "time", "done", "result")),
            chance.pick(tuple(_WRONG)),
        ),
    ),
    "a machine's data": (_kept, one_of(0, 500, 5_000, 99_000)),
    "a machine that is run again": (_rerun, one_of("charge")),
    "a machine without end": (
        _runs,
        lambda chance: (timedelta(milliseconds=chance.between(1, 3_600_000)), chance.between(1, 9)),
    ),
}

"""``Machine``: a run that is in one state at a time. ``State`` and its transitions say what takes it to the next."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVarTuple, get_type_hints, overload

from pydantic import BaseModel
from typing_extensions import TypeVar

from kernel.define.context import Failed
from kernel.define.machine_check import require_sound
from kernel.define.machine_compile import definition_of
from kernel.define.machine_diagram import state_diagram
from kernel.define.machine_plan import MachinePlan, Way, plan_of_work
from kernel.define.model import is_model, members
from kernel.define.policy import is_a, is_whole, milliseconds
from kernel.define.shape import name_of, require_json
from kernel.define.signature import is_plain, takes
from kernel.define.stage import require_id
from kernel.define.startable import In, Startable, require_names
from kernel.define.workflow import Takes, Workflow
from kernel.errors import DefinitionError
from kernel.limits import is_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.core.definition import Definition
    from kernel.define.plan import Plan, Presets
    from kernel.shell.read import RunView

QUOTA = 10_000
"""How many transitions a run may take, unless its machine says otherwise."""
MAX_STATES = 200
MAX_TRANSITIONS = 1_000
"""How many states and transitions a machine may have."""

D = TypeVar("D", bound=BaseModel)
Model = TypeVar("Model", bound=BaseModel)
Ev = TypeVar("Ev", bound=BaseModel)
Out = TypeVar("Out")
Next = TypeVar("Next")
Outs = TypeVarTuple("Outs")


class Transition(Generic[D]):
    """A way from one state to another. Made by ``State.on``, ``State.done`` and ``State.after``."""

    def __init__(self, way: Way, source: State[D], to: State[D] | None) -> None:
        """Keep the parts. Use the methods of ``State`` instead, which check them."""
        self.way = way
        self.source = source
        self.to = to

    def __repr__(self) -> str:
        return f"<transition {self.way.what}>"


class State(Generic[D]):
    """A state of a machine, whose data is a ``D`` all along.

    ::

        review = State("review", Approval, enter=ask_manager)
        approved = State("approved", Approval, final=True)
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the field's word, and given by position
        data: type[D],
        /,
        *,
        enter: Takes[Any, D] | Workflow[D, *tuple[Any, ...]] | None = None,
        final: bool = False,
    ) -> None:
        """A state.

        Args:
            id: its name: a letter, then up to 63 letters, digits, hyphens and underscores.
            data: the model of the machine's data.
            enter: a stage that takes the data, or a workflow of which it is the input: what runs once the state is
                entered. When the state is left before that is done, it is cut off, and its result does not count; so
                what must not be cut off belongs to a transition, as its ``work``.
            final: the run is complete with it, and its data is the run's result.

        Raises:
            DefinitionError: an argument makes no sense; the message says what to change.
        """
        require_id(id, "state")
        what = f"state {id!r}"
        if not is_model(data):
            raise DefinitionError(f"{what}: data is {data!r}: give a pydantic model")
        try:
            require_json(data, f"{what}, its data")
        except NameError as error:
            raise DefinitionError(f"{what}: {error}: define it above the state") from error
        if final and enter is not None:
            raise DefinitionError(f"{what} is final: give what is to run to the transitions that lead to it, as work")
        self.id = id
        self.data = data
        self.final = final
        self.enter = enter
        self.work = None if enter is None else plan_of_work(enter, data, f"{what}: enter")

    def __repr__(self) -> str:
        return f"<state {self.id!r}>"

    @overload
    def on(
        self,
        event: type[Ev],
        /,
        *,
        to: State[D] | None = None,
        when: Callable[[D, Ev], bool] | None = None,
        update: Callable[[D, Ev], D] | None = None,
        roles: tuple[str, ...] = (),
    ) -> Transition[D]: ...
    @overload
    def on(
        self,
        event: type[Ev],
        /,
        *,
        to: State[D],
        when: Callable[[D, Ev], bool] | None = None,
        update: Callable[[D, Ev], D] | None = None,
        roles: tuple[str, ...] = (),
        work: Takes[Out, D] | Workflow[D, Out],
        result: Callable[[D, Out], D] | None = None,
    ) -> Transition[D]: ...
    def on(
        self,
        event: type[BaseModel],
        /,
        *,
        to: State[D] | None = None,
        when: Callable[[D, Any], bool] | None = None,
        update: Callable[[D, Any], D] | None = None,
        roles: tuple[str, ...] = (),
        work: Any = None,
        result: Callable[[D, Any], D] | None = None,
    ) -> Transition[D]:
        """A transition on an external event, whose class is its name.

        Args:
            event: its class, a pydantic model.
            to: the next state. The same one is left and entered again; without any, nothing is left: what runs goes
                on, and so do timers.
            when: says of the data and the event whether the transition is taken; must be pure.
            update: gives the new data from the data and the event; must be pure.
            roles: whoever sends the event must have one of these; nobody needs any if there are none.
            work: a stage that takes the (new) data, or a workflow of which it is the input: runs before the next
                state is entered. Nothing cuts it off but the end of the run; events wait until it is done.
            result: gives the new data from the data and what the work gave; must be pure.

        Raises:
            DefinitionError: an argument makes no sense; the message says what to change.
        """
        name = getattr(event, "__name__", repr(event))
        what = f"state {self.id!r}, on {name}"
        if not is_a(roles, tuple) or not all(map(is_role, roles)):
            raise DefinitionError(
                f"{what}: roles are {roles!r}: give a tuple of names, such as ('manager',), each of letters, digits "
                "and _ . : / @ -"
            )
        way = Way(self.id, name, event=event, roles=roles)
        return self._way(way, what, to, when, update, 2, work, result)

    @overload
    def done(
        self,
        entered: Takes[Out, D] | Workflow[D, Out],
        /,
        *,
        to: State[D],
        when: Callable[[D, Out], bool] | None = None,
        update: Callable[[D, Out], D] | None = None,
    ) -> Transition[D]: ...
    @overload
    def done(
        self,
        entered: Takes[Out, D] | Workflow[D, Out],
        /,
        *,
        to: State[D],
        when: Callable[[D, Out], bool] | None = None,
        update: Callable[[D, Out], D] | None = None,
        work: Takes[Next, D] | Workflow[D, Next],
        result: Callable[[D, Next], D] | None = None,
    ) -> Transition[D]: ...
    def done(
        self,
        entered: Takes[Any, D] | Workflow[D, Any],
        /,
        *,
        to: State[D],
        when: Callable[[D, Any], bool] | None = None,
        update: Callable[[D, Any], D] | None = None,
        work: Takes[Any, D] | Workflow[D, Any] | None = None,
        result: Callable[[D, Any], D] | None = None,
    ) -> Transition[D]:
        """A transition once the work that the state was entered with is done.

        When no condition holds, they are asked again whenever the data has changed.

        Args:
            entered: what the state was given as ``enter``.
            to: the next state; the same one is left and entered again.
            when: says of the data and what the work gave whether the transition is taken; must be pure.
            update: gives the new data from these; must be pure.
            work: as ``on`` has it.
            result: as ``on`` has it.

        Raises:
            DefinitionError: an argument makes no sense; the message says what to change.
        """
        what = f"state {self.id!r}, done"
        if self.enter is None or entered is not self.enter:
            raise DefinitionError(
                f"{what}: {entered!r} is not what the state is entered with: give enter={entered!r} to it"
            )
        if to is None:
            raise DefinitionError(f"{what}: say where it leads, with to=...")
        if when is not None or update is not None:
            _require_one(self.work, what)
        _require_failed((when, update), self.work, what)
        return self._way(Way(self.id, "done"), what, to, when, update, 2, work, result)

    @overload
    def after(
        self,
        delay: timedelta,
        /,
        *,
        to: State[D] | None = None,
        when: Callable[[D], bool] | None = None,
        update: Callable[[D], D] | None = None,
    ) -> Transition[D]: ...
    @overload
    def after(
        self,
        delay: timedelta,
        /,
        *,
        to: State[D],
        when: Callable[[D], bool] | None = None,
        update: Callable[[D], D] | None = None,
        work: Takes[Out, D] | Workflow[D, Out],
        result: Callable[[D, Out], D] | None = None,
    ) -> Transition[D]: ...
    def after(
        self,
        delay: timedelta,
        /,
        *,
        to: State[D] | None = None,
        when: Callable[[D], bool] | None = None,
        update: Callable[[D], D] | None = None,
        work: Takes[Any, D] | Workflow[D, Any] | None = None,
        result: Callable[[D, Any], D] | None = None,
    ) -> Transition[D]:
        """A transition once the machine has been in this state for so long; for any time, at no cost while it lasts.

        Args:
            delay: how long.
            to: the next state; the same one is left and entered again. Without any, the machine stays in its state,
                and the timer does not fire a second time.
            when: says of the data, once the time has come, whether the transition is taken; must be pure.
            update: gives the new data from the data; must be pure.
            work: as ``on`` has it.
            result: as ``on`` has it.

        Raises:
            DefinitionError: an argument makes no sense; the message says what to change.
        """
        what = f"state {self.id!r}, after"
        return self._way(
            Way(self.id, "after", after=milliseconds(delay, what)), what, to, when, update, 1, work, result
        )

    def _way(
        self,
        way: Way,
        what: str,
        to: State[D] | None,
        when: Callable[..., bool] | None,
        update: Callable[..., D] | None,
        count: int,
        work: object = None,
        result: Callable[..., D] | None = None,
    ) -> Transition[D]:
        if self.final:
            raise DefinitionError(f"{what}: the state is final, so nothing leads out of it")
        if to is not None and not is_a(to, State):
            raise DefinitionError(f"{what}: to is {to!r}: give a State")
        if to is not None and to.data is not self.data:
            raise DefinitionError(f"{what}: {to!r} has other data, {name_of(to.data)}: a machine has one kind of data")
        if to is None and way.roles == () and when is None and update is None:
            raise DefinitionError(f"{what}: it changes nothing: give it to=... or update=...")
        for name, function, wanted in (("when", when, count), ("update", update, count), ("result", result, 2)):
            if function is not None and (not takes(function, wanted) or not is_plain(function)):
                raise DefinitionError(f"{what}: {name} must be a plain function of {wanted} values")
        if work is None and result is not None:
            raise DefinitionError(f"{what}: result is of work that there is none of: give work=...")
        if work is not None and to is None:
            raise DefinitionError(f"{what}: its work leads nowhere: give to=...")
        plan: Plan | None = None if work is None else plan_of_work(work, self.data, f"{what}: work")
        if result is not None:
            _require_one(plan, what)
            _require_failed((result,), plan, what)
        told = way.with_(to=None if to is None else to.id, when=when, update=update, work=plan, result=result)
        return Transition(told, self, to)


def _require_failed(functions: tuple[Any, ...], work: Plan | None, what: str) -> None:
    """See to it that functions of what a work gives know that it may have failed, where they say what they take.

    Raises:
        DefinitionError: one does not.
    """
    if work is None or not work.proceeds(work.current[0]):
        return
    for function in functions:
        hints = [hint for name, hint in _hints(function).items() if name != "return"]
        if hints[1:] and hints[1] not in (Any, object) and Failed not in members(hints[1]):
            raise DefinitionError(
                f"{what}: {function.__name__} is given a Failed when {work.current[0]} has failed: annotate it "
                f"{name_of(hints[1])} | Failed"
            )


def _hints(function: Any) -> dict[str, Any]:  # noqa: ANN401 - a function of the user's, or none
    try:
        return get_type_hints(function) if function is not None else {}
    except (NameError, TypeError):  # it says nothing that could be held against it
        return {}


def _require_one(work: Plan | None, what: str) -> None:
    """See to it that work gives what functions of its one output take."""
    if work is not None and len(work.current) > 1:
        raise DefinitionError(f"{what}: its work gives {len(work.current)} values: let it end with one stage")


class Machine(Startable[In], Generic[In, D]):
    """States, and what leads from one to the next: started with an ``In``, with data that is a ``D``.

    ::

        invoice_approval = Machine("invoice-approval", input=Invoice, begin=Approval.begin, start=review,
            transitions=(
                review.on(Approve, to=approved, update=sign, roles=("manager",)),
                review.on(Reject, to=rejected),
                review.after(timedelta(days=3), to=escalated),
            ))

    In each state the first transition that fits is taken. The data changes only by the functions that are given here;
    what they give is recorded, so it never matters that they are changed later. The result of a run is its data.
    """

    _plan: MachinePlan

    @overload
    def __init__(
        self: Machine[Model, Model],
        id: str,
        /,
        *,
        input: type[Model],
        start: State[Model],
        transitions: tuple[Transition[Model], ...],
        version: int = 1,
        deadline: timedelta | None = None,
        chain: bool = True,
        presets: Presets | None = None,
        quota: int = QUOTA,
    ) -> None: ...
    @overload
    def __init__(
        self,
        id: str,
        /,
        *,
        input: type[In],
        begin: Callable[[In], D],
        start: State[D],
        transitions: tuple[Transition[D], ...],
        version: int = 1,
        deadline: timedelta | None = None,
        chain: bool = True,
        presets: Presets | None = None,
        quota: int = QUOTA,
    ) -> None: ...
    def __init__(
        self,
        id: str,  # noqa: A002 - as above
        /,
        *,
        input: Any,  # noqa: A002 - as above
        begin: Callable[[Any], Any] | None = None,
        start: State[Any],
        transitions: tuple[Transition[Any], ...],
        version: int = 1,
        deadline: timedelta | None = None,
        chain: bool = True,
        presets: Presets | None = None,
        quota: int = QUOTA,
    ) -> None:
        """A machine.

        Args:
            id: its name: a letter, then up to 63 letters, digits, hyphens and underscores.
            input: a pydantic model, what a run is started with.
            begin: gives the data at the beginning from the input; must be pure. Not needed when they are the same.
            start: the first state.
            transitions: in the order in which they are tried.
            version: from 1. Give the next number to a change that runs under way must not meet.
            deadline: how long a run may take in all; the deployment's default if not given.
            chain: whether a worker goes on from stage to stage, at one write each, or stops after each.
            presets: named configurations: by name of the preset and id of the stage, a model or some of its fields.
            quota: how many transitions a run may take; the one after that fails it or, on an event, is refused.

        Raises:
            DefinitionError: an argument makes no sense; a state is never reached or never left, a transition never
                taken; the message says what to change.
        """
        what = f"machine {id!r}"
        require_names(what, id, version, input, presets or {})
        if not is_a(start, State):
            raise DefinitionError(f"{what}: start is {start!r}: give a State")
        if not is_a(transitions, tuple) or not all(is_a(each, Transition) for each in transitions):
            raise DefinitionError(f"{what}: transitions are {transitions!r}: give a tuple of them, in their order")
        if len(transitions) > MAX_TRANSITIONS:
            raise DefinitionError(f"{what} has more than {MAX_TRANSITIONS} transitions: split it into several")
        if not is_whole(quota, 1):
            raise DefinitionError(f"{what}: quota is {quota!r}: give a whole number from 1")
        if begin is None and input is not start.data:
            raise DefinitionError(
                f"{what}: its input is {name_of(input)}, its data {name_of(start.data)}: say with begin=... "
                "how the one becomes the other"
            )
        if begin is not None and (not takes(begin, 1) or not is_plain(begin)):
            raise DefinitionError(f"{what}: begin must be a plain function of one value, the input")
        self._plan = MachinePlan(
            id=id,
            version=version,
            input=input,
            deadline=None if deadline is None else milliseconds(deadline, f"{what}: deadline"),
            chain=chain,
            presets=presets or {},
            data=start.data,
            begin=begin,
            start=start.id,
            states={state.id: state.work for state in _states(what, start, transitions)},
            final=tuple(state.id for state in _states(what, start, transitions) if state.final),
            ways=tuple(each.way for each in transitions),
            quota=quota,
        )
        require_sound(self._plan)

    def __repr__(self) -> str:
        return f"<machine {self.id!r} version {self.version}>"

    def _compiled(self) -> Definition:
        return definition_of(self._plan)

    def diagram(self, run: RunView | None = None) -> str:
        """The machine as a Mermaid state diagram.

        Args:
            run: a run of it, whose progress is drawn in; as ``Play.ended(run).view`` has it.
        """
        if run is None:
            return state_diagram(self._plan, f"{self.id}, version {self.version}")
        return state_diagram(self._plan, f"{self.id}, run {run.run}: {run.status}", run)


def _states(what: str, start: State[Any], transitions: tuple[Transition[Any], ...]) -> list[State[Any]]:
    """Every state that is mentioned, once, in order of mention."""
    found: dict[str, State[Any]] = {}
    for state in (start, *(each for way in transitions for each in (way.source, way.to) if each is not None)):
        if found.setdefault(state.id, state) is not state:
            raise DefinitionError(f"{what}: two states have the id {state.id!r}: give one of them another")
        if state.data is not start.data:
            raise DefinitionError(f"{what}: {state!r} has other data than {start!r}: a machine has one kind of data")
    if len(found) > MAX_STATES:
        raise DefinitionError(f"{what} has more than {MAX_STATES} states: split it into several")
    return list(found.values())

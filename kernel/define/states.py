"""``State``: a state of a machine, and what leads out of it: an event, a time, or work that is done."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, get_type_hints, overload

from pydantic import BaseModel
from typing_extensions import TypeVar

from kernel.define.context import Failed
from kernel.define.machine_plan import Way, plan_of_work
from kernel.define.model import is_model, members
from kernel.define.policy import is_a, milliseconds
from kernel.define.shape import name_of, require_json
from kernel.define.signature import is_plain, takes
from kernel.define.stage import require_id
from kernel.define.workflow import Takes, Workflow
from kernel.errors import DefinitionError
from kernel.limits import is_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.define.plan import Plan

D = TypeVar("D", bound=BaseModel)
Ev = TypeVar("Ev", bound=BaseModel)
Out = TypeVar("Out")
Next = TypeVar("Next")


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

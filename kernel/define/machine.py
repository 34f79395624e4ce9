"""``Machine``: a run that is in one state at a time; ``State`` and its transitions say what takes it to the next."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, overload

from pydantic import BaseModel
from typing_extensions import TypeVar

from kernel.define.machine_check import require_sound
from kernel.define.machine_compile import definition_of
from kernel.define.machine_diagram import state_diagram
from kernel.define.machine_plan import MachinePlan
from kernel.define.policy import is_a, is_whole, milliseconds
from kernel.define.shape import name_of
from kernel.define.signature import is_plain, takes
from kernel.define.startable import In, Startable, require_names
from kernel.define.states import D, State, Transition
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.core.definition import Definition
    from kernel.define.plan import Presets
    from kernel.shell.read import RunView

QUOTA = 10_000
"""How many transitions a run may take, unless its machine says otherwise."""
MAX_STATES = 200
MAX_TRANSITIONS = 1_000
"""How many states and transitions a machine may have."""

Model = TypeVar("Model", bound=BaseModel)


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

"""A machine as it is written: its states, the ways between them, and the work that each does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel

from kernel.core.definition import DATA, RUN_INPUT
from kernel.define.model import Hint
from kernel.define.plan import Outline, Placed, Plan, Timer, Wait
from kernel.define.shape import name_of
from kernel.define.stage import Stage
from kernel.define.workflow import Workflow
from kernel.errors import DefinitionError


class Way(Struct, frozen=True):
    """A transition.

    Attributes:
        source: id of the state that it leads out of.
        trigger: what it is taken on: the name of an event, ``done`` or ``after``.
        event: the event's class.
        after: milliseconds in the state.
        roles: one of which is wanted of who sends the event.
        to: id of the next state; None to stay.
        when, update, result: as ``State.on`` was given them.
        work: what runs in between.
    """

    source: str
    trigger: str
    event: type[BaseModel] | None = None
    after: int | None = None
    roles: tuple[str, ...] = ()
    to: str | None = None
    when: Callable[..., bool] | None = None
    update: Callable[..., Any] | None = None
    work: Plan | None = None
    result: Callable[..., Any] | None = None

    @property
    def what(self) -> str:
        """The transition, for an error's message."""
        return f"{self.source} on {self.trigger}" if self.event else f"{self.source} {self.trigger}"

    def with_(
        self,
        *,
        to: str | None,
        when: Callable[..., bool] | None,
        update: Callable[..., Any] | None,
        work: Plan | None,
        result: Callable[..., Any] | None,
    ) -> Way:
        """The same, with where it leads and how."""
        return replace(self, to=to, when=when, update=update, work=work, result=result)


class MachinePlan(Outline, frozen=True, kw_only=True):
    """What a machine is made of.

    Attributes:
        data: the model of its data.
        begin: makes that of the input; None if it is the input.
        start: id of the first state.
        states: what each state runs once it is entered, by id.
        final: ids of the states that end a run.
        ways: the transitions, in the order in which they are tried.
        quota: how many a run may take.
    """

    data: type[BaseModel]
    begin: Callable[..., Any] | None
    start: str
    states: Mapping[str, Plan | None]
    final: tuple[str, ...]
    ways: tuple[Way, ...]
    quota: int

    @property
    def placed(self) -> Mapping[str, Placed]:
        """All stages by id."""
        return {id_: placed for _, work in self.works() for id_, placed in work.placed.items()}

    def works(self) -> Iterator[tuple[str, Plan]]:
        """All that runs, with what it belongs to: a state or a transition, by id."""
        for id_, work in self.states.items():
            if work is not None:
                yield id_, _within(id_, work)
        for id_, way in self.named().items():
            if way.work is not None:
                yield id_, _within(id_, way.work)

    def named(self) -> dict[str, Way]:
        """The transitions by id: ``review.Approve``, and ``review.Approve-2`` for a second one of the kind."""
        found: dict[str, Way] = {}
        for way in self.ways:
            first, number = f"{way.source}.{way.trigger}", 1
            id_ = first
            while id_ in found:
                number += 1
                id_ = f"{first}-{number}"
            found[id_] = way
        return found

    def gives(self, source: str) -> Hint:
        """The type of what the work of a state gives."""
        work = self.states[source]
        return None if work is None else work.gives(work.current[0])


def _within(owner: str, work: Plan) -> Plan:
    """The work as it runs in a machine: given its data, and with timers named after what it belongs to."""
    names = {id_: f"{owner}.{id_}" for id_, step in work.steps.items() if isinstance(step, Timer)} | {RUN_INPUT: DATA}

    def named(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(id_, id_) for id_ in ids)

    steps = {
        names.get(id_, id_): replace(step, sources=named(step.sources), gates=named(step.gates))
        for id_, step in work.steps.items()
    }
    return replace(work, steps=steps, gates=named(work.gates))


def plan_of_work(work: object, data: type[BaseModel], what: str) -> Plan:
    """What a state or a transition runs, as a graph of which the data is the input.

    Raises:
        DefinitionError: it is no stage or workflow, does not take the data, or holds what a machine does otherwise.
    """
    if isinstance(work, Stage):
        try:
            return _plan(Workflow("work", input=data).then(work), what)
        except DefinitionError as error:
            said = str(error).removeprefix("workflow 'work', ").replace("the run's input", "the machine's data")
            raise DefinitionError(f"{what}: {said}") from error
    if not isinstance(work, Workflow):
        raise DefinitionError(f"{what} is {work!r}: give a stage that takes {name_of(data)}, or a workflow of it")
    if work.input is not data:
        raise DefinitionError(f"{what}: workflow {work.id!r} takes {name_of(work.input)}, not {name_of(data)}")
    return _plan(work, what)


def _plan(work: Workflow[Any, *tuple[Any, ...]], what: str) -> Plan:
    work.require_complete()
    plan: Plan = work._plan  # noqa: SLF001 - a machine is made of such plans; to users a workflow is all there is
    if plan.presets or plan.deadline is not None:
        raise DefinitionError(f"{what}: give presets and deadline to the machine, not to the workflow {plan.id!r}")
    if any(isinstance(step, Wait) for step in plan.steps.values()):
        raise DefinitionError(f"{what}: it waits for events, which is for states to do: use State.on")
    undoable = next((id_ for id_, placed in plan.placed.items() if placed.stage.options.compensate), None)
    if undoable is not None or plan.on_failure == "compensate" or plan.on_cancel == "compensate":
        raise DefinitionError(
            f"{what}: {undoable or plan.id!r} is to be compensated, which a machine does by a transition: "
            "leave that out, and lead to a state whose work undoes it"
        )
    return plan

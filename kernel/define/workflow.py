"""``Workflow``: puts stages in order. An immutable value, typed by what comes in and what comes next."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count as count_from
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVarTuple, overload

from msgspec.structs import replace
from pydantic import BaseModel
from typing_extensions import TypeVar

from kernel.define.compile import definition_of
from kernel.define.diagram import flowchart
from kernel.define.external import require_events
from kernel.define.plan import Placed, Plan, Presets, Timer, Wait
from kernel.define.policy import OnCancel, OnFailure, OnTimeout, milliseconds, require_strategy
from kernel.define.signature import is_plain, takes
from kernel.define.stage import From, Stage, require_id
from kernel.define.startable import In, Startable, require_names
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.core.definition import Definition
    from kernel.define.context import Context
    from kernel.shell.read import RunView

MAX_STAGES = 2_000
"""How many stages a workflow may have, its compensations not counted."""
MAX_IDS = 40_000
"""Characters that the ids of a workflow's stages may have together: one commit may have to name them all, twice."""

Model = TypeVar("Model", bound=BaseModel)
Out = TypeVar("Out")
Out_co = TypeVar("Out_co", covariant=True)
Now = TypeVarTuple("Now")
Ins = TypeVarTuple("Ins")
EvA = TypeVar("EvA", bound=BaseModel)
EvB = TypeVar("EvB", bound=BaseModel)
EvC = TypeVar("EvC", bound=BaseModel)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")


class Takes(Protocol[Out_co, *Ins]):
    """A stage that can be given ``Ins``.

    ``Stage[Out, *Ins]`` is one that is declared with exactly these types. This may be declared with wider
    ones, such as ``Parcel | Failed`` where a ``Parcel`` comes.
    """

    @property
    def id(self) -> str:
        """A plain function has none, so it is no stage."""

    def __call__(self, ctx: Context[Any], /, *inputs: *Ins) -> Out_co:
        """Take these, give that."""


class Workflow(Startable[In], Generic[In, *Now]):
    """Stages in order: starts with an ``In``, and has come to the values ``Now``, which the next stage takes.

    ::

        order = Workflow("order", input=Order).then(charge).together(pack, bill).then(ship)

    A workflow never changes: each method gives another one, so that a common beginning can go on in several
    ways. The result of a run is what ``Now`` is at the end.
    """

    _plan: Plan

    def __init__(
        self: Workflow[Model, Model],
        id: str,  # noqa: A002 - the field's word, and given by position
        /,
        *,
        input: type[Model],  # noqa: A002 - reads best where it is used
        version: int = 1,
        deadline: timedelta | None = None,
        chain: bool = True,
        on_failure: OnFailure | None = None,
        on_cancel: OnCancel = "stop",
        presets: Presets | None = None,
    ) -> None:
        """A workflow without stages: the next one takes the run's input.

        Args:
            id: its name: a letter, then up to 63 letters, digits, hyphens and underscores.
            input: a pydantic model, what a run is started with.
            version: from 1. Give the next number to a change that runs under way must not meet.
            deadline: how long a run may take in all; the deployment's default if not given.
            chain: whether a worker goes on from stage to stage, at one write each, or stops after each.
            on_failure: what it means that a stage has failed for good, if the stage does not say: ``stop``,
                ``proceed`` or ``compensate``. If not given either: ``compensate`` when any stage has a
                compensation, since one who writes compensations means them to be used; else ``stop``.
            on_cancel: ``compensate`` undoes a run that is cancelled, ``stop`` leaves it as it is.
            presets: named configurations: by name of the preset and id of the stage, a model or some of its
                fields.

        Raises:
            DefinitionError: an argument makes no sense; the message says what to change.
        """
        what = f"workflow {id!r}"
        require_names(what, id, version, input, presets or {})
        require_strategy(on_failure, f"{what}: on_failure", OnFailure)
        require_strategy(on_cancel, f"{what}: on_cancel", OnCancel)
        self._plan = Plan(
            id=id,
            version=version,
            input=input,
            deadline=None if deadline is None else milliseconds(deadline, f"{what}: deadline"),
            chain=chain,
            on_failure=on_failure,
            on_cancel=on_cancel,
            presets=presets or {},
        )

    def __repr__(self) -> str:
        return f"<workflow {self.id!r} version {self.version}>"

    # --- building -----------------------------------------------------------------------------------------

    def then(self, stage: Takes[Out, *Now], /) -> Workflow[In, Out]:
        """Go on with a stage that takes the values so far.

        Raises:
            DefinitionError: its id is taken, or it does not take them.
        """
        return self._with((stage,), self._plan.current)

    def then_if(self, condition: Callable[[*Now], bool], stage: Takes[Out, *Now], /) -> Workflow[In, Out | None]:
        """Go on with a stage that runs only if a condition on the values so far holds, and is skipped if not.

        What follows gets ``None`` when it was skipped.

        Args:
            condition: must be pure. If it throws, the stage fails with that error.
            stage: takes the values so far.

        Raises:
            DefinitionError: as ``then``; or the condition does not take as many values.
        """
        count = len(self._plan.current)
        if not takes(condition, count) or not is_plain(condition):
            raise DefinitionError(
                f"workflow {self.id!r}: the condition of {stage!r} must be a plain function of {count} values"
            )
        return self._with((stage,), self._plan.current, condition)

    @overload
    def together(self, a: Takes[A, *Now], b: Takes[B, *Now], /) -> Workflow[In, A, B]: ...
    @overload
    def together(self, a: Takes[A, *Now], b: Takes[B, *Now], c: Takes[C, *Now], /) -> Workflow[In, A, B, C]: ...
    @overload
    def together(
        self, a: Takes[A, *Now], b: Takes[B, *Now], c: Takes[C, *Now], d: Takes[D, *Now], /
    ) -> Workflow[In, A, B, C, D]: ...
    @overload
    def together(
        self, a: Takes[A, *Now], b: Takes[B, *Now], c: Takes[C, *Now], d: Takes[D, *Now], e: Takes[E, *Now], /
    ) -> Workflow[In, A, B, C, D, E]: ...
    @overload
    def together(
        self,
        a: Takes[A, *Now],
        b: Takes[B, *Now],
        c: Takes[C, *Now],
        d: Takes[D, *Now],
        e: Takes[E, *Now],
        f: Takes[F, *Now],
        /,
    ) -> Workflow[In, A, B, C, D, E, F]: ...
    def together(self, *stages: Takes[Any, *Now]) -> Workflow[In, *tuple[Any, ...]]:
        """Go on with two to six stages side by side, each taking the values so far.

        What follows takes their outputs, in this order.

        Raises:
            DefinitionError: as ``then``.
        """
        if not 2 <= len(stages) <= 6:  # noqa: PLR2004 - as many as there are overloads
            raise DefinitionError(f"workflow {self.id!r}: together takes two to six stages; for more use step")
        return self._with(stages, self._plan.current)

    @overload
    def step(self, stage: Takes[Out, A], /, *, after: From[A] | tuple[From[A]]) -> Workflow[In, Out]: ...
    @overload
    def step(self, stage: Takes[Out, A, B], /, *, after: tuple[From[A], From[B]]) -> Workflow[In, Out]: ...
    @overload
    def step(self, stage: Takes[Out, A, B, C], /, *, after: tuple[From[A], From[B], From[C]]) -> Workflow[In, Out]: ...
    @overload
    def step(
        self, stage: Takes[Out, A, B, C, D], /, *, after: tuple[From[A], From[B], From[C], From[D]]
    ) -> Workflow[In, Out]: ...
    def step(
        self, stage: Takes[Any, *tuple[Any, ...]], /, *, after: From[Any] | tuple[From[Any], ...]
    ) -> Workflow[In, Any]:
        """Add a stage that takes the outputs of any stages of the workflow, in the order given.

        What comes next takes its output. Stages that nothing follows run all the same.

        Args:
            stage: takes the outputs of ``after``.
            after: one to four stages that are in the workflow already; so a cycle cannot be written.

        Raises:
            DefinitionError: as ``then``; or one of ``after`` is not in the workflow.
        """
        return self._with((stage,), self._ids_of(after if isinstance(after, tuple) else (after,)))

    @overload
    def output(self, a: From[A], /) -> Workflow[In, A]: ...
    @overload
    def output(self, a: From[A], b: From[B], /) -> Workflow[In, A, B]: ...
    @overload
    def output(self, a: From[A], b: From[B], c: From[C], /) -> Workflow[In, A, B, C]: ...
    @overload
    def output(self, a: From[A], b: From[B], c: From[C], d: From[D], /) -> Workflow[In, A, B, C, D]: ...
    def output(self, *stages: From[Any]) -> Workflow[In, *tuple[Any, ...]]:
        """Choose whose outputs come next, or are the result, among all stages of the workflow.

        Raises:
            DefinitionError: one of them is not in the workflow.
        """
        return _workflow(replace(self._plan, current=self._ids_of(stages)))

    def sleep(self, duration: timedelta, /) -> Workflow[In, *Now]:
        """Wait before going on: as long as you like, at no cost while it lasts.

        It begins when the values so far are there. What is added next begins after it, and so does the end of the
        run; what comes next is as before. It must be over before the run's deadline.

        Raises:
            DefinitionError: it is no duration, or as long as the workflow's deadline, or longer.
        """
        self._require_over(duration, "sleep")
        return self._sleeping(duration)

    def _require_over(self, duration: timedelta, what: str) -> None:
        what = f"workflow {self.id!r}, {what}"
        length = milliseconds(duration, what)
        if self._plan.deadline is not None and length >= self._plan.deadline:
            raise DefinitionError(f"{what}: {duration} is not over before the workflow's deadline: give a longer one")

    def sleep_until(self, when: datetime | Callable[[*Now], datetime], /) -> Workflow[In, *Now]:
        """Wait until an instant; as ``sleep``.

        Args:
            when: with a time zone; or a pure function of the values so far that gives it. One that has passed makes
                nobody wait. If the function throws, gives something else, or an instant after the run's deadline,
                the wait fails like a stage, and so, as a rule, does the run.

        Raises:
            DefinitionError: it is neither, or has no time zone.
        """
        what = f"workflow {self.id!r}, sleep_until"
        if isinstance(when, datetime):
            if when.utcoffset() is None:
                raise DefinitionError(f"{what}: {when} has no time zone: give one, such as tzinfo=timezone.utc")
        else:
            count = len(self._plan.current)
            if not takes(when, count) or not is_plain(when):
                raise DefinitionError(f"{what}: give a datetime, or a plain function of {count} values that gives one")
        return self._sleeping(when)

    @overload
    def wait_for(
        self,
        a: type[EvA],
        /,
        *,
        match: Callable[[*Now, EvA], bool] | None = None,
        timeout: timedelta | None = None,
        on_timeout: Literal["fail"] = "fail",
        id: str | None = None,
    ) -> Workflow[In, EvA]: ...
    @overload
    def wait_for(
        self,
        a: type[EvA],
        /,
        *,
        match: Callable[[*Now, EvA], bool] | None = None,
        timeout: timedelta,
        on_timeout: Literal["proceed"],
        id: str | None = None,
    ) -> Workflow[In, EvA | None]: ...
    @overload
    def wait_for(
        self,
        a: type[EvA],
        b: type[EvB],
        /,
        *,
        match: Callable[[*Now, EvA | EvB], bool] | None = None,
        timeout: timedelta | None = None,
        on_timeout: Literal["fail"] = "fail",
        id: str | None = None,
    ) -> Workflow[In, EvA | EvB]: ...
    @overload
    def wait_for(
        self,
        a: type[EvA],
        b: type[EvB],
        /,
        *,
        match: Callable[[*Now, EvA | EvB], bool] | None = None,
        timeout: timedelta,
        on_timeout: Literal["proceed"],
        id: str | None = None,
    ) -> Workflow[In, EvA | EvB | None]: ...
    @overload
    def wait_for(
        self,
        a: type[EvA],
        b: type[EvB],
        c: type[EvC],
        /,
        *,
        match: Callable[[*Now, EvA | EvB | EvC], bool] | None = None,
        timeout: timedelta | None = None,
        on_timeout: Literal["fail"] = "fail",
        id: str | None = None,
    ) -> Workflow[In, EvA | EvB | EvC]: ...
    @overload
    def wait_for(
        self,
        a: type[EvA],
        b: type[EvB],
        c: type[EvC],
        /,
        *,
        match: Callable[[*Now, EvA | EvB | EvC], bool] | None = None,
        timeout: timedelta,
        on_timeout: Literal["proceed"],
        id: str | None = None,
    ) -> Workflow[In, EvA | EvB | EvC | None]: ...
    def wait_for(
        self,
        *events: type[BaseModel],
        match: Callable[..., bool] | None = None,
        timeout: timedelta | None = None,
        on_timeout: OnTimeout = "fail",
        id: str | None = None,  # noqa: A002 - the field's word
    ) -> Workflow[In, Any]:
        """Wait for one of one to three external events; what follows takes it. A class is an event's name.

        One that comes before the wait has begun is kept for it. Each event is taken by one wait only: the first that
        it is for, in the order in which they have begun.

        Args:
            events: classes of the events, pydantic models.
            match: says of the values so far and an event whether it is the one; must be pure. If it throws, the wait
                fails with that error.
            timeout: how long to wait, from when the values so far are there; until the run's deadline if absent.
            on_timeout: ``fail`` like a stage that has failed for good, with ``WaitTimedOut``; or ``proceed`` with
                ``None``.
            id: of the wait: letters, digits, hyphens and underscores; ``wait-1`` and so on if absent.

        Raises:
            DefinitionError: the message says what to change.
        """
        plan, what = self._plan, f"workflow {self.id!r}, wait_for"
        require_events(events, [step.events for step in plan.steps.values() if isinstance(step, Wait)], what)
        require_strategy(on_timeout, f"{what}: on_timeout", OnTimeout)
        if timeout is not None:
            length = milliseconds(timeout, f"{what}: timeout")
            if plan.deadline is not None and length >= plan.deadline:
                raise DefinitionError(
                    f"{what}: its timeout, {timeout}, is not over before the workflow's deadline: give a longer one"
                )
        elif on_timeout == "proceed":
            raise DefinitionError(f"{what}: on_timeout is 'proceed', but there is no timeout: give one")
        given = len(plan.current) + 1
        if match is not None and (not takes(match, given) or not is_plain(match)):
            raise DefinitionError(f"{what}: match must be a plain function of {given} values, the last one the event")
        if id is not None:
            require_id(id, "wait")
        id_ = self._new_id("wait") if id is None else id
        if id_ in plan.steps:
            raise DefinitionError(f"workflow {self.id!r} has a stage {id_!r} already: give the wait another id")
        wait = Wait(
            sources=plan.current,
            gates=plan.gates,
            events=events,
            match=match,
            timeout=timeout,
            proceeds=on_timeout == "proceed",
        )
        return self._of(replace(plan, steps={**plan.steps, id_: wait}, current=(id_,), gates=()))

    def _new_id(self, kind: str) -> str:
        """An id that no step has: ``sleep-1``."""
        steps = self._plan.steps
        return next(id_ for number in count_from(1) if (id_ := f"{kind}-{number}") not in steps)

    def _sleeping(self, until: timedelta | datetime | Callable[[*Now], datetime]) -> Workflow[In, *Now]:
        plan, id_ = self._plan, self._new_id("sleep")
        timer = Timer(sources=plan.current, gates=plan.gates, until=until)
        return self._of(replace(plan, steps={**plan.steps, id_: timer}, gates=(id_,)))

    def _of(self, plan: Plan) -> Workflow[Any, *tuple[Any, ...]]:
        """The same, with more steps."""
        if len(plan.steps) > MAX_STAGES:
            raise DefinitionError(f"workflow {self.id!r} has more than {MAX_STAGES} stages: split it into several")
        if sum(map(len, plan.steps)) > MAX_IDS:
            message = f"workflow {self.id!r}: the ids of its stages have more than {MAX_IDS} characters: shorten them"
            raise DefinitionError(message)
        return _workflow(plan)

    def _ids_of(self, stages: tuple[object, ...]) -> tuple[str, ...]:
        for each in stages:
            if (
                not isinstance(each, Stage)
                or (placed := self._plan.stage(each.id)) is None
                or not placed.stage.same(each)
            ):
                raise DefinitionError(
                    f"workflow {self.id!r} does not hold {each!r}: add it first; "
                    f"there are: {', '.join(self._plan.placed) or 'none'}"
                )
        if not stages:
            raise DefinitionError(f"workflow {self.id!r}: name at least one stage")
        return tuple(each.id for each in stages if isinstance(each, Stage))

    def _with(
        self,
        stages: tuple[object, ...],
        sources: tuple[str, ...],
        condition: Callable[..., bool] | None = None,
    ) -> Workflow[In, *tuple[Any, ...]]:
        plan, steps = self._plan, dict(self._plan.steps)
        for each in stages:
            if not isinstance(each, Stage):
                raise DefinitionError(f"workflow {self.id!r}: {each!r} is not a stage: decorate it with @stage")
            if each.id in steps:
                raise DefinitionError(
                    f"workflow {self.id!r} has a stage {each.id!r} already: give this one another id, "
                    f"such as {each.function.__name__}.named({each.id + '-2'!r})"
                )
            plan.require_fit(each, sources)
            gates = plan.gates
            if (delay := each.options.delay) is not None:
                self._require_over(delay, f"stage {each.id!r}, delay")
                steps[f"{each.id}.delay"] = Timer(sources=sources, gates=gates, until=delay, condition=condition)
                gates = (f"{each.id}.delay",)
            steps[each.id] = Placed(stage=each, sources=sources, gates=gates, condition=condition)
        current = tuple(each.id for each in stages if isinstance(each, Stage))
        return self._of(replace(plan, steps=steps, current=current, gates=()))

    def _compiled(self) -> Definition:
        return definition_of(self._plan)

    def diagram(self, run: RunView | None = None) -> str:
        """The workflow as a Mermaid flowchart, for a page, a pull request or anything else that draws them.

        Args:
            run: a run of it, whose progress is drawn in; as ``Play.ended(run).view`` has it.
        """
        if run is None:
            return flowchart(self._plan, f"{self.id}, version {self.version}")
        return flowchart(self._plan, f"{self.id}, run {run.run}: {run.status}", run.stages)


def _workflow(plan: Plan) -> Workflow[Any, *tuple[Any, ...]]:
    made: Workflow[Any, *tuple[Any, ...]] = object.__new__(Workflow)
    made._plan = plan  # noqa: SLF001 - this is its other constructor
    return made

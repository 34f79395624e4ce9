"""A workflow while it is written: its stages in their places, and whether each fits where it was put."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from pydantic import BaseModel

from kernel.core.definition import DATA, RUN_INPUT
from kernel.define.config import require_preset
from kernel.define.model import Hint, members, union
from kernel.define.shape import alternatives, fits, name_of
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from kernel.define.policy import OnCancel, OnFailure
    from kernel.define.signature import Parameter
    from kernel.define.stage import AnyStage

Presets = Mapping[str, Mapping[str, BaseModel | Mapping[str, Any]]]
"""Named configurations: by name of the preset and id of the stage, a model or some of its fields."""


_NO_STEPS = (RUN_INPUT, DATA)
"""What values come from that no step gives."""


class Step(Struct, frozen=True, kw_only=True):
    """A stage, a timer or a wait in its place.

    Attributes:
        sources: where its parameters come from: ids of stages or waits, ``RUN_INPUT``, or a machine's ``DATA``.
        gates: ids of the timers that must have fired before.
    """

    sources: tuple[str, ...]
    gates: tuple[str, ...] = ()

    @property
    def after(self) -> tuple[str, ...]:
        """The stages and timers it waits for, each once."""
        return tuple(dict.fromkeys(id_ for id_ in (*self.sources, *self.gates) if id_ not in _NO_STEPS))


class Placed(Step, frozen=True, kw_only=True):
    """A stage in its place.

    Attributes:
        stage: the stage.
        condition: says from the same values whether it runs; None if it always does.
    """

    stage: AnyStage
    condition: Callable[..., bool] | None = None


class Wait(Step, frozen=True, kw_only=True):
    """A wait for events in its place.

    Attributes:
        events: classes of the events, any one of which will do.
        match: says from the same values and an event whether it is the one.
        timeout: for how long.
        proceeds: with ``None`` once that has passed.
    """

    events: tuple[type[BaseModel], ...]
    match: Callable[..., bool] | None = None
    timeout: timedelta | None = None
    proceeds: bool = False

    @property
    def gives(self) -> Hint:
        """The type of what it gives."""
        return union((*self.events, None) if self.proceeds else self.events)


class Timer(Step, frozen=True, kw_only=True):
    """A timer in its place.

    Attributes:
        until: for how long, until when, or what says so of the same values.
        condition: says from these whether there is anything to wait for; None if there always is.
    """

    until: timedelta | datetime | Callable[..., datetime]
    condition: Callable[..., bool] | None = None


class Outline(Struct, frozen=True, kw_only=True):
    """What plans of workflows and of machines have in common.

    Attributes:
        id, version, input, deadline, chain, presets: as the workflow or machine was given them, the deadline in
            milliseconds.
    """

    id: str
    version: int
    input: type[BaseModel]
    deadline: int | None
    chain: bool
    presets: Presets

    @property
    def placed(self) -> Mapping[str, Placed]:
        """The stages by id."""
        raise NotImplementedError

    def stage(self, id_: str) -> Placed | None:
        """The stage of this id, if there is one."""
        return self.placed.get(id_)

    def require_complete(self) -> None:
        """See to it that presets are for stages and fields that there are.

        Raises:
            DefinitionError: they are not.
        """
        for preset, stages in self.presets.items():
            what = f"workflow {self.id!r}, preset {preset!r}"
            for id_, given in stages.items():
                if (placed := self.stage(id_)) is None:
                    raise DefinitionError(f"{what}: there is no stage {id_!r}; there are: {', '.join(self.placed)}")
                require_preset(given, placed.stage, what)


class Plan(Outline, frozen=True, kw_only=True):
    """What a workflow is made of.

    Attributes:
        on_failure, on_cancel: as ``Workflow`` was given them.
        steps: the stages, timers and waits by id, each after all that it depends on.
        current: the stages whose outputs come next, or are the result.
        gates: the timers that must have fired before what comes next.
    """

    on_failure: OnFailure | None
    on_cancel: OnCancel
    steps: Mapping[str, Placed | Timer | Wait] = {}
    current: tuple[str, ...] = (RUN_INPUT,)
    gates: tuple[str, ...] = ()

    @property
    def placed(self) -> Mapping[str, Placed]:
        """The stages by id."""
        return {id_: step for id_, step in self.steps.items() if isinstance(step, Placed)}

    def stage(self, id_: str) -> Placed | None:
        """The stage of this id, if there is one."""
        step = self.steps.get(id_)
        return step if isinstance(step, Placed) else None

    def gives(self, source: str) -> Hint:
        """The type of what comes from a stage (with ``None`` if it may be skipped), or of the run's input."""
        placed = self.steps.get(source)
        if isinstance(placed, Wait):
            return placed.gives
        if not isinstance(placed, Placed):
            return self.input
        returns = placed.stage.contract.returns
        return union((*members(returns), None)) if placed.condition else returns

    def proceeds(self, source: str) -> bool:
        """Whether what depends on a stage runs when that has failed."""
        placed = self.stage(source)
        return placed is not None and (placed.stage.options.on_failure or self.on_failure) == "proceed"

    def require_fit(self, stage: AnyStage, sources: tuple[str, ...]) -> None:
        """See to it that a stage can take what comes from ``sources``.

        The static types say so too, but not everybody checks them, and they don't know what may be a failure.

        Raises:
            DefinitionError: it cannot; the message says what to change.
        """
        what = f"workflow {self.id!r}, stage {stage.id!r}"
        parameters = stage.require_contract().parameters
        if len(parameters) != len(sources):
            raise DefinitionError(
                f"{what} takes {len(parameters)} inputs, but gets {len(sources)}, "
                f"from {', '.join(map(_called, sources))}: give it a parameter for each, in this order"
            )
        for parameter, source in zip(parameters, sources, strict=True):
            self._require_parameter(f"{what}: parameter {parameter.name!r}", parameter, source)

    def _require_parameter(self, what: str, parameter: Parameter, source: str) -> None:
        wanted = name_of(parameter.annotation)
        for given in alternatives(self.gives(source)):
            if fits(given, parameter.annotation):
                continue
            if given is type(None):
                raise DefinitionError(
                    f"{what} is None when {source} is skipped or gives None: annotate it {wanted} | None"
                )
            raise DefinitionError(f"{what} takes {wanted}, but {_called(source)} gives {name_of(given)}")
        if self.proceeds(source) and not parameter.failable:
            raise DefinitionError(
                f"{what} is a Failed when {source} fails and the run proceeds: annotate it {wanted} | Failed"
            )

    def require_complete(self) -> None:
        """See to it that there is something to run, and that presets are for stages and fields that there are.

        Raises:
            DefinitionError: it is not so.
        """
        if not self.placed:
            raise DefinitionError(f"workflow {self.id!r} has no stages: add one with .then(stage)")
        super().require_complete()


def _called(source: str) -> str:
    return source or "the run's input"

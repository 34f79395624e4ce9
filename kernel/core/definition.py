"""What the kernel knows of a workflow: a program, and a specification per stage. Made by ``kernel.define``.

All durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct

from kernel.core.directives import Directive
from kernel.core.events import AnyEvent, ErrorRecord
from kernel.core.state import StageStatus, State
from kernel.errors import NotUpstream

RUN_INPUT = ""
"""Stands for the run's input where a stage's parameters name the stages that they come from."""

Given = bytes | ErrorRecord
"""A recorded value as JSON text (``null`` for a skipped stage), or why there is none (a failed stage)."""

Values = Callable[[str], Given]
"""Looks up the recorded outcome of a finished stage, or of ``RUN_INPUT``."""

Recall = Callable[[str, int], bytes]
"""Gives the output that a stage (or ``RUN_INPUT``) has in the commit of that number, or raises ``MissingValue``."""


class MissingValue(Exception):
    """A decision needs the output that this stage has in commit ``seq``, and it is not at hand."""

    def __init__(self, stage: str, seq: int) -> None:
        """Say which one."""
        super().__init__(stage, seq)
        self.stage = stage
        self.seq = seq


EVENT = "event:"
"""Prefix of the name under which what an event carries is looked up that no wait has taken so far."""


DATA = "data:"
"""Stands for a machine's data, likewise."""


def recorded(state: State, stage: str) -> Given | int:
    """A finished stage's outcome: itself where the state tells it, else the number of the commit that holds it.

    Raises:
        NotUpstream: the stage has no outcome.
    """
    if stage == RUN_INPUT:
        return 0
    if stage == DATA and state.place is not None:
        return state.place.seq
    if stage.startswith(EVENT):
        return state.events[stage.removeprefix(EVENT)].seq
    found = state.stages.get(stage)
    if found is not None:
        if found.status is StageStatus.COMPLETED:
            return found.seq
        if found.status is StageStatus.SKIPPED:
            return b"null"
        if found.status is StageStatus.FAILED and found.error is not None:
            return found.error
    message = f"stage {stage!r} has no output: it is {found.status.value if found else 'not started'}"
    raise NotUpstream(message)


class Strategy(StrEnum):
    """What happens when a stage has failed for good."""

    STOP = "stop"
    """What depends on it never runs, the others are let finish, the run fails."""
    PROCEED = "proceed"
    """What depends on it runs and sees the failure."""
    COMPENSATE = "compensate"
    """As stop, and completed stages are undone before the run fails."""


class RetryPolicy(Struct, frozen=True):
    """How often and when a stage is tried again.

    Attributes:
        attempts: how often it may be started in all, 1 or more.
        first: the delay after the first failure.
        factor: by what each further delay is multiplied; 1 is constant.
        cap: the longest delay.
        jitter: the fraction of the delay, 0 to 1, that is taken away at random.
    """

    attempts: int = 3
    first: int = 1_000
    factor: float = 2.0
    cap: int = 300_000
    jitter: float = 0.2

    def delay(self, failed: int, roll: float) -> int:
        """The delay after the ``failed``-th failure (from 1), for a random ``roll`` in [0, 1)."""
        try:
            full = min(float(self.cap), self.first * self.factor ** (failed - 1))
        except OverflowError:
            full = float(self.cap)
        return int(full * (1.0 - self.jitter * roll))


class PollPolicy(Struct, frozen=True):
    """How a suspended stage is checked.

    Attributes:
        every: the interval between checks.
        limit: how long it may stay suspended.
        errors: how many checks in a row may throw before the stage fails.
    """

    every: int
    limit: int
    errors: int = 10


class CallbackPolicy(Struct, frozen=True):
    """How long a stage that is answered by a callback waits.

    Attributes:
        limit: how long the answer may take.
        heartbeat: how long whoever is to answer may be silent; absent for as long as the limit allows.
    """

    limit: int
    heartbeat: int | None = None


class StageSpec(Struct, frozen=True):
    """What the kernel needs to know of a stage, and nothing of its code.

    Attributes:
        id: unique in the workflow; ``compensate:<id>`` for a compensation.
        timeout: how long its body may run; the lease of an attempt is this plus the lease grace.
        retry: how often and when it is tried again.
        on_failure: what happens when it has failed for good.
        at_most_once: it fails instead of being started a second time.
        poll: how it is checked when it suspends itself.
        compensated: it has a compensation.
        callback: how long it waits for a third party's answer.
    """

    id: str
    timeout: int = 60_000
    retry: RetryPolicy = RetryPolicy()
    on_failure: Strategy = Strategy.STOP
    at_most_once: bool = False
    poll: PollPolicy | None = None
    compensated: bool = False
    callback: CallbackPolicy | None = None


class Later(Exception):
    """Whether an external event counts shows only once the run is further on: it is to be applied then."""


QUOTA = "TransitionQuota"
"""Kind of the error with which a run fails that was about to take more transitions than it may."""


class Available(Struct, frozen=True, omit_defaults=True):
    """An external event that a run can take as it stands.

    Attributes:
        event: its name.
        roles: of whom it is taken: one of these roles is enough; of everybody if there are none.
        to: the states that it may lead to; of a machine.
    """

    event: str
    roles: tuple[str, ...] = ()
    to: tuple[str, ...] = ()


class Program(Protocol):
    """What decides what comes next. The kernel turns its directives into events and knows nothing else of it."""

    def react(self, state: State, event: AnyEvent, values: Values) -> Sequence[Directive]:
        """What follows from ``event``, which is folded into ``state`` already.

        Raises:
            MissingValue: the answer depends on an output that is not at hand.
        """
        ...

    def settle(self, state: State, values: Values) -> Sequence[Directive]:
        """What follows once nothing more does by itself: complete, fail, compensate, or begin what was left out.

        Asked when no stage is active, of a machine always.

        Raises:
            MissingValue: as ``react``.
        """
        ...

    def require_event(self, state: State, event: str, roles: Collection[str]) -> None:
        """See to it that an external event of this name may come, from somebody with these roles, as the run stands.

        Raises:
            Conflict: it may not; the message says what may.
            Forbidden: it may, but not from them.
            Later: it may soon; until then nobody can tell.
        """
        ...

    def available(self, state: State) -> Sequence[Available]:
        """The external events that the run can take as it stands."""
        ...

    def require_rerun(self, state: State, stage: str) -> None:
        """See to it that the finished run can go on from this stage.

        Raises:
            Conflict: it cannot.
        """
        ...

    def undo(self, state: State) -> tuple[str, ...]:
        """The completed stages that have a compensation, in the order in which they are to be undone."""
        ...

    def closure(self, stages: Sequence[str]) -> Sequence[str]:
        """The stages themselves and everything that depends on them."""
        ...

    def needs(self, stage: str) -> Sequence[str]:
        """The ids of the stages that ``stage`` directly depends on."""
        ...

    def outcome(self) -> Sequence[str]:
        """The ids of the stages whose outputs are the run's result, in order."""
        ...


class Definition(Struct, frozen=True):
    """A workflow as the kernel sees it.

    Attributes:
        id: the workflow's name.
        version: its version, from 1.
        fingerprint: digest of its structure and models, never of its bodies.
        program: what decides what comes next.
        stages: every stage by id, compensations among them.
        code: what runs each of them; only ``kernel.shell.execute`` looks inside.
        events: what reads each external event that the workflow waits for, by name; only ``kernel.shell.receive`` looks
            inside.
        waits: what reads the event that each wait got, by its id, and a machine's data; only tests look inside.
        deadline: how long a run may take in all; the deployment's default when absent.
        chain: whether a worker goes on to the next stage in the same commit and invocation.
        undo_on_cancel: whether a cancelled run is undone.
        selective: an external event is taken at once, as the run stands, or refused; else it is kept for later.
    """

    id: str
    version: int
    fingerprint: str
    program: Program
    stages: Mapping[str, StageSpec]
    code: Mapping[str, Any]
    events: Mapping[str, Any] = {}
    waits: Mapping[str, Any] = {}
    deadline: int | None = None
    chain: bool = True
    undo_on_cancel: bool = False
    selective: bool = False

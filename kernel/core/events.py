"""The events of a run's log: facts, written once, folded by ``evolve``. Nothing else is true about a run.

Times are milliseconds since the epoch (UTC). An event's place is ``(commit number, index in the commit)``.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Raw, Struct, UnsetType

COMPENSATE = "compensate:"
"""Prefix of the stage id under which a compensation runs: ``compensate:charge`` undoes ``charge``."""


class Value(Struct, frozen=True, omit_defaults=True):
    """A JSON value, or where it is kept: in the event, in a data item of the run, or in the blob store.

    Attributes:
        json: the value itself when it is small.
        data: sort key of the data item that holds it.
        blob: key of the object that holds it.
        size: length of the JSON text in bytes when it is kept elsewhere.
        sha256: hexadecimal digest of the JSON text when it is kept elsewhere.
    """

    json: Raw | UnsetType = UNSET
    data: str = ""
    blob: str = ""
    size: int = 0
    sha256: str = ""


class ErrorRecord(Struct, frozen=True, omit_defaults=True):
    """What went wrong, kept in the log.

    Attributes:
        category: one of ``user`` (raised by user code), ``timeout``, ``lease``, ``input``, ``output``, ``limit``,
            ``condition``, ``infrastructure``, ``deadline``, ``cancelled``, ``callback`` (said by who was to answer).
        kind: the exception's class name, or what a callback calls it.
        message: its text, bounded.
        stage: the stage it happened in, if any.
        attempt: the number of the attempt, from 1.
        traceback: the last lines of the traceback, bounded.
    """

    category: str
    kind: str
    message: str
    stage: str = ""
    attempt: int = 0
    traceback: str = ""


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", tag=lambda name: name):
    """Base of all events."""


class RunCreated(Event, frozen=True, omit_defaults=True):
    """Commit 0, carried by the head. Identity, version and deadline are attributes of the head itself.

    Attributes:
        input: the validated input of the run.
        config: validated configuration by stage id, only of the stages it was given for.
        undo_on_cancel: the workflow promises that what was done is undone if the run is cancelled.
    """

    input: Value
    config: Value | None = None
    undo_on_cancel: bool = False


class RunCompleted(Event, frozen=True):
    """Everything that had to run has run."""


class RunFailed(Event, frozen=True, omit_defaults=True):
    """The run ended without completing.

    Attributes:
        error: the error that decided it.
        compensation: ``""`` (none was due), ``complete`` or ``incomplete``.
    """

    error: ErrorRecord
    compensation: str = ""


class RunCancelled(Event, frozen=True, omit_defaults=True):
    """Somebody cancelled the run. Stages that were running are stale from here on."""

    reason: str = ""
    compensation: str = ""


class CompensationStarted(Event, frozen=True, omit_defaults=True):
    """The run is being undone: these stages, in this order, each by its compensation.

    Attributes:
        stages: completed stages in reverse order of completion.
        error: why, when a stage failed.
        cancelled: why, when the run was cancelled.
    """

    stages: tuple[str, ...]
    error: ErrorRecord | None = None
    cancelled: str | None = None


class RunReopened(Event, frozen=True, omit_defaults=True):
    """A finished run goes on in a new generation: ``reset`` stages are forgotten and run again.

    Attributes:
        reset: ids of the stages that lose their recorded outcome.
        deadline: the new deadline of the run.
        reason: why, in the words of who asked.
    """

    reset: tuple[str, ...]
    deadline: int
    reason: str = ""


class RunPaused(Event, frozen=True, omit_defaults=True):
    """Nothing of the run starts until it is resumed. Attempts that run may still end.

    Attributes:
        reason: why, in the words of who asked.
        until: when it is resumed by itself; never, if absent.
    """

    reason: str = ""
    until: int | None = None


class RunResumed(Event, frozen=True, omit_defaults=True):
    """The run goes on where it was paused."""

    reason: str = ""


class StageScheduled(Event, frozen=True):
    """A stage became ready and waits for a worker."""

    stage: str


class StageSkipped(Event, frozen=True):
    """The stage's condition said no; what depends on it sees ``None``."""

    stage: str


class StageStarted(Event, frozen=True):
    """An attempt owns the stage until ``lease``. With this commit's number it is the attempt's fencing token.

    Attributes:
        callback: SHA-256 of the secret in the attempt's callback token, if the stage can be answered by one.
    """

    stage: str
    attempt: int
    lease: int
    callback: str = ""


class StageCompleted(Event, frozen=True):
    """The attempt's result, recorded once.

    Attributes:
        answer: SHA-256 of what a third party said, if the result comes by a callback.
    """

    stage: str
    attempt: int
    output: Value
    answer: str = ""


class StageFailed(Event, frozen=True, omit_defaults=True):
    """The attempt failed: tried again at ``retry_at``, or failed for good when that is absent.

    Attributes:
        answer: as in ``StageCompleted``.
    """

    stage: str
    attempt: int
    error: ErrorRecord
    retry_at: int | None = None
    answer: str = ""


class StageSuspended(Event, frozen=True):
    """The attempt handed over to its check, or waits for its callback.

    Attributes:
        state: what the check is given; absent for a callback.
        check_at: when to check first; when a callback's first sign of life, or else its answer, must have come.
        give_up_at: when the wait has lasted too long.
    """

    stage: str
    attempt: int
    state: Value | None
    check_at: int
    give_up_at: int


class StageChecked(Event, frozen=True, omit_defaults=True):
    """A check, or the heartbeat of a callback, said "not yet"; or a check threw.

    Attributes:
        check_at: when to check again; when the next heartbeat, or else the answer, must have come.
        progress: the fraction that was reported.
        error: what it threw; counted against the check's own budget, which a quiet check resets.
    """

    stage: str
    check_at: int
    progress: float | None = None
    error: ErrorRecord | None = None


class TimerSet(Event, frozen=True):
    """The run waits until ``at`` before it goes on with what comes after this timer."""

    timer: str
    at: int


class TimerFired(Event, frozen=True):
    """The time has come of a timer, or of a wait's time-out."""

    timer: str


class WaitStarted(Event, frozen=True, omit_defaults=True):
    """The run waits for one of these external events, by name; at ``until`` it waits no longer, if it is given."""

    wait: str
    events: tuple[str, ...]
    until: int | None = None


class EventReceived(Event, frozen=True, omit_defaults=True):
    """An external event, applied once: its id, its name, and what it carries.

    Attributes:
        by: who sent it, where that decides whether it counts.
        roles: what they are allowed to act as.
    """

    event: str
    name: str
    payload: Value
    by: str = ""
    roles: tuple[str, ...] = ()


class WaitMatched(Event, frozen=True):
    """A wait got its event, which is nobody else's any more: what it carries is what the wait gives."""

    wait: str
    event: str


class StateEntered(Event, frozen=True, omit_defaults=True):
    """A machine is in this state now. What was under way in the one before is stale; its timers never fire.

    Attributes:
        state: the state's id.
        transition: what led there; empty for the first state.
        event: id of the external event that was taken for it, if one was.
        data: the machine's data from here on; as before if absent.
    """

    state: str
    transition: str = ""
    event: str = ""
    data: Value | None = None


class TransitionStarted(Event, frozen=True, omit_defaults=True):
    """A machine has left its state; it enters the next one once the work of this transition is done.

    Attributes:
        transition, event, data: as in ``StateEntered``.
    """

    transition: str
    event: str = ""
    data: Value | None = None


class TransitionTaken(Event, frozen=True, omit_defaults=True):
    """A machine stays in its state, and what is under way there goes on: an internal transition.

    Attributes:
        transition, event, data: as in ``StateEntered``.
    """

    transition: str
    event: str = ""
    data: Value | None = None


class LeaseExpired(Event, frozen=True):
    """The attempt did not commit within its lease: it is stale, and counts as an attempt."""

    stage: str
    attempt: int


class Slept(Event, frozen=True):
    """Nothing is ready or running, and nobody needs to look before ``until``."""

    until: int


class Closed(Event, frozen=True):
    """The run stays finished. Somebody had announced a further commit that never came; this one takes its number."""


AnyEvent = (
    RunCreated
    | RunCompleted
    | RunFailed
    | RunCancelled
    | CompensationStarted
    | RunReopened
    | RunPaused
    | RunResumed
    | StageScheduled
    | StageSkipped
    | StageStarted
    | StageCompleted
    | StageFailed
    | StageSuspended
    | StageChecked
    | TimerSet
    | TimerFired
    | WaitStarted
    | EventReceived
    | WaitMatched
    | StateEntered
    | TransitionStarted
    | TransitionTaken
    | LeaseExpired
    | Slept
    | Closed
)
"""The closed union of events, in the order of this file."""

RUN_LEVEL: tuple[type[Any], ...] = (
    RunCreated,
    RunCompleted,
    RunFailed,
    RunCancelled,
    RunReopened,
    RunPaused,
    RunResumed,
)
"""The events that are published by default: what happened to the run as a whole."""

"""What is measured, under the names that every exporter uses, and the port that takes it.

Labels are few and bounded: a workflow's id, a kind; never a tenant, a run or a stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol


class Count(StrEnum):
    """How often something happened. Labels in brackets."""

    RUNS_STARTED = "runs_started"
    """Runs that were created [workflow]."""
    RUNS_ENDED = "runs_ended"
    """Runs that are over [workflow, status: completed, failed, cancelled]."""
    STAGES_STARTED = "stages_started"
    """Attempts that were claimed [workflow]."""
    STAGES_COMPLETED = "stages_completed"
    """Stages that have a result [workflow]."""
    STAGES_RETRIED = "stages_retried"
    """Attempts that failed and are tried again [workflow]."""
    STAGES_FAILED = "stages_failed"
    """Stages that failed for good [workflow]."""
    LEASES_EXPIRED = "leases_expired"
    """Attempts whose lease ran out, or that were handed back [workflow]."""
    CONFLICTS = "conflicts"
    """Commits whose number was taken by somebody else, and that were decided again."""
    POKES_ATTENDED = "pokes_attended"
    """Messages whose run was looked at [outcome]."""
    POKES_FAILED = "pokes_failed"
    """Messages given back, because their run could not be read or written, or because they are none of ours."""
    EVENTS_PUBLISHED = "events_published"
    """Events that the sink took."""
    EVENTS_DEAD = "events_dead"
    """Events that became dead letters."""
    TICK = "tick"
    """What ticks did, by kind [kind: looked, claimed, reaped, ...]."""


class Duration(StrEnum):
    """How long something took, in seconds. Labels in brackets."""

    STAGE = "stage_seconds"
    """From an attempt's claim to its result, of those that waited neither for a check nor for a callback [workflow]."""
    RUN = "run_seconds"
    """From a run's creation to its end, every end of one that is reopened [workflow]."""
    ATTEND = "attend_seconds"
    """A look at a run, from the message to leaving it."""
    TICK = "tick_seconds"
    """A tick."""
    OUTBOX_AGE = "outbox_age_seconds"
    """The age of an event when the sink takes it."""


class Gauge(StrEnum):
    """How much of something there is now."""

    OLDEST_DUE = "oldest_due_seconds"
    """For how long the run has been due that has waited longest for a tick; 0 if none is due."""
    OLDEST_MESSAGE = "oldest_message_seconds"
    """For how long the message has waited that has waited longest; 0 if none waits."""
    MESSAGES_WAITING = "messages_waiting"
    """Messages that can be received now."""
    MESSAGES_IN_HAND = "messages_in_hand"
    """Messages delivered and not acknowledged."""
    MESSAGES_DELAYED = "messages_delayed"
    """Messages that are not to be received yet."""
    MESSAGES_DEAD = "messages_dead"
    """Dead letters of the transport."""
    IN_FLIGHT = "in_flight"
    """Runs that this process is attending."""
    SLOTS = "slots"
    """Runs that this process may attend at a time."""
    LEADER = "leader"
    """1 if this process runs the tick."""
    WATCH_FAILED = "watch_failed"
    """How many of the table and the transport could not be asked for these; what they would have told is then NaN."""


OF_PROCESS: Final = (Gauge.IN_FLIGHT, Gauge.SLOTS, Gauge.LEADER)
"""The gauges that each process has for itself, so that several are added up. The others are the deployment's."""

LABELS: Final[Mapping[Count | Duration, tuple[str, ...]]] = {
    Count.RUNS_STARTED: ("workflow",),
    Count.RUNS_ENDED: ("workflow", "status"),
    Count.STAGES_STARTED: ("workflow",),
    Count.STAGES_COMPLETED: ("workflow",),
    Count.STAGES_RETRIED: ("workflow",),
    Count.STAGES_FAILED: ("workflow",),
    Count.LEASES_EXPIRED: ("workflow",),
    Count.CONFLICTS: (),
    Count.POKES_ATTENDED: ("outcome",),
    Count.POKES_FAILED: (),
    Count.EVENTS_PUBLISHED: (),
    Count.EVENTS_DEAD: (),
    Count.TICK: ("kind",),
    Duration.STAGE: ("workflow",),
    Duration.RUN: ("workflow",),
    Duration.ATTEND: (),
    Duration.TICK: (),
    Duration.OUTBOX_AGE: (),
}
"""The labels that each measurement comes with, all of them every time."""


class Metrics(Protocol):
    """Takes measurements. Never fails, never blocks; may be shared by threads."""

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        """It happened so many times more."""
        ...

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        """It took so long."""
        ...

    def flush(self) -> None:
        """Hand over what was measured, where nobody comes to ask for it: at the end of an invocation."""
        ...


class NoMetrics:
    """Measures nothing."""

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        """Nothing."""

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""


NO_METRICS = NoMetrics()

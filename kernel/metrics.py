"""What is measured, under the names that every exporter uses, and the port that takes it.

Labels are few and bounded: a workflow's id, a kind; never a tenant, a run or a stage.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


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
    """From a stage's claim to its result, of completed ones [workflow]."""
    RUN = "run_seconds"
    """From a run's creation to its end [workflow]."""
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


class Metrics(Protocol):
    """Takes measurements. Never fails, never blocks; may be shared by threads."""

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        """It happened so many times more."""
        ...

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        """It took so long."""
        ...


class NoMetrics:
    """Measures nothing."""

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        """Nothing."""

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        """Nothing."""


NO_METRICS = NoMetrics()

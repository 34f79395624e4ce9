"""What a program may ask for. The kernel turns each into events."""

from __future__ import annotations

from msgspec import Struct

from kernel.core.events import ErrorRecord


class Schedule(Struct, frozen=True):
    """This stage is ready."""

    stage: str


class Wait(Struct, frozen=True):
    """This timer is set: it fires at ``at``, in milliseconds."""

    timer: str
    at: int


class Skip(Struct, frozen=True):
    """This stage does not run; what depends on it sees ``None``."""

    stage: str


class Reject(Struct, frozen=True):
    """This stage fails for good before it was started, or this timer before it was set."""

    stage: str
    error: ErrorRecord


class Complete(Struct, frozen=True):
    """The run has done what it had to do."""


class Fail(Struct, frozen=True):
    """The run fails with this error."""

    error: ErrorRecord


class Compensate(Struct, frozen=True):
    """The run fails with this error once these stages are undone, in this order."""

    stages: tuple[str, ...]
    error: ErrorRecord


Directive = Schedule | Wait | Skip | Reject | Complete | Fail | Compensate

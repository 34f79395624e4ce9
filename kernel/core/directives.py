"""What a program may ask for. The kernel turns each into events."""

from __future__ import annotations

from msgspec import Struct

from kernel.core.events import ErrorRecord


class Schedule(Struct, frozen=True):
    """This stage is ready."""

    stage: str


class SetTimer(Struct, frozen=True):
    """This timer is set: it fires at ``at``, in milliseconds."""

    timer: str
    at: int


class Listen(Struct, frozen=True):
    """This wait begins: for events of these names, until a time in milliseconds if one is given."""

    wait: str
    events: tuple[str, ...]
    until: int | None


class Take(Struct, frozen=True):
    """This wait gets this event."""

    wait: str
    event: str


class Enter(Struct, frozen=True):
    """A machine enters this state: by a transition, with an external event and new data, as far as there are any."""

    state: str
    transition: str = ""
    event: str = ""
    data: bytes | None = None


class Depart(Struct, frozen=True):
    """A machine leaves its state, and does the work of this transition before it enters the next one."""

    transition: str
    event: str = ""
    data: bytes | None = None


class Stay(Struct, frozen=True):
    """A machine takes this transition within its state."""

    transition: str
    event: str = ""
    data: bytes | None = None


class Skip(Struct, frozen=True):
    """This stage does not run; what depends on it sees ``None``."""

    stage: str


class Reject(Struct, frozen=True):
    """This stage fails for good before it was started, or this timer or wait before its time."""

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


Directive = Schedule | SetTimer | Listen | Take | Enter | Depart | Stay | Skip | Reject | Complete | Fail | Compensate

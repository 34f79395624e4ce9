"""What can be asked of a run: a closed union of commands, each decided by one function of ``decide``.

``seq`` is an attempt's fencing token, the number of its Started commit. Times and durations are milliseconds. ``roll``
is a random number in [0, 1), drawn by the caller.
"""

from __future__ import annotations

from msgspec import Struct

from kernel.core.events import ErrorRecord, Value


class Chain(Struct, frozen=True):
    """Lets a commit start the next stage right away, in the invocation that makes the commit.

    Attributes:
        room: the longest timeout that a stage may have to be started here; negative for none.
        grace: added to a stage's timeout to make its lease.
        callback: SHA-256 of the secret of the attempt's callback token, for a stage that can be answered by one.
    """

    room: int
    grace: int
    callback: str = ""


class Begin(Struct, frozen=True):
    """Start the program of a run that has only been created."""

    chain: Chain


class Claim(Struct, frozen=True):
    """Start an attempt of a stage that is scheduled, or whose retry is due, as of commit ``seq``.

    ``callback`` is as in ``Chain``.
    """

    stage: str
    seq: int
    grace: int
    callback: str = ""


class Complete(Struct, frozen=True):
    """The attempt's body returned."""

    stage: str
    seq: int
    output: Value
    chain: Chain


class Fail(Struct, frozen=True):
    """The attempt's body threw, was interrupted, or returned something invalid."""

    stage: str
    seq: int
    error: ErrorRecord
    retryable: bool
    roll: float
    chain: Chain


class Suspend(Struct, frozen=True):
    """The attempt's body handed over to its check, with a state; or, without one, to whoever has its callback token."""

    stage: str
    seq: int
    state: Value | None


class Ready(Struct, frozen=True):
    """A check found what the suspended stage waited for. ``check_at`` is the time it was planned for."""

    stage: str
    seq: int
    check_at: int
    output: Value
    chain: Chain


class NotReady(Struct, frozen=True):
    """A check said "not yet", or threw ``error``; ``hopeless`` if that says that it never will be ready."""

    stage: str
    seq: int
    check_at: int
    progress: float | None
    error: ErrorRecord | None
    chain: Chain
    hopeless: bool = False


class Receive(Struct, frozen=True):
    """An external event has come."""

    event: str
    name: str
    payload: Value
    chain: Chain
    by: str = ""
    roles: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """Whoever has the attempt's callback token completes the stage. ``answer`` is the SHA-256 of what they said."""

    stage: str
    seq: int
    output: Value
    answer: str


class Decline(Struct, frozen=True):
    """Whoever was given the attempt's callback token fails it. ``answer`` is as in ``Answer``."""

    stage: str
    seq: int
    error: ErrorRecord
    retryable: bool
    roll: float
    answer: str


class Beat(Struct, frozen=True):
    """Whoever was given the attempt's callback token is still at work."""

    stage: str
    seq: int
    progress: float | None


class Unanswered(Struct, frozen=True):
    """The time ``at`` has passed by which a callback's heartbeat or answer should have come."""

    stage: str
    seq: int
    at: int
    roll: float
    chain: Chain


class Fire(Struct, frozen=True):
    """The time has come of a timer, or of the time-out of a wait, that commit ``seq`` has set."""

    timer: str
    seq: int
    chain: Chain


class Reap(Struct, frozen=True):
    """The attempt's lease ran out."""

    stage: str
    seq: int


class Settle(Struct, frozen=True):
    """Decide whether a stage is tried again whose attempt's lease ran out."""

    stage: str
    seq: int
    roll: float
    chain: Chain


class Expire(Struct, frozen=True):
    """The run is past this deadline."""

    deadline: int


class Cancel(Struct, frozen=True):
    """Somebody wants the run stopped."""

    reason: str


class Reopen(Struct, frozen=True):
    """A finished run shall go on: from ``stage``, or (a failed one) where it failed."""

    stage: str
    deadline: int
    reason: str


class Pause(Struct, frozen=True):
    """Nothing of the run shall start for now; until a time, if one is given."""

    reason: str
    until: int | None


class Resume(Struct, frozen=True):
    """Somebody wants a paused run to go on."""

    reason: str


class EndPause(Struct, frozen=True):
    """The pause that lasts ``until`` then is over."""

    until: int


class Sleep(Struct, frozen=True):
    """Nobody needs to look at the run before ``until``, if workers' clocks are at most ``skew`` apart."""

    until: int
    skew: int = 0


class Close(Struct, frozen=True):
    """Somebody announced a commit on a finished run, and died: see to it that it never comes."""


Command = (
    Begin
    | Claim
    | Complete
    | Fail
    | Suspend
    | Ready
    | NotReady
    | Receive
    | Answer
    | Decline
    | Beat
    | Unanswered
    | Fire
    | Reap
    | Settle
    | Expire
    | Cancel
    | Reopen
    | Pause
    | Resume
    | EndPause
    | Sleep
    | Close
)

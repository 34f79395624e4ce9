"""What strikes at which port call: one blow, or two, by the number of the call."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from msgspec import Struct

from kernel.errors import ProcessEnds
from kernel.ports import Clock, RunRef
from kernel.testing.faults import Call, Fault


class Violation(ProcessEnds):
    """Something is broken. Passes through everything, where an ``AssertionError`` would be taken for a stage's."""


@contextmanager
def watching() -> Iterator[None]:
    """What is asserted in the block may be asserted in the middle of an invocation."""
    try:
        yield
    except AssertionError as error:
        raise Violation(str(error)) from error


class Kind(StrEnum):
    """What can strike a call."""

    CRASH_BEFORE = Fault.CRASH_BEFORE.value
    CRASH_AFTER = Fault.CRASH_AFTER.value
    LOST_REPLY = Fault.LOST_REPLY.value
    UNAVAILABLE = Fault.UNAVAILABLE.value
    OUTAGE = "outage"
    """Nothing can be reached by anybody, from this call on, for ``OUTAGE`` milliseconds."""


OUTAGE = 10_000
"""Longer than a call is insisted on, shorter than a worker has for a commit."""

CRASHES = (Kind.CRASH_BEFORE, Kind.CRASH_AFTER)
HARMLESS = (Kind.LOST_REPLY, Kind.UNAVAILABLE)
"""Blows of which no process dies, and that a repeated call gets over."""
READS = ("get", "range", "due", "runs")
DISTINCT = (Kind.CRASH_BEFORE, Kind.UNAVAILABLE, Kind.OUTAGE)
"""Kinds of blow for calls that only read. That such a call was made makes no difference to anybody but its caller, who
is dead after a crash, and without the answer after a lost reply."""
DURING_OUTAGE = (Kind.CRASH_BEFORE, Kind.OUTAGE)
"""Kinds of blow for calls that are not made anyway: the process dies, or the outage lasts longer."""


class Blow(Struct, frozen=True):
    """A kind of fault, and the number of the call that it strikes."""

    number: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.number}:{self.kind.value}"

    @classmethod
    def parse(cls, text: str) -> Blow:
        """Read what ``str`` writes."""
        number, _, kind = text.partition(":")
        if not number.isdecimal() or kind not in set(Kind):
            raise ArgumentTypeError(f"{text!r} is no call's number, a colon, and a kind, such as 3:crash-after")
        return cls(int(number), Kind(kind))


class Line(Struct, frozen=True):
    """A call as it stands in a trace: when, in which process, what, what struck it, and whether in an outage."""

    at: int
    process: str
    call: Call
    fault: Fault | None
    out: bool

    @property
    def name(self) -> str:
        """``store.put``, ..."""
        return f"{self.call.port}.{self.call.method}"

    @property
    def effect(self) -> bool:
        """Whether the call changes anything."""
        return self.call.method not in READS


class Fate:
    """Decides what becomes of each call.

    Attributes:
        trace: every call so far.
        doom: faults that belong to the scenario itself.
        process: name of the process that runs, for the trace.
        dying: a process was told to die, and has not yet.
        reached: runs of which a store call came through, since it was last cleared.
        missed: runs of which one did not.
    """

    def __init__(self, clock: Clock, blows: tuple[Blow, ...]) -> None:
        self._clock = clock
        self._blows = {blow.number: blow.kind for blow in blows}
        self._restored = 0
        self.trace: list[Line] = []
        self.doom: Callable[[Call], Fault | None] = lambda _call: None
        self.process = ""
        self.dying = False
        self.reached: set[RunRef] = set()
        self.missed: set[RunRef] = set()

    def choose(self, call: Call) -> Fault | None:
        """What strikes this call."""
        now = self._clock.now()
        out = now < self._restored
        kind = self._blows.get(call.number)
        if kind is Kind.OUTAGE:
            self._restored = now + OUTAGE
        fault: Fault | None
        if out or kind is Kind.OUTAGE:
            fault = Fault.CRASH_BEFORE if kind in CRASHES else Fault.UNAVAILABLE
        else:
            fault = self.doom(call) if kind is None else Fault(kind.value)
        self.trace.append(Line(now, self.process, call, fault, out))
        self.dying = self.dying or fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)
        if call.port == "store":
            (self.missed if fault is Fault.UNAVAILABLE else self.reached).update(_touched(call))
        return fault


def _touched(call: Call) -> list[RunRef]:
    """The runs that a call of the store is about."""
    match call.arguments[0]:
        case RunRef() as ref:
            return [ref]
        case list() as puts:
            return [ref for ref, *_ in puts]
        case _:
            return []

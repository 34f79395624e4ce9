"""The fault injector: numbers every call that crosses a port; makes chosen ones crash, fail or lose their reply."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from kernel.errors import ProcessEnds, Unavailable
from kernel.shell.environment import Environment


class Crash(ProcessEnds):
    """The process died here. Nothing catches it but the test that asked for it."""


class Fault(StrEnum):
    """What can happen to a call."""

    CRASH_BEFORE = "crash-before"
    """The process dies, and the call was never made."""
    CRASH_AFTER = "crash-after"
    """The call took effect, and the process dies."""
    LOST_REPLY = "lost-reply"
    """The call took effect, and the caller is told that the store is unavailable."""
    UNAVAILABLE = "unavailable"
    """The call is not made, and the caller is told so."""


class Call(Struct, frozen=True):
    """A call that crossed a port.

    Attributes:
        number: counted from 0 over all ports.
        port, method: which.
        arguments: what was passed.
    """

    number: int
    port: str
    method: str
    arguments: tuple[Any, ...]


def _known(fault: object) -> Fault:
    """A fault, even where nobody checks types: one that is none would strike nothing, and the test would pass."""
    if not isinstance(fault, Fault):
        known = ", ".join(f"Fault.{each.name}" for each in Fault)
        raise ValueError(f"{fault!r} is not a fault; there are {known}")  # noqa: TRY004 - a wrong one among a few
    return fault


Choose = Callable[[Call], Fault | None]
P = TypeVar("P")


class Faults:
    """Counts calls, and injects what ``choose`` says.

    Attributes:
        calls: every call so far.
        choose: decides the fate of a call; may be replaced at any time.
        waiting: faults that were set with ``at`` and have not struck so far, by the number of the call.
    """

    def __init__(self, choose: Choose = lambda _call: None) -> None:
        """No faults, unless told otherwise."""
        self.choose = choose
        self.calls: list[Call] = []
        self.waiting: dict[int, Fault] = {}

    def over(self, env: Environment) -> Environment:
        """The environment with every port that reaches outside wrapped."""
        return replace(
            env,
            store=self.wrap("store", env.store),
            queue=self.wrap("queue", env.queue),
            blobs=self.wrap("blobs", env.blobs),
            sink=self.wrap("sink", env.sink),
        )

    def wrap(self, name: str, port: P) -> P:
        """One port, wrapped."""
        return _Wrapped(self, name, port)  # type: ignore[return-value]  # stands in for any port by forwarding to it

    def at(self, number: int, fault: Fault) -> None:
        """Inject one fault, at the call with this number, besides those that were set before.

        Whether the call is ever made cannot be known here: see ``waiting`` for what has not struck.

        Args:
            number: of a call that is still to come; the next one's is ``len(calls)``.
            fault: what happens to it.

        Raises:
            ValueError: the call was made already, or can never be made, or there is no such fault.
        """
        if number < 0:
            raise ValueError(f"calls are counted from 0, so none has the number {number}")
        if number < len(self.calls):
            raise ValueError(f"call {number} has passed already: the next one is call {len(self.calls)}")
        self.waiting[number] = _known(fault)

    def make(
        self,
        port: str,
        method: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        **named: Any,  # noqa: ANN401 - whatever the port's method takes
    ) -> Any:  # noqa: ANN401 - whatever it answers
        """Make a call, with what fate has in store for it."""
        call = Call(len(self.calls), port, method, arguments)
        self.calls.append(call)
        where = f"{port}.{method}, call {call.number}"
        fault = self.waiting.pop(call.number, None) or self.choose(call)
        if fault is not None:
            fault = _known(fault)
        if fault is Fault.CRASH_BEFORE:
            raise Crash(where)
        if fault is Fault.UNAVAILABLE:
            raise Unavailable(where)
        answer = function(*arguments, **named)
        if fault is Fault.CRASH_AFTER:
            raise Crash(where)
        if fault is Fault.LOST_REPLY:
            raise Unavailable(where)
        return answer


class _Wrapped:
    """Forwards every method of a port through the injector."""

    def __init__(self, faults: Faults, name: str, port: object) -> None:
        self._faults = faults
        self._name = name
        self._port = port

    def __getattr__(self, method: str) -> Callable[..., Any]:
        function = getattr(self._port, method)

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - forwards any port's calls
            return self._faults.make(self._name, method, function, arguments, **named)

        return call

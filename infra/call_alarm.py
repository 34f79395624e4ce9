"""Time limits of stages that run in threads: met at the stage's next call of the engine.

Python can throw an error into a thread, but at any instruction: between taking a lock and remembering to give it back,
too. What threads share, such as a logger or a client's pool, could stay locked for ever. So nothing is thrown here.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from kernel.errors import StageTimedOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from kernel.ports import Limit

P = TypeVar("P")


class _Limit:
    """One running time limit: a context manager made by ``CallAlarm.limit``."""

    __slots__ = ("_alarm", "_seconds", "deadline")

    def __init__(self, alarm: CallAlarm, seconds: float) -> None:
        self._alarm = alarm
        self._seconds = seconds
        self.deadline = 0.0

    def extend(self, seconds: float) -> None:
        """Count the time from now, whichever thread asks."""
        self._seconds = seconds
        self.deadline = time.monotonic() + seconds

    def check(self) -> None:
        """See to it that it is not over.

        Raises:
            StageTimedOut: it is.
        """
        if time.monotonic() >= self.deadline:
            raise StageTimedOut(f"ran longer than {self._seconds:g} s")

    def __enter__(self) -> Self:
        self.extend(self._seconds)
        self._alarm.running().append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alarm.running().remove(self)
        if error is None:
            self.check()


class CallAlarm:
    """Implements ``kernel.ports.Alarm`` for any number of threads.

    A block that has run too long is told so when it next calls a port that was made by ``watch``, or at its end. One
    that does neither is found by its lease, as any other that does not end. Limits may be nested.
    """

    def __init__(self) -> None:
        self._running: dict[int, list[_Limit]] = {}  # by thread: each touches its own only

    def running(self) -> list[_Limit]:
        """This thread's limits, the innermost last."""
        return self._running.setdefault(threading.get_ident(), [])

    def overdue(self, grace: float) -> int:
        """How many threads are in a block whose time was over so many seconds ago."""
        late = time.monotonic() - grace
        return sum(any(limit.deadline < late for limit in list(running)) for running in list(self._running.values()))

    def limit(self, seconds: float) -> AbstractContextManager[Limit]:
        """Raise ``StageTimedOut`` at a call inside the block, or at its end, once this time has passed."""
        return _Limit(self, seconds)

    def watch(self, port: P) -> P:
        """The same port, which raises ``StageTimedOut`` instead of being called by a block that has run too long."""
        return cast("P", _Watched(self, port))

    def check(self) -> None:
        """See to it that none of this thread's limits is over.

        Raises:
            StageTimedOut: one is.
        """
        for limit in self.running():
            limit.check()


class _Watched:
    """A port that is not called by whoever has run too long."""

    def __init__(self, alarm: CallAlarm, port: object) -> None:
        self._alarm = alarm
        self._port = port

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """A method of the port; kept, so that it is made once."""
        function = getattr(self._port, method)
        check = self._alarm.check

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - forwards any port's calls
            check()
            return function(*arguments, **named)

        setattr(self, method, call)
        return call

"""Interrupts stages that run too long in threads, where the machine's timer reaches only the main one."""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kernel.errors import StageTimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

P = TypeVar("P")

AGAIN = 1.0
"""Seconds after which it rings again in a block that has swallowed it, as ``infra.alarm`` does."""
NEVER = float("inf")


class _Rang(StageTimedOut):
    """What is thrown into a thread: only a class can be, so the message is added where the block ends."""


class _Limit:
    """One running time limit: a context manager made by ``ThreadAlarm.limit``.

    Attributes:
        outer: the limit around it in the same thread.
        calls: how deep the thread is in calls that must not be interrupted.
    """

    __slots__ = ("_alarm", "calls", "deadline", "outer", "rings", "seconds", "thread")

    def __init__(self, alarm: ThreadAlarm, seconds: float) -> None:
        self._alarm = alarm
        self.seconds = seconds
        self.deadline = self.rings = NEVER
        self.thread = 0
        self.outer: _Limit | None = None
        self.calls = 0

    def chain(self) -> Iterator[_Limit]:
        """This limit and those around it."""
        limit: _Limit | None = self
        while limit is not None:
            yield limit
            limit = limit.outer

    def __enter__(self) -> None:
        self.thread = threading.get_ident()
        try:
            self._alarm._begin(self)  # noqa: SLF001 - two halves of one thing
        except _Rang:
            self._alarm._end(self)  # noqa: SLF001 - as above
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        late = False
        while True:
            try:
                self._alarm._end(self)  # noqa: SLF001 - two halves of one thing
            except _Rang:  # it rang just as the block was ending, which must end whole
                late = True
            else:
                break
        if isinstance(error, _Rang) or (error is None and late):
            over = next((each for each in self.chain() if each.deadline <= time.monotonic()), self)
            if over is not self:
                raise _Rang  # its block must end, and with it all blocks inside
            raise StageTimedOut(f"ran longer than {self.seconds:g} s and was interrupted") from None


class ThreadAlarm:
    """Implements ``kernel.ports.Alarm`` for any number of threads: a watchman throws ``StageTimedOut`` into them.

    Python delivers it between two of a thread's instructions, so code that waits inside a system call, or inside a
    library written in another language, is interrupted only when it comes back from there. A stage that never does is
    found by its lease. Limits may be nested; the one that ends first interrupts, whichever it is.

    What all threads share must not be left half done: a call of a port that goes through ``shield`` is not interrupted
    in the middle, but right after it.

    Source: Python/C API, ``PyThreadState_SetAsyncExc``.
    """

    def __init__(self) -> None:
        # Both are C code all through. A Condition's own code is Python: what is thrown into a thread that is just
        # entering one would leave it locked for ever.
        self._lock = threading.Lock()
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._innermost: dict[int, _Limit] = {}  # by thread
        self._next = NEVER
        self._watchman: threading.Thread | None = None

    def limit(self, seconds: float) -> AbstractContextManager[None]:
        """Raise ``StageTimedOut`` inside the block once this time has passed."""
        return _Limit(self, seconds)

    def extend(self, seconds: float) -> None:
        """Start this thread's innermost running limit anew with this time. Without one, nothing happens."""
        with self._lock:
            limit = self._innermost.get(threading.get_ident())
            if limit is not None:
                limit.seconds = seconds
                self._set(limit)

    def shield(self, port: P) -> P:
        """The same port, of which no call is interrupted in the middle."""
        return cast("P", _Shielded(self, port))

    def _begin(self, limit: _Limit) -> None:
        with self._lock:
            limit.outer = self._innermost.get(limit.thread)
            self._innermost[limit.thread] = limit
            self._set(limit)
            if self._watchman is None:
                self._watchman = threading.Thread(target=self._watch, name="alarm", daemon=True)
                self._watchman.start()

    def _set(self, limit: _Limit) -> None:
        limit.deadline = limit.rings = time.monotonic() + limit.seconds
        if limit.rings < self._next:
            self._next = limit.rings
            self._woken.put(None)

    def _end(self, limit: _Limit) -> None:
        """End a limit, and take back what was thrown and has not arrived. Ending twice is no error."""
        with self._lock:
            if self._innermost.get(limit.thread) is limit:
                if limit.outer is None:
                    del self._innermost[limit.thread]
                else:
                    self._innermost[limit.thread] = limit.outer
                    self._ring_soon(limit.outer)
            _throw(limit.thread, None)

    def _ring_soon(self, limit: _Limit) -> None:
        """What was thrown because of this limit, or one around it, may be what is being taken back."""
        now = time.monotonic()
        for each in limit.chain():
            if each.deadline <= now:
                self._next = each.rings = now
                self._woken.put(None)

    def _enter_call(self) -> _Limit | None:
        """A call begins that must not be interrupted; by the limit that it runs under, if there is one."""
        thread = threading.get_ident()
        with self._lock:
            limit = self._innermost.get(thread)
            if limit is None:
                return None
            _throw(thread, None)
            self._raise_if_over(limit)
            limit.calls += 1
            return limit

    def _leave_call(self, limit: _Limit) -> None:
        with self._lock:
            limit.calls -= 1
            self._raise_if_over(limit)

    def _raise_if_over(self, limit: _Limit) -> None:
        now = time.monotonic()
        if not limit.calls and any(each.deadline <= now for each in limit.chain()):
            raise _Rang

    def _watch(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                self._next = NEVER
                for thread, innermost in self._innermost.items():
                    for limit in innermost.chain():
                        if limit.rings <= now:
                            limit.rings = now + AGAIN
                            if not innermost.calls:
                                _throw(thread, _Rang)
                        self._next = min(self._next, limit.rings)
                pause = None if self._next == NEVER else max(0.0, self._next - now)
            try:
                self._woken.get(timeout=pause)
            except queue.Empty:
                continue


class _Shielded:
    """A port whose calls are not interrupted in the middle."""

    def __init__(self, alarm: ThreadAlarm, port: object) -> None:
        self._alarm = alarm
        self._port = port

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """A method of the port; kept, so that it is made once."""
        function = getattr(self._port, method)
        alarm = self._alarm

        def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - forwards any port's calls
            limit = alarm._enter_call()  # noqa: SLF001 - two halves of one thing
            if limit is None:
                return function(*arguments, **named)
            try:
                return function(*arguments, **named)
            finally:
                alarm._leave_call(limit)  # noqa: SLF001 - as above

        setattr(self, method, call)
        return call


def _throw(thread: int, error: type[BaseException] | None) -> None:
    """Throw an error into a thread; None takes back what has not reached it yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)

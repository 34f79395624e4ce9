"""The machine's own timer, as the port that interrupts stages which run too long."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Self

from kernel.errors import StageTimedOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import FrameType, TracebackType

    from kernel.ports import Limit


class _Limit:
    """One running time limit: a context manager made by ``SignalAlarm.limit``."""

    __slots__ = ("_alarm", "deadline", "seconds")

    def __init__(self, alarm: SignalAlarm, seconds: float) -> None:
        self._alarm = alarm
        self.seconds = seconds
        self.deadline = 0.0

    def extend(self, seconds: float) -> None:
        """Start it anew with this time, from whichever thread."""
        self._alarm._extend(self, seconds)  # noqa: SLF001 - two halves of one thing

    def __enter__(self) -> Self:
        self._alarm._begin(self)  # noqa: SLF001  # two halves of one thing
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alarm._end(self)  # noqa: SLF001 - two halves of one thing


class _NoLimit:
    """Where nothing can be interrupted."""

    def extend(self, seconds: float) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


_NO_LIMIT = _NoLimit()
_AT_ONCE = 1e-6  # a timer of zero would be none
_SHORTLY = 1e-3
AGAIN = 1.0
"""Seconds after which it rings again in a block that has swallowed it: AWS's client takes what is thrown within a call
for a broken connection, and users' code may catch every exception."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class SignalAlarm:
    """Implements ``kernel.ports.Alarm`` by the interval timer: Python runs its handler in the main thread.

    In any other thread it does nothing: there a stage that runs too long is found by its lease. Limits may be
    nested; the one that ends first interrupts, whichever it is. A timer that somebody else had set goes on
    afterwards.

    Source for the price: a timer takes 1 µs, a thread per stage 56 µs (docs/dependencies.md).
    """

    def __init__(self) -> None:
        self._limits: list[_Limit] = []  # touched by the main thread only
        self._before: tuple[Callable[[int, FrameType | None], object] | int | None, float, float, float] | None = None

    def limit(self, seconds: float) -> AbstractContextManager[Limit]:
        """Raise ``StageTimedOut`` inside the block once this time has passed."""
        return _Limit(self, seconds) if _in_main_thread() else _NO_LIMIT

    def _extend(self, limit: _Limit, seconds: float) -> None:
        limit.seconds = seconds
        limit.deadline = time.monotonic() + seconds
        # From another thread the timer stays: when it rings, the limit is not over, and it is set anew.
        if _in_main_thread() and limit in self._limits:
            self._set_timer()

    def _begin(self, limit: _Limit) -> None:
        if self._before is None:
            remaining, interval = signal.setitimer(signal.ITIMER_REAL, 0.0)
            handler = signal.signal(signal.SIGALRM, self._ring)
            self._before = handler, remaining, interval, time.monotonic()
        limit.deadline = time.monotonic() + limit.seconds
        self._limits.append(limit)
        self._set_timer()

    def _end(self, limit: _Limit) -> None:
        self._limits.remove(limit)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._limits:
            left = min(limit.deadline for limit in self._limits) - time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, max(left, _AT_ONCE))
        elif self._before is not None:
            handler, remaining, interval, since = self._before
            self._before = None
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, handler)
            if remaining:
                left = remaining - (time.monotonic() - since)
                signal.setitimer(signal.ITIMER_REAL, max(left, _AT_ONCE), interval)

    def _ring(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the signature of a handler
        if self._before is None:
            return  # the last limit has just ended: whoever had the timer before is given it back
        if frame is not None and frame.f_globals is globals():
            # A limit that is just beginning or ending must do so whole: an exception here would leave it behind.
            signal.setitimer(signal.ITIMER_REAL, _SHORTLY)
            return
        now = time.monotonic()
        # The outermost one that is over: its block must end, and with it all blocks inside.
        over = next((limit for limit in self._limits if limit.deadline <= now), None)
        if over is not None:
            over.deadline = now + AGAIN
        self._set_timer()
        if over is not None:  # else the limit was extended, or ended, while the signal was on its way
            raise StageTimedOut(f"ran longer than {over.seconds:g} s and was interrupted")

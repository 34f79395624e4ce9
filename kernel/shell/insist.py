"""Repeating a call whose outcome is unknown: the same call, bounded and jittered, never a new decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kernel.errors import Unavailable
from kernel.shell.environment import Environment

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds that a call is repeated for when the caller has no tighter bound."""
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0


def insist(env: Environment, call: Callable[[], T], until: float | None = None) -> T:
    """Make ``call``; while the store is unavailable, make it again.

    Args:
        env: the ports.
        call: must be safe to repeat: a read, or a write whose guard and token make a repeat harmless.
        until: monotonic time in seconds after which to give up.

    Raises:
        Unavailable: time ran out; whether the last call took effect is unknown.
    """
    try:
        return call()
    except Unavailable:
        end = env.clock.monotonic() + PATIENCE if until is None else until
        return _again(env, call, end)


def _again(env: Environment, call: Callable[[], T], end: float) -> T:
    pause = FIRST_PAUSE
    while True:
        wait = pause * (0.5 + env.random.roll() / 2)
        if env.clock.monotonic() + wait >= end:
            return call()
        env.clock.sleep(wait)
        try:
            return call()
        except Unavailable:
            pause = min(pause * 2, LONGEST_PAUSE)

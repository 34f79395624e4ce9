"""The machine's own time and chance, as ports."""

from __future__ import annotations

import os
import time


class SystemClock:
    """Implements ``kernel.ports.Clock``."""

    def now(self) -> int:
        """Wall-clock time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SystemRandom:
    """Implements ``kernel.ports.Random`` from the system's entropy.

    It keeps no state that a snapshot or a fork of the process could copy: no two workers ever draw the same
    token.
    """

    def token(self) -> str:
        """A fresh token of 24 hexadecimal digits, unguessable."""
        return os.urandom(12).hex()

    def secret(self) -> str:
        """A fresh secret of 48 hexadecimal digits: 192 bits of the system's entropy."""
        return os.urandom(24).hex()

    def roll(self) -> float:
        """A number in [0, 1)."""
        return (int.from_bytes(os.urandom(7)) >> 3) * 2.0**-53

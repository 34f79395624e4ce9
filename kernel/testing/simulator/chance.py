"""Chance that shrinks well: each decision depends on the seed, on who makes it and on how many they have made.

One common stream would not do: to leave out one fault would shift every decision after it, and make another history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")

_MASK = (1 << 64) - 1
_ONE = float(1 << 64)


def mix(*parts: int) -> int:
    """64 bits that depend on every bit of every part (the finaliser of SplitMix64)."""
    mixed = 0x9E3779B97F4A7C15
    for part in parts:
        mixed = ((mixed ^ part) * 0xBF58476D1CE4E5B9) & _MASK
        mixed ^= mixed >> 27
        mixed = (mixed * 0x94D049BB133111EB) & _MASK
        mixed ^= mixed >> 31
    return mixed


class Chance:
    """A stream of decisions; also the kernel's port ``Random``."""

    __slots__ = ("_count", "_key")

    def __init__(self, seed: int, *names: str | int) -> None:
        """The stream of ``names`` under ``seed``."""
        self._key = mix(seed, *(crc32(name.encode()) if isinstance(name, str) else name for name in names))
        self._count = 0

    def roll(self) -> float:
        """A number in [0, 1)."""
        self._count += 1
        return mix(self._key, self._count) / _ONE

    def token(self) -> str:
        """24 hexadecimal digits."""
        self._count += 1
        return f"{mix(self._key, self._count):016x}{mix(self._count, self._key):016x}"[:24]

    def secret(self) -> str:
        """48 hexadecimal digits."""
        return self.token() + self.token()

    def happens(self, probability: float) -> bool:
        """Whether something happens that does so this often."""
        return probability > 0 and self.roll() < probability

    def below(self, end: int) -> int:
        """A whole number from 0, below ``end``."""
        return int(self.roll() * end)

    def between(self, low: int, high: int) -> int:
        """A whole number from ``low`` up to, but without, ``high``."""
        return low + int(self.roll() * (high - low))

    def pick(self, options: Sequence[T]) -> T:
        """One of several."""
        return options[int(self.roll() * len(options))]

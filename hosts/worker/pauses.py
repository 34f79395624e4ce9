"""Pauses after failures: they grow, and are jittered, so that what is down, or has just come up, is not hammered on."""

from __future__ import annotations

from kernel.ports import Random

FIRST, LONGEST = 0.25, 15.0
"""Seconds."""


class Pauses:
    """The pauses of one caller. Not shared by threads."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._next = FIRST

    def failed(self) -> float:
        """Seconds to wait now that it failed once more: half to all of twice as many as the time before."""
        pause = self._next * (0.5 + self._random.roll() / 2)
        self._next = min(self._next * 2, LONGEST)
        return pause

    def reset(self) -> None:
        """It went well."""
        self._next = FIRST

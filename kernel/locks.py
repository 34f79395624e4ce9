"""Locks for what only one instance should do at a time: the port, and what every lock must be true to.

Runs need none: their log fences them. A lock saves work that would be done twice for nothing, and where that is not
enough, its *fencing token* lets whoever is written to refuse a holder that was overtaken without noticing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class LockGuard(StrEnum):
    """Every condition that a write of a lock carries, named after what it guards."""

    LOCK_IS_FREE = "lock-is-free"
    """Acquiring: nobody holds it, its time is over by every clock, or the same owner asks again after a lost reply."""
    LOCK_IS_OURS = "lock-is-ours"
    """Extending and releasing: this owner holds it. Nobody ends or prolongs somebody else's."""


class Lock(Struct, frozen=True, kw_only=True):
    """A lock that is held.

    Attributes:
        name: of what.
        owner: token of this one holding of it, fresh for each.
        fence: the fencing token: grows with each new holding, and never goes back.
        until: when it ends unless it is extended, in milliseconds, by the clock of whoever acquired it.
    """

    name: str
    owner: str
    fence: int
    until: int


class Locks(Protocol):
    """Keeps locks. May be shared by threads. Raises ``Unavailable`` or ``Missing`` when it fails."""

    def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
        """Take the lock for so many milliseconds if it is free: one try.

        Asking again with the same ``owner`` while that holds it gives the same fencing token, so a lost reply does no
        harm. None if somebody else holds it.
        """
        ...

    def extend(self, lock: Lock, ttl: int) -> Lock | None:
        """Hold it for so many milliseconds from now; None if it is not ours any more."""
        ...

    def release(self, lock: Lock) -> bool:
        """Give it up; False if it is not ours any more."""
        ...

    def held(self, name: str) -> Lock | None:
        """Who holds it, as far as can be seen; None if nobody does."""
        ...

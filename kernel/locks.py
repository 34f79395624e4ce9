"""Locks for what only one instance should do at a time: the port, and what every lock must be true to.

Runs need none: their log fences them. A lock saves work that would be done twice for nothing, and where that is not
enough, its *fencing token* lets whoever is written to refuse a holder that was overtaken without noticing.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from kernel.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/-]{0,199}\Z")
LONGEST_TTL = 24 * 3_600_000
"""Milliseconds that a lock can be held for without being extended. What a crash leaves held is held for that long."""


class LockGuard(StrEnum):
    """Every condition that a write of a lock carries, named after what it guards."""

    LOCK_IS_FREE = "lock-is-free"
    """Acquiring: nobody holds it, or its time is over by every clock."""
    LOCK_IS_OURS = "lock-is-ours"
    """Extending and releasing: this very holding is the present one. Nobody ends or prolongs another, not even one of
    the same owner."""
    LOCK_ENDS_LATER = "lock-ends-later"
    """Extending: what was promised stays promised. A call that arrives behind a later one makes nothing end sooner."""


class Lock(Struct, frozen=True, kw_only=True):
    """A lock that is held.

    Attributes:
        name: of what.
        owner: token of this one holding of it, fresh for each.
        fence: the fencing token: grows with each new holding, and never goes back.
        until: when it ends unless it is extended, in milliseconds by the clock that the adapter goes by: that of
            whoever acquired or extended it last, or the server's. To be looked at by people: whoever holds it counts
            by its own monotonic clock, from before it asked.
    """

    name: str
    owner: str
    fence: int
    until: int


class Locks(Protocol):
    """Keeps locks. May be shared by threads. Raises ``Unavailable`` or ``Missing`` when it fails.

    Every method raises ``InvalidInput`` for a name, an owner or a time that is none.
    """

    def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
        """Take the lock for so many milliseconds from now if it is free: one try.

        Asking again with the same ``owner`` while that holds it gives the same fencing token and holds it for the time
        from then, so a lost reply does no harm. None if somebody else holds it.
        """
        ...

    def extend(self, lock: Lock, ttl: int) -> Lock | None:
        """Hold it for at least so many milliseconds from now; None if it is not ours any more.

        Never makes it end sooner. One whose time is over is still ours until somebody else takes it.
        """
        ...

    def release(self, lock: Lock) -> bool:
        """Give it up; False if it is not ours any more, be it that an earlier try whose reply was lost gave it up."""
        ...

    def held(self, name: str) -> Lock | None:
        """Who holds it, as far as can be seen; None if nobody does, or anybody could take it."""
        ...


def check_lock(name: str, owner: str | None = None, ttl: int | None = None) -> None:
    """What adapters take: a name, and what is asked for it.

    Raises:
        InvalidInput: the name or the owner is not a letter or digit and up to 199 more or ``_ . : @ / -``; or the time
            is not 1 ms to 24 hours.
    """
    for what, given in (("name", name), ("owner", owner)):
        if given is not None and not _NAME.match(given):
            message = f"the {what} of a lock is 1 to 200 letters, digits or _ . : @ / -, not {given[:40]!r}"
            raise InvalidInput(message)
    if ttl is not None and not 0 < ttl <= LONGEST_TTL:
        message = f"a lock is held for 1 to {LONGEST_TTL:,} milliseconds, not {ttl}"
        raise InvalidInput(message)

"""``Locks`` in memory, true to the same suite as the real ones; and as processes with other clocks see them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from msgspec import Struct

from kernel.locks import Lock, LockGuard, check_lock
from kernel.ports import Clock


class Kept(Struct, frozen=True, kw_only=True):
    """A lock as it is kept: the one that is there, or the one that shall be.

    Attributes:
        owner: who holds it; empty if nobody does.
        fence: of the last holding.
        until: when that ends, or ended.
    """

    owner: str = ""
    fence: int = 0
    until: int = 0


CONDITIONS: dict[LockGuard, Callable[[Kept, Kept, int], bool]] = {
    LockGuard.LOCK_IS_FREE: lambda there, _wanted, over: not there.owner or there.until < over,
    LockGuard.LOCK_IS_OURS: lambda there, wanted, _over: (there.owner, there.fence) == (wanted.owner, wanted.fence),
    LockGuard.LOCK_ENDS_LATER: lambda there, wanted, _over: there.until < wanted.until,
}
"""What each guard allows, given what is there, what shall be, and before when a lock must have ended to be over.

Looked up at each call, so that a test can switch a guard off.
"""


class MemoryLocks:
    """``Locks`` in memory.

    Args:
        clock: of the process that asks.
        max_skew_ms: by how much the clocks of those who ask may differ.
    """

    def __init__(self, clock: Clock, *, max_skew_ms: int = 0) -> None:
        self._clock = clock
        self._max_skew = max_skew_ms
        self._kept: dict[str, Kept] = {}
        self._guard = threading.Lock()

    def seen_by(self, clock: Clock) -> MemoryLocks:
        """The same locks for a process with another clock."""
        other = MemoryLocks(clock, max_skew_ms=self._max_skew)
        other._kept, other._guard = self._kept, self._guard
        return other

    def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
        """Take the lock for so many milliseconds if it is free, or held by this owner."""
        check_lock(name, owner, ttl)
        now = self._clock.now()
        with self._guard:
            there = self._kept.get(name, Kept())
            wanted = Kept(owner=owner, fence=there.fence + 1, until=now + ttl)
            if CONDITIONS[LockGuard.LOCK_IS_FREE](there, wanted, now - self._max_skew):
                return self._keep(name, wanted)
            if there.owner == owner:
                return self._keep(name, Kept(owner=owner, fence=there.fence, until=max(there.until, wanted.until)))
            return None

    def extend(self, lock: Lock, ttl: int) -> Lock | None:
        """Hold it for at least so many milliseconds from now; None if it is not ours any more."""
        check_lock(lock.name, lock.owner, ttl)
        wanted = Kept(owner=lock.owner, fence=lock.fence, until=self._clock.now() + ttl)
        with self._guard:
            there = self._kept.get(lock.name, Kept())
            if not CONDITIONS[LockGuard.LOCK_IS_OURS](there, wanted, 0):
                return None
            later = CONDITIONS[LockGuard.LOCK_ENDS_LATER](there, wanted, 0)
            return self._keep(lock.name, wanted if later else there)

    def release(self, lock: Lock) -> bool:
        """Give it up; False if it is not ours any more."""
        check_lock(lock.name, lock.owner)
        with self._guard:
            there = self._kept.get(lock.name, Kept())
            ours = CONDITIONS[LockGuard.LOCK_IS_OURS](there, Kept(owner=lock.owner, fence=lock.fence), 0)
            if ours:
                self._kept[lock.name] = Kept(fence=there.fence)
            return ours

    def held(self, name: str) -> Lock | None:
        """Who holds it; None if nobody does, or whoever asks with this clock could take it."""
        check_lock(name)
        with self._guard:
            there = self._kept.get(name, Kept())
        over = not there.owner or there.until < self._clock.now() - self._max_skew
        return None if over else Lock(name=name, owner=there.owner, fence=there.fence, until=there.until)

    def _keep(self, name: str, lock: Kept) -> Lock:
        self._kept[name] = lock
        return Lock(name=name, owner=lock.owner, fence=lock.fence, until=lock.until)

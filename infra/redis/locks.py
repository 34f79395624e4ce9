"""The kernel's locks in Redis: a hash each, one script per call, and the server's clock alone.

The key of a lock is ``{prefix}:lock:<name>``, with ``owner`` and ``until`` while it is held, and ``fence``. A fencing
token is at least the server's time in microseconds, so that it grows even if the server has lost its data, as long as
its clock, or that of the replica that takes its place, has not gone back by more than the time between two holdings.

A replica that takes over may lack the last writes: two may then hold a lock at once for as long as its time is. Their
tokens tell which of them is the later one.
"""

from __future__ import annotations

from typing import Any

from redis.commands.core import Script

from infra.redis.client import Client
from infra.redis.failures import translated
from kernel.locks import Lock, LockGuard, check_lock

KEPT = 24 * 3_600_000
"""Milliseconds for which the last fencing token is kept after a lock has ended. After that, the time is greater."""

CONDITIONS: dict[LockGuard, str] = {
    # Two never hold it at once: it was given up, or its time is over.
    LockGuard.LOCK_IS_FREE: "not owner or ends < now",
    # Who was overtaken neither prolongs nor ends what its successor holds.
    LockGuard.LOCK_IS_OURS: "owner == ARGV[1] and fence == tonumber(ARGV[2])",
    # An extension takes back nothing of one before it.
    LockGuard.LOCK_ENDS_LATER: "ends < later",
}
"""Each guard as a condition in Lua. Looked up at each call, so that a test can switch one off."""

_FIND = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until')
local owner, fence, ends = found[1], tonumber(found[2] or 0), tonumber(found[3] or 0)
local function keep(ttl)
  local later = now + ttl
  if LOCK_ENDS_LATER then ends = later end
  local whole = '%.0f'
  redis.call('HSET', KEYS[1], 'owner', owner, 'fence', whole:format(fence), 'until', whole:format(ends))
  redis.call('PEXPIREAT', KEYS[1], whole:format(ends + KEPT))
  return {owner, fence, ends}
end
"""

_ACQUIRE = """
-- ARGV: the owner, the time in ms.
if LOCK_IS_FREE then
  owner, fence, ends = ARGV[1], math.max(fence + 1, time[1] * 1000000 + time[2]), 0
  return keep(ARGV[2])
end
return owner == ARGV[1] and keep(ARGV[2])
"""

_EXTEND = """
-- ARGV: the owner, the fencing token, the time in ms.
return LOCK_IS_OURS and keep(ARGV[3])
"""

_RELEASE = """
-- ARGV: the owner, the fencing token.
if not (LOCK_IS_OURS) then return false end
redis.call('HDEL', KEYS[1], 'owner', 'until')
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', now + KEPT))
return {owner, fence, now}
"""

_HELD = """
if not owner or ends < now then return false end
return {owner, fence, ends}
"""


class RedisLocks:
    """Implements ``kernel.locks.Locks``. May be shared by threads. No call is more than one round trip.

    Args:
        client: see ``infra.redis.client``.
        prefix: what the names of all keys begin with.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._known: dict[str, Script] = {}

    def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
        """Take the lock for so many milliseconds if it is free, or held by this owner."""
        check_lock(name, owner, ttl)
        return self._run("acquiring", name, _ACQUIRE, owner, ttl)

    def extend(self, lock: Lock, ttl: int) -> Lock | None:
        """Hold it for at least so many milliseconds from now; None if it is not ours any more."""
        check_lock(lock.name, lock.owner, ttl)
        return self._run("extending", lock.name, _EXTEND, lock.owner, lock.fence, ttl)

    def release(self, lock: Lock) -> bool:
        """Give it up; False if it is not ours any more."""
        check_lock(lock.name, lock.owner)
        return self._run("releasing", lock.name, _RELEASE, lock.owner, lock.fence) is not None

    def held(self, name: str) -> Lock | None:
        """Who holds it; None if nobody does."""
        check_lock(name)
        return self._run("reading", name, _HELD)

    def _run(self, doing: str, name: str, script: str, *args: str | int) -> Lock | None:
        text = f"{_FIND}{script}".replace("KEPT", str(KEPT))
        for guard, condition in CONDITIONS.items():
            text = text.replace(guard.name, condition)
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = self._client.register_script(text)
        key = f"{{{self._prefix}}}:lock:{name}"
        with translated(f"{doing} lock {key}"):
            answer: Any = known(keys=[key], args=list(args))
        if answer is None:
            return None
        owner, fence, until = answer
        return Lock(name=name, owner=owner.decode(), fence=fence, until=until)

"""Waiting for a lock, and the names of roles."""

from __future__ import annotations

import re

from msgspec import Struct

from kernel.errors import InvalidInput, Unavailable
from kernel.limits import is_workflow_id
from kernel.locks import Lock, Locks
from kernel.ports import Clock, Random

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0
"""Seconds between two tries. Each costs a write unit where locks are in DynamoDB."""
_PROCESS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")


class Taken(Struct, frozen=True):
    """A lock, and since when.

    Attributes:
        lock: as it was given.
        since: monotonic time in seconds from which its time counts: just before it was asked for.
    """

    lock: Lock
    since: float


def acquire(locks: Locks, clock: Clock, random: Random, name: str, *, ttl: int, wait: int = 0) -> Lock | None:
    """Take a lock, waiting for it if need be.

    Args:
        locks: where it is kept.
        clock: this process's.
        random: where the owner's token and the length of the pauses come from.
        name: of what.
        ttl: milliseconds to hold it for.
        wait: milliseconds to wait for it; 0 asks once.

    Returns:
        The lock; None if somebody else held it until the end.

    Raises:
        Unavailable: the last try failed. It may have taken the lock, which is free again after ``ttl``.
        InvalidInput: the name or the time is none.
    """
    taken = take(locks, clock, random, name, ttl=ttl, wait=wait)
    return None if taken is None else taken.lock


def take(locks: Locks, clock: Clock, random: Random, name: str, *, ttl: int, wait: int = 0) -> Taken | None:
    """As ``acquire``; says as well since when the lock's time counts."""
    owner = random.token()  # one for all tries: if the reply of one is lost, the next is told of what it took
    end = clock.monotonic() + wait / 1000
    pause = FIRST_PAUSE
    while True:
        since = clock.monotonic()
        failure: Unavailable | None = None
        try:
            lock = locks.acquire(name, owner, ttl)
        except Unavailable as error:
            failure, lock = error, None
        now = clock.monotonic()
        if lock is not None and now < since + ttl / 1000:
            return Taken(lock, since)
        # Refused, not answered, or answered so late that what was given is over.
        if now >= end:
            if failure is not None:
                raise failure
            return None
        clock.sleep(min(pause * (0.5 + random.roll() / 2), end - now))
        pause = min(pause * 2, LONGEST_PAUSE)


def role_name(workflow: str, process: str, shard: int = 1, total: int = 1) -> str:
    """The name of a role that one instance holds at a time: ``order-poller-2-of-4``.

    Args:
        workflow: id of the workflow that it is about.
        process: what is done for it: a letter, then up to 63 letters, digits and underscores. No hyphen, so that no two
            roles have one name.
        shard: which share of it, counted from 1.
        total: of how many.

    Raises:
        InvalidInput: one of them is not right.
    """
    if not is_workflow_id(workflow):
        message = f"{workflow[:40]!r} is no workflow's id: a letter, then up to 63 letters, digits, _ and -"
        raise InvalidInput(message)
    if not _PROCESS.match(process):
        message = f"{process[:40]!r} is no process's name: a letter, then up to 63 letters, digits and _"
        raise InvalidInput(message)
    if not 1 <= shard <= total:
        message = f"there is no shard {shard} of {total}: shards are counted from 1 to their total"
        raise InvalidInput(message)
    return f"{workflow}-{process}-{shard}-of-{total}"

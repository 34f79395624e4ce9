"""Roles that one instance holds at a time, and locks that are renewed while a block runs.

Whoever holds a lock counts its time by its own monotonic clock, from before the call that took or renewed it, less a
margin: so it stops calling the lock its own before anybody else can take it, whether or not the store can be reached.
Between a look at ``held`` and what is done upon it a process may still stand still for any time. Where that matters,
whatever is written to has to refuse a fencing token lower than one that it has seen.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from msgspec import Struct

from kernel.errors import InfrastructureError, OnewriteError
from kernel.locks import Lock, Locks, check_lock
from kernel.ports import Clock, Random
from kernel.shell.locks import Taken, take

log = logging.getLogger(__name__)

TTL = 15_000
"""Milliseconds after which the role of an instance that died can be taken over; one that stops gives it up at once."""
MARGIN = 0.1
"""The share of its time for which a lock is not called ours any more though nobody else can have it."""


class LockHeld(OnewriteError):
    """Somebody else held the lock for as long as was waited for it."""


class LockLost(OnewriteError):
    """The lock is not certainly ours any more: what it protects must not go on."""


class Waiting(Protocol):
    """What a thread waits by, and is woken by: ``threading.Event``."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for so many seconds, or until it is set; whether it is."""
        ...

    def set(self) -> None:
        """Wake whoever waits, and let nobody wait again."""
        ...

    def is_set(self) -> bool:
        """Whether it is set."""
        ...


class _Grip(Struct, frozen=True):
    """The lock that was given, since when its time counts, and until when we are sure of it."""

    lock: Lock
    since: float
    until: float


class _Keeper(ABC):
    """A lock in this process's hand, and the thread that keeps it there."""

    def __init__(
        self, locks: Locks, clock: Clock, random: Random, name: str, ttl: int, waiting: Waiting | None
    ) -> None:
        check_lock(name, ttl=ttl)
        self.name = name
        self._locks = locks
        self._clock = clock
        self._random = random
        self._ttl = ttl
        self._third = ttl / 3000
        self._waiting = waiting or threading.Event()
        self._grip: _Grip | None = None  # one reference, so that who reads it needs no lock
        self._thread: threading.Thread | None = None
        self._pause = 0.0

    @property
    def held(self) -> Lock | None:
        """The lock, while it is certainly ours; to be asked before each thing that is done by its right."""
        grip = self._grip
        sure = grip is not None and self._clock.monotonic() < grip.until and not self._waiting.is_set()
        return grip.lock if grip is not None and sure else None

    def start(self) -> None:
        """Begin to keep it, in a thread."""
        self._thread = threading.Thread(target=self._run, name=f"lock-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Give it up, so that somebody else can have it at once. Stop first what is done by its right.

        Args:
            timeout: seconds to wait for a call that is under way. What is not given up in time ends by itself.
        """
        self._waiting.set()
        if self._thread is None:
            self._give_up()
        else:
            self._thread.join(timeout)

    @abstractmethod
    def step(self) -> float:
        """What the thread does each time: look after the lock; gives the seconds until that is to be done again."""

    def _run(self) -> None:
        try:
            while not self._waiting.wait(self._pause):
                self._pause = self._look()
        finally:
            self._give_up()

    def _look(self) -> float:
        try:
            return self.step()
        except Exception:
            log.exception("lock %s: this is a mistake in Onewrite, or in what it was given", self.name)
            return self._third

    def _got(self, lock: Lock, since: float) -> float:
        """Hold what was given; the seconds until it is to be renewed: a little less than a third of its time."""
        self._grip = _Grip(lock, since, since + self._ttl / 1000 * (1 - MARGIN))
        due = since + self._third * (0.8 + self._random.roll() / 5)
        return max(0.0, due - self._clock.monotonic())

    def _renew(self, grip: _Grip) -> float:
        since = self._clock.monotonic()
        try:
            lock = self._locks.extend(grip.lock, self._ttl)
        except InfrastructureError as error:
            log.warning("lock %s could not be renewed: %s", self.name, error)
            return self._soon()
        if lock is None:
            self._grip = None
            log.warning("lock %s is lost: its time was over, and somebody else has taken it", self.name)
            return self._soon()
        return self._got(lock, since)

    def _soon(self) -> float:
        """Seconds until something that failed is tried again."""
        return self._third / 4 * (0.5 + self._random.roll())

    def _give_up(self) -> None:
        grip, self._grip = self._grip, None
        if grip is None:
            return
        try:
            self._locks.release(grip.lock)
        except InfrastructureError as error:
            log.warning("lock %s could not be released, and ends by itself: %s", self.name, error)
        else:
            log.info("lock %s given up", self.name)


class Role(_Keeper):
    """Something that one instance does at a time; another one takes over when that stops or dies.

    Every instance has the role and asks for it again and again; the one that gets it holds it for as long as it lives,
    is told to go on, and does what the role is for.

    Args:
        locks: where it is kept.
        clock: this process's.
        random: where tokens come from.
        name: of the role, see ``kernel.shell.locks.role_name``.
        ttl: milliseconds after which others may take over from an instance that died.
        alive: says whether what the role is for is being done here, such as whether the loop that does it has come
            round lately. While it is not, the role is neither taken nor kept.
        waiting: what the thread waits by.
    """

    def __init__(
        self,
        locks: Locks,
        clock: Clock,
        random: Random,
        name: str,
        *,
        ttl: int = TTL,
        alive: Callable[[], bool] = lambda: True,
        waiting: Waiting | None = None,
    ) -> None:
        super().__init__(locks, clock, random, name, ttl, waiting)
        self._alive = alive
        self._owner = ""

    def step(self) -> float:
        """Take the role if it is free, renew it if it is ours, give it up if nothing is done with it."""
        grip, alive = self._grip, self._is_alive()
        if grip is None:
            return self._take() if alive else self._third
        if not alive:
            log.warning("role %s is given up: what it is for is not being done", self.name)
            self._give_up()
            return self._third
        return self._renew(grip)

    def _is_alive(self) -> bool:
        try:
            return self._alive()
        except Exception:
            log.exception("role %s: whether what it is for is being done cannot be told", self.name)
            return False

    def _take(self) -> float:
        # One token until there is an answer: what a try took whose reply was lost, the next one is told of.
        self._owner = self._owner or self._random.token()
        since = self._clock.monotonic()
        try:
            lock = self._locks.acquire(self.name, self._owner, self._ttl)
        except InfrastructureError as error:
            log.warning("role %s could not be asked for: %s", self.name, error)
            return self._soon()
        self._owner = ""
        if lock is None:
            return self._third * (0.5 + self._random.roll())
        log.info("role %s taken, fencing token %d", self.name, lock.fence)
        return self._got(lock, since)


class Held(_Keeper):
    """A lock that is renewed while a block runs: what ``hold`` gives.

    Attributes:
        fence: the fencing token, for whatever is written to.
    """

    def __init__(
        self, locks: Locks, clock: Clock, random: Random, taken: Taken, ttl: int, waiting: Waiting | None
    ) -> None:
        super().__init__(locks, clock, random, taken.lock.name, ttl, waiting)
        self.fence = taken.lock.fence
        self._pause = self._got(taken.lock, taken.since)

    @property
    def lost(self) -> bool:
        """Whether the lock is not certainly ours any more."""
        return self.held is None

    def check(self) -> None:
        """Go on only if the lock is ours. To be called before each step that must not be done by two.

        Raises:
            LockLost: it is not certainly ours any more.
        """
        if self.lost:
            raise LockLost(f"lock {self.name} could not be renewed in time: somebody else may hold it now")

    def step(self) -> float:
        """Renew it. What is lost stays lost."""
        grip = self._grip
        return self._third if grip is None else self._renew(grip)


@contextmanager
def hold(
    locks: Locks,
    clock: Clock,
    random: Random,
    name: str,
    *,
    ttl: int = TTL,
    wait: int = 0,
    waiting: Waiting | None = None,
) -> Iterator[Held]:
    """Hold a lock for a block, however long it takes, and give it up at its end.

    Args:
        locks: where it is kept.
        clock: this process's.
        random: where tokens come from.
        name: of what.
        ttl: milliseconds after which others may have it if this process dies.
        wait: milliseconds to wait for it.
        waiting: what the thread that renews it waits by.

    Raises:
        LockHeld: somebody else held it for as long as that.
        Unavailable: it cannot be told.
    """
    taken = take(locks, clock, random, name, ttl=ttl, wait=wait)
    if taken is None:
        raise LockHeld(f"lock {name} is held by somebody else")
    held = Held(locks, clock, random, taken, ttl, waiting)
    held.start()
    try:
        yield held
    finally:
        held.stop()

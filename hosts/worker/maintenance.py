"""The maintenance tick of a worker: run by whichever of them holds the role for it."""

from __future__ import annotations

import logging
import threading

from msgspec.structs import asdict

from hosts.worker.health import Health
from hosts.worker.roles import TTL, Role
from kernel.locks import Locks
from kernel.shell.environment import Environment
from kernel.shell.locks import role_name
from kernel.shell.tick import tick

log = logging.getLogger(__name__)

ROLE = role_name("onewrite", "tick", 1, 1)
LONGEST = 50.0
"""Seconds that a tick takes at most; what it does not come to is left to the next one."""
SHORTEST = 3_000
"""Milliseconds after which the role of a worker that died can be taken over, where ticks come every second."""
SILENT = 180.0
"""Seconds without a sign of life of the loop after which the role is not held any longer."""


class Maintenance:
    """A thread that ticks while this process holds the role, and the role's own.

    Two ticks at once would do no harm, since each look is claimed: the role saves work, and no more than that.

    Args:
        env: the ports.
        locks: where the role is.
        name: who does it, in the logs of the runs.
        every: seconds from the beginning of a tick to that of the next.
        health: is told how it goes.
    """

    def __init__(self, env: Environment, locks: Locks, *, name: str, every: float, health: Health) -> None:
        self._env = env
        self._name = name
        self._every = every
        self._health = health
        self._stopping = threading.Event()
        self._seen = env.clock.monotonic()
        ttl = int(min(TTL, max(SHORTEST, 3_000 * every)))
        self._role = Role(locks, env.clock, env.random, ROLE, ttl=ttl, alive=self._alive)
        self._thread = threading.Thread(target=self._run, name="tick", daemon=True)

    @property
    def leads(self) -> bool:
        """Whether this process holds the role."""
        return self._role.held is not None

    def start(self) -> None:
        """Begin."""
        self._role.start()
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Tick no more, and let somebody else have the role at once; waits for a tick under way, but not for ever."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        self._role.stop(2.0)

    def _alive(self) -> bool:
        """Whether the loop still comes round: a role must not be kept by a process that does nothing with it."""
        return self._env.clock.monotonic() - self._seen < SILENT

    def _run(self) -> None:
        next_ = 0.0
        while not self._stopping.is_set():
            self._seen = now = self._env.clock.monotonic()
            if not self.leads:
                self._health.follows()
                self._stopping.wait(min(1.0, self._every))
                continue
            self._health.leads()
            if now < next_:
                self._stopping.wait(min(1.0, next_ - now))
                continue
            next_ = now + self._every
            self.once(now + LONGEST)
            self._health.ticked()

    def once(self, until: float) -> None:
        """Tick once, until the monotonic time at most, and say what that did."""
        try:
            counts = tick(self._env, until, by=f"tick:{self._name.partition(':')[2]}")
        except Exception:  # whatever it was, the next one may do better
            log.exception("tick failed", extra={"worker": self._name})
            return
        log.info("tick", extra=asdict(counts))

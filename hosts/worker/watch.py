"""Gauges: how much there is now, asked of the table and the transport when somebody scrapes, but not too often."""

from __future__ import annotations

import logging
from math import nan
from threading import Lock
from typing import Protocol

from hosts.worker.health import Health, Part
from kernel.delivery import Backlog, Consumer
from kernel.metrics import Gauge
from kernel.shell import heads
from kernel.shell.environment import Environment

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two looks at the table and the transport, at least."""
BY = "watch"
"""Who has failed to reach something, for ``Health``."""


class Dials(Protocol):
    """What shows gauges."""

    def set(self, name: Gauge, value: float) -> None:
        """So much of it there is now; NaN for not known."""
        ...


def show(dials: Dials, health: Health) -> None:
    """Set the gauges that each process has for itself. Asks nobody, so call it as often as you like."""
    report = health.report()
    dials.set(Gauge.IN_FLIGHT, report.busy)
    dials.set(Gauge.SLOTS, report.slots)
    dials.set(Gauge.LEADER, int(report.leader))


class Watch:
    """Sets the gauges of the deployment, and tells ``Health`` what that says of table and transport.

    It never fails: what could not be asked for is NaN, and counted by ``Gauge.WATCH_FAILED``. Shared by threads: while
    one asks, the others go on with what was there before.

    Args:
        env: the ports.
        consumer: the receiving end of the transport.
        dials: what shows gauges.
        health: what is told.
        every: seconds between two looks, at least.
    """

    def __init__(
        self, env: Environment, consumer: Consumer, dials: Dials, health: Health, *, every: float = EVERY
    ) -> None:
        self._env = env
        self._consumer = consumer
        self._dials = dials
        self._health = health
        self._every = every
        self._asking = Lock()
        self._asked: float | None = None

    def refresh(self) -> None:
        """Bring the gauges up to date, unless they were a moment ago. Reads once per shard, and the backlog."""
        if not self._asking.acquire(blocking=False):
            return
        try:
            now = self._env.clock.monotonic()
            if self._asked is None or now - self._asked >= self._every:
                self._dials.set(Gauge.WATCH_FAILED, 2 - self._table() - self._transport())
                self._asked = self._env.clock.monotonic()
        finally:
            self._asking.release()

    def _table(self) -> bool:
        """Look for what is due; False if the table could not be asked."""
        now, oldest = self._env.clock.now(), nan
        try:
            shards = map(heads.due_shard, range(self._env.limits.shards))
            dues = [entry.due for shard in shards for entry in self._env.store.due(shard, now, 1)]
            oldest = max(0, now - min(dues, default=now)) / 1000
        except Exception as error:  # noqa: BLE001 - whoever scrapes gets what else there is
            log.warning("what is due could not be looked for", extra={"error": str(error)})
            self._health.failed(Part.TABLE, str(error), BY)
            self._health.oldest_due(0.0)
            return False
        else:
            self._health.reached(Part.TABLE, BY)
            self._health.oldest_due(oldest)
            return True
        finally:
            self._dials.set(Gauge.OLDEST_DUE, oldest)

    def _transport(self) -> bool:
        """Look at the backlog; False if the transport could not be asked."""
        found: Backlog | None = None
        try:
            found = self._consumer.backlog()
        except Exception as error:  # noqa: BLE001 - whoever scrapes gets what else there is
            log.warning("the transport could not be asked for its backlog", extra={"error": str(error)})
            self._health.failed(Part.TRANSPORT, str(error), BY)
        else:
            self._health.reached(Part.TRANSPORT, BY)
        for gauge, value in (_UNKNOWN if found is None else _told(found)).items():
            self._dials.set(gauge, value)
        return found is not None


def _told(backlog: Backlog) -> dict[Gauge, float]:
    """What a backlog says."""
    return {
        Gauge.MESSAGES_WAITING: backlog.waiting,
        Gauge.MESSAGES_IN_HAND: backlog.in_hand,
        Gauge.MESSAGES_DELAYED: backlog.delayed,
        Gauge.MESSAGES_DEAD: backlog.dead,
        Gauge.OLDEST_MESSAGE: nan if backlog.oldest is None else backlog.oldest,
    }


_UNKNOWN = dict.fromkeys(_told(Backlog(waiting=0, in_hand=0, delayed=0, dead=0)), nan)

"""Redis lost with everything in it: killed and started again at intervals, now and then some time later, or emptied."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from random import Random
from typing import Literal, Protocol

from msgspec import Struct
from redis.exceptions import RedisError

from bench.soak.chaos import Rates
from kernel.errors import OnewriteError

LONG_EVERY = 4
"""One restart of so many comes late; the second is the first of them."""


class Server(Protocol):
    """A Redis that keeps nothing on disk: ``hosts.engines.redis_server.RedisServer``."""

    def kill(self) -> None:
        """End it at once."""
        ...

    def restart(self) -> None:
        """Start it again, empty, on the same port."""
        ...


class Contents(Protocol):
    """What it holds: ``bench.soak.messages.Messages``."""

    def unattended(self) -> list[str]:
        """Ids of the runs of messages that nobody has in hand."""
        ...

    def flush(self) -> None:
        """Delete everything."""
        ...


class Loss(Struct, frozen=True):
    """A time at which all messages were lost.

    Attributes:
        kind: Redis was killed and started again, or emptied.
        at: when, in milliseconds.
        away: seconds until Redis answered again.
        runs: of each message that vanished, and that no worker had in hand, the id of its run.
    """

    kind: Literal["restart", "flush"]
    at: int
    away: float
    runs: tuple[str, ...] = ()


class Losses:
    """Loses them.

    Args:
        random: chance.
        rates: how often.
        server: the Redis.
        contents: what it holds.

    Attributes:
        done: the losses so far.
        wrong: what must not be, in words.
    """

    def __init__(self, random: Random, rates: Rates, server: Server, contents: Contents) -> None:
        self.done: list[Loss] = []
        self.wrong: list[str] = []
        self._random = random
        self._rates = rates
        self._server = server
        self._contents = contents
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="losses", daemon=True)

    @property
    def restarts(self) -> int:
        """How often Redis was killed and started again."""
        return sum(loss.kind == "restart" for loss in self.done)

    @property
    def flushes(self) -> int:
        """How often it was emptied."""
        return sum(loss.kind == "flush" for loss in self.done)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Lose nothing more. Redis runs when this returns."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def timeline(self) -> Iterator[tuple[float, float | None]]:
        """When Redis is lost, in seconds from the beginning, and for how long it stays away; None: it is emptied."""
        number, at, flush_at = 0, 0.0, self._rates.flush_at
        while True:
            number += 1
            at += self._random.uniform(0.7, 1.3) * self._rates.restart_every
            if flush_at is not None and flush_at < at:
                yield flush_at, None
                flush_at = None
            yield at, self._rates.away if number % LONG_EVERY == 2 else 0.0

    def _run(self) -> None:
        began = time.monotonic()
        for at, away in self.timeline():
            if self._stopped.wait(max(0.0, began + at - time.monotonic())):
                return
            try:
                self.done.append(self._flush() if away is None else self._restart(away))
            except (OnewriteError, RedisError) as error:
                self.wrong.append(f"Redis does not come back: {error}")
                return

    def _flush(self) -> Loss:
        runs, at = tuple(self._contents.unattended()), time.time_ns() // 1_000_000
        self._contents.flush()
        return Loss("flush", at, 0.0, runs)

    def _restart(self, away: float) -> Loss:
        runs, at = tuple(self._contents.unattended()), time.time_ns() // 1_000_000
        began = time.monotonic()
        self._server.kill()
        self._stopped.wait(away)
        self._server.restart()
        return Loss("restart", at, round(time.monotonic() - began, 2), runs)

"""Pokes over Redis Streams: how workers take them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from infra.pokes import ForeignMessage, parse
from infra.redis.client import Client
from infra.redis.failures import translated
from infra.redis.keys import BODY, GROUP, Keys
from infra.redis.queue import new_tag
from infra.redis.scripts import ACKNOWLEDGE, BACKLOG, FORGET, KEEP, RECEIVE, RECLAIM, RELEASE, Scripts
from kernel.delivery import Backlog, Delivery
from kernel.errors import OnewriteError

log = logging.getLogger(f"onewrite.{__name__}")

LONGEST_BLOCK = 1.0
"""Seconds for which the server is asked to wait for a message at a time: as late as a delayed one is found that was
sent meanwhile, and less than the client waits for an answer."""
FAIR = 4
"""One look of so many begins with the messages that are not of high priority."""
LONGEST_INTERVAL = 5.0
"""Seconds between two looks for messages that nobody acknowledged in time; a quarter of the visibility if shorter."""
PRUNE_INTERVAL = 600.0
FORGOTTEN_AFTER = 3600.0
"""Seconds after which a consumer that was not seen and holds nothing is forgotten."""
BOUND = 100
"""How many delayed or overdue messages one look sees to."""
DEAD_KEPT = 10_000
"""How many dead letters are kept: the newest. Each is under 1 KB, and its run is found by the due index anyway."""


class RedisConsumer:
    """Implements ``kernel.delivery.Consumer``. May be shared by threads.

    A look is one script: it moves delayed messages whose time has come to their streams, and reads from both, high
    priority first. If it finds nothing, a blocking read waits for the next message, until the next delayed one is due.
    Acknowledging deletes the entry, so the streams hold what is unread or in hand, and nothing needs to trim them.

    Now and then a look first takes over what was not acknowledged within the visibility, by whomever. That is what
    XAUTOCLAIM does, with the counts that it does not tell: a message that was delivered too often becomes a dead
    letter, in the same step and with the same bytes (``infra.redis.dead_letters``). Times are the server's.

    What a blocking read brings beyond what was asked for goes back at once, to the end of its stream, for anybody.

    A full server still lets consumers do all this, and so make room.

    A delivery that has gone to somebody else meanwhile is left alone by ``release`` and ``keep``.

    Args:
        client: see ``infra.redis.client``. It stays the caller's, who closes it after this.
        prefix: of all keys, as senders have it.
        name: of this consumer, unlike that of any other that is running.
        visibility: seconds, at least 0.001.
        deliveries: after so many without being acknowledged or released a message becomes a dead letter. What is
            released counts from the start.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        client: Client,
        prefix: str,
        name: str,
        *,
        visibility: float,
        deliveries: int = 5,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keys = Keys(prefix)
        self._scripts = Scripts(client, self._keys)
        self._name = name
        self._visibility = visibility
        self._deliveries = deliveries
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._looks = 0
        self._reclaim_at = self._prune_at = -math.inf
        self._closed = threading.Event()

    @property
    def visibility(self) -> float:
        """Seconds for which a message that was received or kept is hidden from others."""
        return self._visibility

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        """Take up to ``most`` messages; wait for up to so many seconds while there is none."""
        end = self._monotonic() + wait
        while most > 0 and not self._closed.is_set():
            found = self._overdue(most)
            if not found:
                found, due_in = self._look(most)
                left = min(end - self._monotonic(), due_in, LONGEST_BLOCK)
                found = found or (self._await(most, left) if left > 0 else [])
            if found and self._closed.is_set():
                self.release(found)
            elif found:
                return found
            elif self._monotonic() >= end:
                break
        return []

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """They are dealt with, and deleted, whoever has them in hand by now."""
        args = [argument for each in deliveries for argument in (self._keys.number(each.source), each.id)]
        if args:
            self._scripts.run(ACKNOWLEDGE, f"acknowledging {len(deliveries)} messages", args)

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give them back undone. They go to the end of their stream, now or after the delay, and count anew.

        What is no poke and has more than 100 fields, or any beside the body when it is to be delayed, stays as it is
        and comes again after the visibility.
        """
        args: list[str | int] = [self._name, math.ceil(delay * 1000)]
        for each in deliveries:
            args += self._keys.number(each.source), each.id, each.count, new_tag()
        if deliveries:
            self._scripts.run(RELEASE, f"giving back {len(deliveries)} messages", args)

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        """They are still in hand: hide them from others for the visibility once more."""
        args: list[str | int] = [self._name]
        for each in deliveries:
            args += self._keys.number(each.source), each.id, each.count
        if deliveries:
            self._scripts.run(KEEP, f"keeping {len(deliveries)} messages", args)

    def backlog(self) -> Backlog:
        """What there is. Exact, but for messages that are overdue: they count as in hand until somebody looks."""
        waiting, in_hand, delayed, dead, oldest = self._scripts.run(BACKLOG, f"counting {self._keys.normal}")
        return Backlog(
            waiting=waiting,
            in_hand=in_hand,
            delayed=delayed,
            dead=dead,
            oldest=max(0, oldest) / 1000,
        )

    def close(self) -> None:
        """Receive no more, and be forgotten if nothing is in hand.

        A call that waits in another thread comes back within a second or so, and gives back what it took meanwhile. If
        Redis fails now, that is logged.
        """
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
        try:
            self._scripts.run(FORGET, f"leaving {self._keys.normal}", [self._name, 0])
        except OnewriteError as error:
            log.warning("consumer %s could not sign off: %s", self._name, error)

    # --- what receiving does, one after the other -----------------------------------------------

    def _overdue(self, most: int) -> list[Delivery]:
        """What nobody acknowledged in time, if it is time to look for that."""
        now = self._monotonic()
        with self._lock:
            reclaims, prunes = now >= self._reclaim_at, now >= self._prune_at
            if reclaims:
                self._reclaim_at = now + min(self._visibility / 4, LONGEST_INTERVAL)
            if prunes:
                self._prune_at = now + PRUNE_INTERVAL
        if prunes:
            self._scripts.run(FORGET, "forgetting consumers that are gone", ["", int(FORGOTTEN_AFTER * 1000)])
        if not reclaims:
            return []
        claimed, dead = self._scripts.run(
            RECLAIM,
            f"taking over from {self._keys.normal}",
            [self._name, most, max(1, math.ceil(self._visibility * 1000)), self._deliveries, BOUND, DEAD_KEPT],
        )
        if len(claimed) == most or len(dead) >= BOUND:  # there may be more
            self._reclaim_at = now
        for each in self._deliveries_of(dead):
            log.warning(
                "message %s of %s is a dead letter: delivered %d times and never acknowledged. It says: %s",
                each.id,
                each.source,
                each.count,
                each.problem or each.poke,
            )
        return list(self._deliveries_of(claimed))

    def _look(self, most: int) -> tuple[list[Delivery], float]:
        """What can be received now, and in how many seconds a delayed message is due."""
        with self._lock:
            self._looks += 1
            first = self._keys.normal if self._looks % FAIR == 0 else self._keys.high
        due_in, *found = self._scripts.run(
            RECEIVE, f"receiving from {self._keys.normal}", [self._name, most, self._keys.number(first), BOUND]
        )
        return list(self._deliveries_of(found)), math.inf if due_in < 0 else due_in / 1000

    def _await(self, most: int, seconds: float) -> list[Delivery]:
        """The next message, if one comes in so many seconds."""
        streams: dict[Any, Any] = {self._keys.high: ">", self._keys.normal: ">"}
        with translated(f"waiting for {self._keys.normal}"):
            try:
                answer = self._client.xreadgroup(
                    GROUP, self._name, streams, count=1, block=max(1, math.ceil(seconds * 1000))
                )
            except ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    raise
                return []  # the server lost its data meanwhile: the next look makes the group again
        found = list(self._deliveries_of(_entries(answer, self._keys)))
        self.release(found[most:])
        return found[:most]

    # --- deliveries -----------------------------------------------------------------------------

    def _deliveries_of(self, entries: Iterable[Any]) -> Iterator[Delivery]:
        """Deliveries for what scripts return of entries: number of the stream, id, count, fields."""
        for number, id_, count, fields in entries:
            about = {"id": id_.decode(), "source": self._keys.stream(number), "count": count}
            try:
                yield Delivery(poke=parse(_body(fields)), **about)
            except ForeignMessage as problem:
                yield Delivery(poke=None, problem=str(problem), **about)


def _body(fields: Sequence[bytes]) -> str:
    if BODY not in fields[::2]:
        raise ForeignMessage(f"not a poke: the entry has no field {BODY.decode()!r}")
    try:
        return fields[fields[::2].index(BODY) * 2 + 1].decode()
    except UnicodeDecodeError as error:
        raise ForeignMessage(f"not a poke: {error}") from error


def _entries(answer: Any, keys: Keys) -> Iterator[tuple[int, bytes, int, list[bytes]]]:  # noqa: ANN401 - redis-py's answer
    """What a blocking read brought, in the form that scripts have it."""
    for stream, entries in answer or ():
        for id_, fields in entries:
            yield keys.number(stream.decode()), id_, 1, [part for pair in fields.items() for part in pair]

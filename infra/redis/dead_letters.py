"""Dead letters of Redis Streams: to look at, to put back as they were, to throw away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from infra.redis.client import Client
from infra.redis.failures import translated
from infra.redis.keys import BODY, Keys
from infra.redis.scripts import ABOUT, LETTERS, REPLAY, Scripts
from kernel.errors import InvalidInput, NotFound

BATCH = 100
"""Letters per step."""
_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that was delivered too often without being acknowledged.

    Of one that is none of ours, with more than 100 fields, only the first 100 are kept (``infra.redis.scripts.WIDEST``
    counts fields and values).

    Attributes:
        id: of the dead letter; they sort by time.
        body: the message's bytes, as they were sent; None if it was none of ours and had no body there.
        source: the stream that it came from, and that it goes back to.
        message: the id that it had there.
        deliveries: how often it was delivered.
        at: when it was given up, in milliseconds, by the server's clock.
    """

    id: str
    body: bytes | None
    source: str
    message: str
    deliveries: int
    at: int


class DeadLetters:
    """The dead letters of one transport. Only the newest are kept (``infra.redis.consumer.DEAD_KEPT``).

    All methods raise ``Unavailable`` or ``Missing`` when Redis fails, ``InvalidInput`` for an id that cannot be one.

    Args:
        client: see ``infra.redis.client``.
        prefix: of all keys, as senders and consumers have it.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._keys = Keys(prefix)
        self._scripts = Scripts(client, self._keys)

    def count(self) -> int:
        """How many there are."""
        with translated(f"counting {self._keys.dead}"):
            return int(self._client.xlen(self._keys.dead))

    def list(self, limit: int = 50, *, before: str = "", after: str = "") -> Sequence[DeadLetter]:
        """The newest ``limit`` of them, newest first; or of those before one, after one, or between two."""
        low = f"({_checked(after)}" if after else "-"
        high = f"({_checked(before)}" if before else "+"
        return self._read(high, low, limit)

    def view(self, id_: str) -> DeadLetter:
        """One of them.

        Raises:
            NotFound: it is not there, or not any more.
        """
        for letter in self._read(_checked(id_), id_, 1):
            return letter
        raise NotFound(f"there is no dead letter {id_} in {self._keys.dead}")

    def _read(self, high: str, low: str, limit: int) -> Sequence[DeadLetter]:
        return [
            _letter(*entry) for entry in self._scripts.run(LETTERS, f"reading {self._keys.dead}", [high, low, limit])
        ]

    def replay(self, ids: Sequence[str] | None = None, *, most: int = 10_000) -> Sequence[str]:
        """Put them back at the end of the streams that they came from, byte for byte, to be delivered anew.

        Each is put back and removed in one step.

        Args:
            ids: which; None for all that are there now, oldest first.
            most: how many at most.

        Returns:
            The ids of those that were put back: without those that are not there.
        """
        doing = f"replaying {self._keys.dead}"
        done: list[str] = []
        if ids is not None:
            chosen = [_checked(id_) for id_ in dict.fromkeys(ids)][:most]
            for start in range(0, len(chosen), BATCH):
                done += _texts(self._scripts.run(REPLAY, doing, ["ids", *chosen[start : start + BATCH]]))
            return done
        newest = self.list(1)  # those that die while this goes on are left for another time
        while newest and len(done) < most:
            step = _texts(self._scripts.run(REPLAY, doing, ["until", newest[0].id, min(BATCH, most - len(done))]))
            if not step:
                break
            done += step
        return done

    def purge(self, ids: Sequence[str] | None = None) -> int:
        """Throw them away.

        Args:
            ids: which; None for all.

        Returns:
            How many there were.
        """
        with translated(f"purging {self._keys.dead}"):
            if ids is None:
                return int(self._client.xtrim(self._keys.dead, maxlen=0, approximate=False))
            chosen = [_checked(id_) for id_ in ids]
            return int(self._client.xdel(self._keys.dead, *chosen)) if chosen else 0


def _letter(id_: bytes, fields: Sequence[bytes]) -> DeadLetter:
    source, message, deliveries, at = fields[1:ABOUT:2]
    names, values = fields[ABOUT::2], fields[ABOUT + 1 :: 2]
    return DeadLetter(
        id=id_.decode(),
        body=values[names.index(BODY)] if BODY in names else None,
        source=source.decode(),
        message=message.decode(),
        deliveries=int(deliveries),
        at=int(at),
    )


def _checked(id_: str) -> str:
    if _ID.fullmatch(id_) is None:
        raise InvalidInput(f"{id_!r} is no id of a dead letter: they look like 1767225600000-0")
    return id_


def _texts(ids: Any) -> list[str]:  # noqa: ANN401 - a script's answer
    return [id_.decode() for id_ in ids]

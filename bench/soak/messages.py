"""Whose messages lie in Redis: read beside the workers, to say what a kill or a loss of data hits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from infra.pokes import ForeignMessage, parse
from infra.redis.keys import BODY, GROUP, Keys
from infra.redis.scripts import TAG

SECONDS = 1.0
"""How long Redis may take to answer; it is often away."""
MANY = 10_000


class Messages:
    """What a transport's Redis holds. A context manager. Where Redis is away, it holds nothing.

    Args:
        url: of the server.
        prefix: of the transport's keys.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=Retry(NoBackoff(), 1), protocol=2
        )
        keys = Keys(prefix)
        self._streams, self._delayed = (keys.high, keys.normal), (keys.delayed_high, keys.delayed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.close()

    def unattended(self) -> list[str]:
        """Ids of the runs of messages that nobody has in hand: unread, or delayed. One per message."""
        try:
            return [run for body in self._unattended() if (run := _run_of(body))]
        except RedisError:
            return []

    def held_by(self, pid: int) -> tuple[str, ...]:
        """Ids of the runs whose messages a worker process has in hand, or had when it died."""
        try:
            return tuple({run for body in self._held(f"-{pid}-") if (run := _run_of(body))})
        except RedisError:
            return ()

    def flush(self) -> None:
        """Delete everything.

        Raises:
            RedisError: Redis is away.
        """
        self._redis.flushall()

    def _unattended(self) -> Iterator[bytes]:
        for stream in self._streams:
            entries: Any = self._redis.xrange(stream, count=MANY)
            in_hand = {each["message_id"] for each in self._pending(stream)}
            yield from (fields.get(BODY, b"") for id_, fields in entries if id_ not in in_hand)
        for delayed in self._delayed:
            members: Any = self._redis.zrange(delayed, 0, -1)
            yield from (member[TAG:] for member in members)

    def _held(self, part: str) -> Iterator[bytes]:
        """Bodies of what consumers have in hand whose names have this part."""
        for stream in self._streams:
            for each in self._pending(stream):
                if part in each["consumer"].decode():
                    entries: Any = self._redis.xrange(stream, each["message_id"], each["message_id"])
                    yield from (fields.get(BODY, b"") for _, fields in entries)

    def _pending(self, stream: str) -> Any:  # noqa: ANN401 - redis-py's answer
        """What consumers have in hand. Nothing, where none has been since Redis lost its data."""
        try:
            return self._redis.xpending_range(stream, GROUP, "-", "+", MANY)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            return []


def _run_of(body: bytes) -> str:
    """The run that a message is about; empty if it is none of ours."""
    try:
        return parse(body.decode()).run
    except (ForeignMessage, UnicodeDecodeError):
        return ""

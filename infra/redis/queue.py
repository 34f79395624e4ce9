"""Pokes over Redis Streams: how they are sent."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence

from infra.pokes import encode
from infra.redis.client import Client
from infra.redis.keys import Keys
from infra.redis.scripts import SEND, TAG, Scripts
from kernel.errors import Missing, OnewriteError
from kernel.ports import MAX_DELAY, Poke

log = logging.getLogger(f"onewrite.{__name__}")

BATCH = 500
"""Messages per call: a script keeps everybody else waiting while it runs, some milliseconds for these."""


class RedisQueue:
    """Implements ``kernel.ports.Queue``. May be shared by threads.

    A poke becomes an entry of a stream, with its JSON text in the field ``m``; one with a delay waits in a sorted set,
    by the server's clock, until a consumer looks. Streams are not trimmed: consumers delete what is done.

    Args:
        client: see ``infra.redis.client``. Its time-outs are how long sending may take.
        prefix: of all keys, as consumers have it.
    """

    def __init__(self, client: Client, prefix: str) -> None:
        self._keys = Keys(prefix)
        self._scripts = Scripts(client, self._keys)

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Send each poke with a delay in seconds.

        Pokes that fail, after the client's retries, are logged and dropped: the due index finds their runs. Those of
        which only the answer was lost may be sent twice.

        Raises:
            Missing: the server does not let us in, or not do that.
        """
        for start in range(0, len(pokes), BATCH):
            chosen = pokes[start : start + BATCH]
            try:
                self._scripts.run(SEND, f"sending {len(chosen)} pokes to {self._keys.normal}", self._messages(chosen))
            except Missing:
                raise
            except OnewriteError as error:
                log.warning("%d pokes not sent, left to the due index: %s", len(chosen), error)

    def _messages(self, pokes: Sequence[tuple[Poke, int]]) -> list[str | int]:
        """The arguments of ``SEND``."""
        return [
            argument
            for poke, delay in pokes
            for argument in (
                self._keys.which(poke.priority),
                max(0, min(delay, MAX_DELAY)) * 1000,
                new_tag() if delay > 0 else "",
                encode(poke),
            )
        ]


def new_tag() -> str:
    """What no other delayed message begins with."""
    return secrets.token_hex(TAG // 2)

"""What tests look at in a transport over Redis."""

from __future__ import annotations

from typing import Any

import pytest

from infra.redis.client import Client
from infra.redis.keys import GROUP, Keys


def called(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that a client sends from now on."""
    calls: list[str] = []
    execute = client.execute_command

    def record(*args: Any, **options: Any) -> Any:
        calls.append(args[0])
        return execute(*args, **options)

    monkeypatch.setattr(client, "execute_command", record)
    return calls


def held(client: Any, prefix: str) -> int:
    """How many entries both streams hold: what is unread or in hand."""
    return sum(client.xlen(stream) for stream in streams(prefix))


def pending(client: Any, prefix: str) -> int:
    """How many messages are in somebody's hand."""
    return sum(client.xpending(stream, GROUP)["pending"] for stream in streams(prefix) if client.exists(stream))


def names(client: Any, prefix: str) -> set[str]:
    """The consumers that Redis knows of."""
    return {
        each["name"].decode()
        for stream in streams(prefix)
        if client.exists(stream)
        for each in client.xinfo_consumers(stream, GROUP)
    }


def streams(prefix: str) -> tuple[str, str]:
    """Both streams."""
    return Keys(prefix).normal, Keys(prefix).high


class Clock:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

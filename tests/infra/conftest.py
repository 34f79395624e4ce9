"""Clients of a Redis, for the tests of its adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hosts.engines.redis_server import RedisServer
from infra.redis.client import Client, connect
from kernel.testing.conformance.examples import fresh_token


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Client]:
    """A client of it."""
    with connect(redis_server.url) as client:
        yield client


@pytest.fixture
def own_server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server that the test may kill, flush or set up otherwise."""
    with RedisServer.start() as engine:
        yield engine


@pytest.fixture
def own_client(own_server: RedisServer) -> Iterator[Client]:
    """A client of that."""
    with connect(own_server.url, read_seconds=1.5) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    """Of keys that nobody has used."""
    return fresh_token()

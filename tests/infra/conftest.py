"""A Redis for the tests of its adapters, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hosts.engines import EngineMissing
from hosts.engines.redis_server import RedisServer
from infra.redis.client import Client, connect
from kernel.testing.conformance.examples import fresh_token
from tests.conftest import absent


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A server for tests that leave it as they found it: each has keys of its own."""
    try:
        engine = RedisServer.start()
    except EngineMissing as error:
        absent("Redis", error)
    with engine:
        yield engine


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

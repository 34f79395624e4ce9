"""A site for worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hosts.engines.redis_server import RedisServer
from infra.clients import Clients
from tests.conformance.conftest import dynamodb_local
from tests.workers.site import Site

__all__ = ["dynamodb_local"]


@pytest.fixture
def site(dynamodb_local: Clients, redis_server: RedisServer, tmp_path: Path) -> Iterator[Site]:
    """A deployment of its own."""
    with Site(dynamodb_local, redis_server, tmp_path).open() as site:
        yield site

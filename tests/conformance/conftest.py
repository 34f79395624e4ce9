"""The engines that the adapters are tested on, one of each per session, and clients for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hosts.engines import EngineMissing
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

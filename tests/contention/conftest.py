"""One DynamoDB Local with a table, and the processes that contend on it, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.clients import Clients
from infra.dynamodb.store import DynamoDbStore
from infra.dynamodb.table import create_table
from tests.conformance.conftest import dynamodb_local
from tests.contention.crew import TABLE, Crew

__all__ = ["dynamodb_local"]


@pytest.fixture(scope="session")
def store(dynamodb_local: Clients) -> DynamoDbStore:
    create_table(dynamodb_local.dynamodb, TABLE)
    return DynamoDbStore(dynamodb_local.dynamodb, TABLE)


@pytest.fixture(scope="session")
def effects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stages keep what they did."""
    return tmp_path_factory.mktemp("effects")


@pytest.fixture(scope="session")
def crew(dynamodb_local: Clients, store: DynamoDbStore, effects: Path) -> Iterator[Crew]:
    with Crew(dynamodb_local.dynamodb.meta.endpoint_url, effects) as crew:
        yield crew

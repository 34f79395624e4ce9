"""An embedded moto that lives as long as the tests of this folder, and a function that is called directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hosts.engines import aws_environment
from infra.clients import Clients


class Fake:
    """Stands for a function: keeps the events it gets, answers what it is told to."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any] = lambda _event: None) -> None:
        self.events: list[dict[str, Any]] = []
        self.answer = answer

    def invoke(self, event: dict[str, Any]) -> Any:
        self.events.append(event)
        return self.answer(event)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    from hosts.engines.embedded_moto import EmbeddedMoto  # noqa: PLC0415 - takes a second to import

    with EmbeddedMoto.start() as engine:
        yield engine.endpoint_url


@pytest.fixture(scope="session")
def clients(endpoint: str) -> Iterator[Clients]:
    with Clients(endpoint=endpoint) as clients:
        yield clients


@pytest.fixture
def moto(endpoint: str, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> Clients:
    """Clients of it; whatever is composed from the environment reaches it too."""
    for name, value in aws_environment(endpoint).items():
        monkeypatch.setenv(name, value)
    region = clients.sqs.meta.region_name
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    return clients

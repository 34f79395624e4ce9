"""A deployment in memory, and clients that call it through both formats of API Gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.handlers.aws import Client, Shape, http_event, rest_event
from tests.handlers.shop import Deployment, shop_is_repaired


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


@pytest.fixture(params=[http_event, rest_event], ids=["format-2.0", "format-1.0"])
def shape(request: pytest.FixtureRequest) -> Shape:
    shape: Shape = request.param
    return shape


@pytest.fixture
def client(deployment: Deployment, shape: Shape) -> Client:
    return Client(deployment.intake, shape)


@pytest.fixture(autouse=True)
def _nothing_repaired() -> Iterator[None]:
    shop_is_repaired[0] = False
    yield
    shop_is_repaired[0] = False

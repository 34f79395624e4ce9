"""What all tests share: a world without effects, and the guard that ``GUARD`` names switched off."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kernel.ports import Guard
from tests.guards import switched_off
from tests.shell.flows import world


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    """Each test starts in a world in which no stage has done anything."""
    world.clear()


@pytest.fixture(autouse=True)
def _guard_off() -> Iterator[None]:
    """``GUARD=<name> make test-guards`` must fail: that is how a guard shows that it is needed."""
    name = os.environ.get("GUARD")
    if not name:
        yield
        return
    with switched_off(Guard(name)):
        yield

"""What all tests share: a world without effects, and the guard that ``GUARD`` names switched off."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kernel.ports import Guard
from tests.guards import switched_off
from tests.shell.flows import world

NOT_RUN = "DynamoDB Local did NOT run"
"""How a test that needed the engine says so when it is skipped."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that a store's contract has for each guard are part of ``make test-guards``."""
    for item in items:
        if item.name.startswith("test_guard_"):
            item.add_marker(pytest.mark.guards)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more at the end, in red, that an engine was missing."""
    skipped = terminalreporter.stats.get("skipped", [])
    missing = [report for report in skipped if NOT_RUN in str(report.longrepr)]
    if missing:
        terminalreporter.write_sep("!", f"{NOT_RUN}: {len(missing)} tests are missing from this run", red=True)


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

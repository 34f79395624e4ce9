"""The gallery's marker, which tells a failing test's reader what happens after all, and the fixtures it shares."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.conformance.conftest import dynamodb_local
from tests.shell.conftest import script

__all__ = ["dynamodb_local", "script"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "trap(entry): an entry of the failure gallery (`python -m tests.gallery`)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say with a failure what it means."""
    report = yield
    marker = item.get_closest_marker("trap")
    if marker is not None and report.failed:
        entry = marker.args[0]
        report.sections.append(("what can happen here after all", f"{entry.source}: {entry.text}"))
    return report

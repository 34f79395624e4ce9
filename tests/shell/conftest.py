"""What the shell's tests share: a fresh script of stages."""

from __future__ import annotations

import pytest

from tests.shell.script import Script


@pytest.fixture
def script() -> Script:
    """Makes stages that a test writes, and keeps what was called."""
    return Script()

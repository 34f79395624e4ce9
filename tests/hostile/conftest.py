"""How much hostile input the tests of this folder try, always the same; and the count of it for the proof's table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.hostile.attack import PROFILE, TRIED
from tests.proof import share, tell

settings.register_profile(
    PROFILE,
    max_examples=share(300, 2_000),
    derandomize=True,
    database=None,
    deadline=None,  # how long an example takes is the machine's business
    # Damaged input is often far larger than a plain example, and what is filtered out is damaged too little.
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    """Tell how many examples a test has tried."""
    TRIED.clear()
    yield
    if TRIED:
        tell("hostile", examples=TRIED.total())

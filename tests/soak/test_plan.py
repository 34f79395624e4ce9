"""What makes a soak good: nothing is found, and there was enough of everything."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.soak.account import Finding
from bench.soak.plan import Figures, Plan, Result
from bench.soak.recovery import Times

PLAN = Plan(least_runs=20, least_kills=5, least_meddled=3)
ENOUGH: dict[str, Any] = {
    "runs": 20,
    "kills": {"job": 4, "tick": 1},
    "messages_lost": 3,
    "messages_doubled": 3,
    "recovery_of_runs": Times.of([]),
    "recovery_of_stages": Times.of([]),
}


def result(*findings: Finding, **changes: Any) -> Result:
    given = dict.fromkeys(Figures.__struct_fields__, 0) | ENOUGH | changes
    return Result(PLAN, msgspec.convert(given, Figures), findings)


def test_a_soak_is_good_that_came_to_enough_and_found_nothing() -> None:
    assert result().good


def test_a_soak_that_found_something_is_not() -> None:
    found = result(Finding("lost", "r", "it is gone"))

    assert found.enough
    assert not found.good


@pytest.mark.parametrize(
    "changes",
    [{"runs": 19}, {"kills": {"job": 4}}, {"messages_lost": 2}, {"messages_doubled": 2}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_soak_that_came_to_less_is_not(changes: dict[str, Any]) -> None:
    assert not result(**changes).good

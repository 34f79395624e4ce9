"""A retry policy refuses what makes no sense, and becomes the kernel's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kernel.core.definition import RetryPolicy
from onewrite import DefinitionError, Retry

Loose: Any = Retry  # as one writes who runs no type checker


def test_a_policy_becomes_the_kernels_in_milliseconds() -> None:
    retry = Retry(5, first=timedelta(seconds=2), factor=3, cap=timedelta(minutes=1), jitter=0)

    assert retry.policy() == RetryPolicy(attempts=5, first=2_000, factor=3, cap=60_000, jitter=0)


def test_a_policy_that_only_says_how_often_waits_a_second_then_twice_as_long_up_to_five_minutes() -> None:
    assert Retry(3).policy() == RetryPolicy(attempts=3, first=1_000, factor=2, cap=300_000, jitter=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": 0}, "attempts is 0: give a whole number from 1; 1 is no retry"),
        ({"attempts": True}, "attempts is True: give a whole number from 1"),
        ({"attempts": 2.5}, "attempts is 2.5: give a whole number from 1"),
        ({"attempts": 3, "first": 5}, "first is 5: give a datetime.timedelta"),
        ({"attempts": 3, "first": timedelta(seconds=-1)}, "first is -1 day, 23:59:59: give at least 0:00:00"),
        ({"attempts": 3, "cap": timedelta(0)}, "cap is 0:00:00: give at least 0:00:01"),
        ({"attempts": 3, "factor": 0.5}, "factor is 0.5: give 1 (constant delay) or more"),
        ({"attempts": 3, "factor": float("nan")}, "factor is nan: give 1"),
        ({"attempts": 3, "jitter": 2}, "jitter is 2: give a fraction of the delay, 0 to 1"),
        ({"attempts": 3, "on": ValueError}, "on is <class 'ValueError'>: give a tuple of exception classes"),
        ({"attempts": 3, "give_up_on": (3,)}, "give_up_on is (3,): give a tuple of exception classes"),
    ],
    ids=lambda value: next(iter(reversed(value))) + str(list(value.values())[-1]) if isinstance(value, dict) else "",
)
def test_a_policy_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError) as refusal:
        Loose(**arguments)

    assert str(refusal.value).startswith(f"Retry: {message}")

"""When a failed stage is tried again: exponential or constant, capped, jittered by a roll that is given."""

from __future__ import annotations

import pytest

from kernel.core.definition import RetryPolicy


def delays(policy: RetryPolicy, count: int, roll: float = 0.0) -> list[int]:
    """The first delays."""
    return [policy.delay(failed, roll) for failed in range(1, count + 1)]


def test_each_delay_is_the_one_before_times_the_factor() -> None:
    assert delays(RetryPolicy(first=1_000, factor=2.0, jitter=0.0), 5) == [1_000, 2_000, 4_000, 8_000, 16_000]


def test_a_factor_of_one_is_a_constant_delay() -> None:
    assert delays(RetryPolicy(first=700, factor=1.0, jitter=0.0), 3) == [700, 700, 700]


def test_no_delay_is_longer_than_the_cap() -> None:
    assert delays(RetryPolicy(first=1_000, factor=10.0, cap=50_000, jitter=0.0), 4) == [1_000, 10_000, 50_000, 50_000]


def test_a_first_delay_of_nothing_stays_nothing() -> None:
    assert delays(RetryPolicy(first=0, jitter=0.5), 3, roll=0.9) == [0, 0, 0]


@pytest.mark.parametrize("failed", [64, 65, 1_000, 10**6])
def test_any_number_of_failures_comes_to_the_cap(failed: int) -> None:
    assert RetryPolicy(first=1_000, factor=3.0, cap=90_000, jitter=0.0).delay(failed, 0.0) == 90_000


def test_a_large_factor_does_not_overflow() -> None:
    assert RetryPolicy(factor=100_000.0, cap=60_000, jitter=0.0).delay(64, 0.0) == 60_000


def test_jitter_takes_away_at_most_its_fraction_by_the_roll() -> None:
    policy = RetryPolicy(first=10_000, factor=1.0, jitter=0.4)
    assert [policy.delay(1, roll) for roll in (0.0, 0.5, 0.999_999)] == [10_000, 8_000, 6_000]


def test_jitter_is_taken_from_the_capped_delay() -> None:
    assert RetryPolicy(first=10_000, factor=10.0, cap=20_000, jitter=0.5).delay(5, 0.5) == 15_000


def test_the_same_roll_gives_the_same_delay() -> None:
    policy = RetryPolicy()
    assert delays(policy, 10, 0.37) == delays(policy, 10, 0.37)

"""The machine's time and chance."""

from __future__ import annotations

import re
import time

from infra.system import SystemClock, SystemRandom


def test_the_clock_gives_milliseconds_and_a_time_that_never_goes_back() -> None:
    clock = SystemClock()

    assert abs(clock.now() - time.time() * 1000) < 1000
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_tokens_have_their_form_and_never_repeat() -> None:
    tokens = {SystemRandom().token() for _ in range(10_000)}

    assert len(tokens) == 10_000
    assert all(re.fullmatch(r"[0-9a-f]{24}", token) for token in tokens)
    # Every place takes every digit: no part of a token is a clock or a counter.
    assert [len(set(place)) for place in zip(*tokens, strict=True)] == [16] * 24


def test_rolls_are_spread_over_their_range() -> None:
    rolls = [SystemRandom().roll() for _ in range(10_000)]

    assert all(0 <= roll < 1 for roll in rolls)
    assert min(rolls) < 0.01
    assert max(rolls) > 0.99
    assert 0.48 < sum(rolls) / len(rolls) < 0.52


def test_secrets_are_192_bits_and_never_the_same() -> None:
    drawn = {SystemRandom().secret() for _ in range(1000)}

    assert len(drawn) == 1000
    assert all(len(secret) == 48 and set(secret) <= set("0123456789abcdef") for secret in drawn)

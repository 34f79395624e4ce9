"""Each guard, taken away, is missed: the invariant that it is there for breaks, and the watch says so by name."""

from __future__ import annotations

import pytest

from bench.histories import play
from kernel.ports import Guard
from kernel.testing.simulator.breaks import ALIASES, BREAKS, find
from tests.simulator.guards import BY_SEED


@pytest.mark.parametrize("name", BREAKS)
def test_without_the_guard_its_invariant_breaks(name: str) -> None:
    guard, seed = BY_SEED[name]

    with guard.without():
        broken = play(seed)
    kept = play(seed)

    assert broken.invariant in guard.invariants, f"python -m bench.simulate --break {name} finds another seed"
    assert not kept.invariant


def test_every_condition_of_a_write_can_be_taken_away() -> None:
    assert {guard.value for guard in Guard} <= set(BREAKS)


def test_guards_are_found_by_all_their_names() -> None:
    for alias, name in ALIASES.items():
        assert find(alias) is BREAKS[name]
    assert find("nothing") is None

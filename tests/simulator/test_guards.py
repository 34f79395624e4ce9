"""Each guard, taken away, is missed: the invariant that it is there for breaks, and the watch says so by name."""

from __future__ import annotations

import pytest

from bench.histories import play
from kernel.core.decide import decide
from kernel.ports import Guard
from kernel.testing.simulator.breaks import ALIASES, BREAKS, find
from kernel.testing.simulator.breaks.taking import edited
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


def test_a_guard_stands_for_one_invariant_or_two() -> None:
    assert {name for name, guard in BREAKS.items() if not 1 <= len(guard.invariants) <= 2} == set()


def test_what_is_taken_out_of_a_function_is_back_afterwards() -> None:
    whole = decide.__code__

    with edited(("kernel.core.decide:decide", "return Decision(draft.events, draft.state, draft.data)", "return None")):
        assert decide.__code__ is not whole

    assert decide.__code__ is whole


def test_a_guard_that_is_no_longer_where_it_was_is_missed() -> None:
    elsewhere = edited(("kernel.core.decide:decide", "a condition", "True"))

    with pytest.raises(LookupError, match="decide has not one 'a condition'"), elsewhere:
        pass

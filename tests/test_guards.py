"""``make test-guards``: a test that fails without its guard has done its work; that none does is the error."""

from __future__ import annotations

import argparse

import pytest

from kernel.ports import Guard
from kernel.testing.simulator.breaks import ALIASES
from tests.guards import Notices, guard_named, listing, verdict

OFF = Guard.STATUS_AS_SEEN


def told(*, noticed: int = 0, held: int = 1, broken: int = 0, status: int = 1) -> tuple[str, int]:
    notices = Notices()
    notices.noticed, notices.broken, notices.held = ["test_a"] * noticed, ["test_b"] * broken, held
    return verdict(OFF, notices, status)


def test_it_is_well_when_tests_notice() -> None:
    text, status = told(noticed=2)

    assert text.splitlines() == ["  test_a", "  test_a", "", "✓ 2 tests noticed that status-as-seen is off"]
    assert status == 0


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"status": 0}, "no test noticed that status-as-seen is off"),
        ({"noticed": 5, "held": 0}, "something else is wrong"),
        ({"noticed": 5, "broken": 1}, "could not be run: test_b"),
        ({"held": 0, "status": 2}, "could not be run"),
    ],
    ids=["nobody-notices", "everything-fails", "a-fixture-is-broken", "nothing-can-be-collected"],
)
def test_it_is_not_well_otherwise(given: dict[str, int], why: str) -> None:
    text, status = told(**given)

    assert text.startswith("✗")
    assert why in text
    assert status != 0


def test_a_guard_goes_by_every_name_that_the_simulator_knows() -> None:
    assert guard_named(OFF.value) is OFF
    assert {guard_named(alias).value for alias in ALIASES} == set(ALIASES.values())


@pytest.mark.parametrize(("name", "why"), [("nonsense", "there is no guard"), ("attempt-fence", "bench.simulate")])
def test_what_is_no_condition_of_a_write_is_refused(name: str, why: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=why):
        guard_named(name)


def test_the_list_explains_every_guard_in_a_sentence() -> None:
    lines = list(listing())

    assert [line.split()[0] for line in lines] == [guard.value for guard in Guard]
    assert all("." in line and len(line) > 40 for line in lines)

"""The people who make mistakes are right about what is one: each case is refused or accepted as it says."""

from __future__ import annotations

import pytest

from kernel.errors import DefinitionError
from kernel.testing.simulator.chance import Chance
from kernel.testing.simulator.mistakes import CASES, Case, blunder
from tests.proof import share

VARIANTS = share(bounded=8, full=400)
"""How often each case is tried, each time with something else."""


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_refused_by_name_or_works(name: str) -> None:
    said = [CASES[name].run(Chance(seed, name)) for seed in range(VARIANTS)]

    assert not any(said), next(filter(None, said))


def test_a_blunder_is_one_of_the_cases_and_the_same_for_the_same_chance() -> None:
    assert [blunder(Chance(seed)) for seed in range(50)] == [None] * 50
    assert blunder(Chance(0, "x")) == blunder(Chance(0, "x"))


def _nobody(_given: object) -> object:
    return None


def _throwing(_given: object) -> object:
    raise DefinitionError("the receipt does not fit")


@pytest.mark.parametrize(
    ("attempt", "error", "says", "said"),
    [
        (_nobody, DefinitionError, "receipt", "'parcel' is accepted"),
        (_nobody, None, "", "'parcel' is accepted, but does not work"),
        (_throwing, DefinitionError, "{0}", "the answer to 'parcel' lacks 'parcel': the receipt does not fit"),
        (_throwing, ValueError, "receipt", "'parcel' is answered with DefinitionError('the receipt does not fit')"),
        (_throwing, None, "", "'parcel' is answered with DefinitionError('the receipt does not fit')"),
        (_throwing, DefinitionError, "receipt", None),
    ],
    ids=["accepted", "useless", "not named", "another error", "refused", "as it must be"],
)
def test_what_is_not_as_it_must_be_is_told(
    attempt: object, error: type[Exception] | None, says: str, said: str | None
) -> None:
    case = Case(lambda _chance: "parcel", attempt, error, says)  # type: ignore[arg-type]  # functions, by their ids

    assert case.run(Chance(0)) == said

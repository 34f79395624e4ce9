"""``simulate`` for users: its verdicts are true of their own world, and it does not pass without having looked."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel

from onewrite import Context, DefinitionError, InvalidInput, Workflow, stage
from onewrite.testing import simulate

POSTED: list[str] = []
"""Stands for the outside world: the letters that were posted, by key."""


class Letter(BaseModel):
    """What a run is started with."""

    text: str = ""


class Options(BaseModel):
    """A configuration that has to be given."""

    colour: str


@stage
def post_once(ctx: Context, letter: Letter) -> str:
    if ctx.key not in POSTED:
        POSTED.append(ctx.key)
    return ctx.key


@stage
def post_blindly(ctx: Context, letter: Letter) -> str:
    POSTED.append(ctx.key)
    return ctx.key


@stage
def post_first(ctx: Context, letter: Letter) -> str:
    assert not POSTED, "somebody was here before"
    POSTED.append(ctx.key)
    return ctx.key


@stage
def colour(ctx: Context[Options], letter: Letter) -> str:
    return ctx.config.colour


careful = Workflow("careful", input=Letter).then(post_once)
careless = Workflow("careless", input=Letter).then(post_blindly)
first_of_all = Workflow("first-of-all", input=Letter).then(post_first)


def nothing_is_posted_twice() -> None:
    assert len(POSTED) == len(set(POSTED)), "posted twice"


@pytest.fixture(autouse=True)
def _nothing_posted() -> None:
    POSTED.clear()


def any_(wrong: object) -> Any:
    """What no type checker lets through, and who has none writes all the same."""
    return wrong


# --- a world of ones own ------------------------------------------------------------------------------------------


def test_the_world_is_made_fresh_before_every_history() -> None:
    left: list[int] = []

    def fresh() -> None:
        left.append(len(POSTED))
        POSTED.clear()

    simulate((careful, Letter()), histories=10, fresh=fresh)

    assert len(left) == 10
    assert sum(left) >= 9


def test_what_an_earlier_history_left_behind_is_not_taken_for_a_fault() -> None:
    """A stage that throws where one is before it: in a world that is fresh each time, only a second attempt is."""
    with pytest.raises(AssertionError, match="what-stages-assert: post_first: somebody was here before") as caught:
        simulate((first_of_all, Letter()), histories=50, fresh=POSTED.clear)

    faults, *_ = re.findall(r"^with (.*):$", str(caught.value), re.MULTILINE)
    assert faults


def test_a_world_that_is_not_made_fresh_is_named_as_a_cause_where_no_fault_is_one() -> None:
    POSTED.append("of another test")

    with pytest.raises(AssertionError, match="or by what earlier histories have left behind"):
        simulate((first_of_all, Letter()), histories=50)


def test_what_does_not_break_again_is_told_as_that() -> None:
    broken: list[int] = []

    def once() -> None:
        broken.append(1)
        assert len(broken) > 1, "the first time is always bad"

    with pytest.raises(AssertionError, match=r"seed 4: .*always bad\n(.+\n)*but not when it is played again"):
        simulate((careful, Letter()), histories=1, first=4, fresh=POSTED.clear, check=once)


# --- a check at the end -------------------------------------------------------------------------------------------


def test_a_check_that_holds_is_made_at_the_end_of_every_history() -> None:
    seen: list[int] = []

    def check() -> None:
        nothing_is_posted_twice()
        seen.append(len(POSTED))

    simulate((careful, Letter()), histories=10, fresh=POSTED.clear, check=check)

    assert len(seen) == 10
    assert any(seen)


def test_a_check_that_does_not_hold_is_told_with_its_seed_its_faults_and_a_trace() -> None:
    with pytest.raises(AssertionError) as caught:
        simulate((careless, Letter()), histories=50, fresh=POSTED.clear, check=nothing_is_posted_twice)

    found = re.fullmatch(
        r"seed (?P<seed>\d+): what-the-check-asserts: posted twice\n(?:.+\n)*?"
        r"with (?P<faults>.+):\n"
        r"(?P<trace>(?:.+\n)+)"
        r"at the end   <- BREAKS what-the-check-asserts",
        str(caught.value),
    )
    assert found
    assert found["faults"] != "no faults"
    assert len(found["faults"].split(", ")) < 10
    assert "dies: " in found["trace"] or "lease" in found["trace"]

    with pytest.raises(AssertionError, match=f"seed {found['seed']}: what-the-check-asserts: posted twice"):
        simulate(
            (careless, Letter()),
            histories=1,
            first=int(found["seed"]),
            fresh=POSTED.clear,
            check=nothing_is_posted_twice,
        )


def test_a_check_that_says_false_does_not_hold_either() -> None:
    with pytest.raises(AssertionError, match="what-the-check-asserts: it is False"):
        simulate((careful, Letter()), histories=1, fresh=POSTED.clear, check=lambda: len(POSTED) > 1_000)


def test_the_world_is_fresh_before_each_attempt_at_shrinking() -> None:
    """Else a check fails for good once it has failed, and every fault seems to be one that does not matter."""
    with pytest.raises(AssertionError, match="what-the-check-asserts") as caught:
        simulate((careless, Letter()), histories=50, fresh=POSTED.clear, check=nothing_is_posted_twice)

    assert "with no faults" not in str(caught.value)


# --- nothing passes that was not looked at -------------------------------------------------------------------------


@pytest.mark.parametrize("histories", [0, -1])
def test_no_histories_are_no_test(histories: int) -> None:
    with pytest.raises(ValueError, match=f"histories must be at least 1, not {histories}"):
        simulate((careful, Letter()), histories=histories)


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ((careful, {"text": 1}), r"input\.text"),
        ((careful, Letter(text="x" * 8_000)), "too large: at most 8000"),
        ((Workflow("coloured", input=Letter).then(colour), Letter()), "colour"),
    ],
    ids=["does not fit", "too large", "wants a configuration"],
)
def test_a_run_that_nobody_could_start_is_refused_before_the_first_history(refused: Any, says: str) -> None:
    played: list[int] = []

    with pytest.raises(InvalidInput, match=says):
        simulate((careful, Letter()), refused, histories=1, fresh=lambda: played.append(1))

    assert not played


def test_a_version_that_nobody_would_start_is_refused() -> None:
    newer = Workflow("careful", input=Letter, version=2).then(post_once)

    with pytest.raises(ValueError, match="of careful, only the latest version is started: simulate version 1 apart"):
        simulate((careful, Letter()), (newer, Letter()), histories=1)


def test_a_workflow_may_be_given_with_several_inputs_but_no_id_twice() -> None:
    simulate((careful, Letter()), (careful, {"text": "another"}), histories=1)
    other = Workflow("careful", input=Letter).then(post_blindly)

    with pytest.raises(DefinitionError, match="two workflows have the id 'careful'"):
        simulate((careful, Letter()), (other, Letter()), histories=1)


@pytest.mark.parametrize("wrong", [careful, (careful,), ("careful", Letter()), [careful, Letter()]])
def test_what_is_no_workflow_with_an_input_is_refused_with_what_to_give(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"give \(workflow, input\), not "):
        simulate(any_(wrong))


def test_there_must_be_something_to_simulate() -> None:
    with pytest.raises(TypeError, match=r"give \(workflow, input\)"):
        simulate()


def test_who_does_not_simulate_needs_no_greenlet() -> None:
    code = "import sys; sys.modules['greenlet'] = None; import onewrite.testing"

    subprocess.run([sys.executable, "-c", code], check=True)

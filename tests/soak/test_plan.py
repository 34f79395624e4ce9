"""What makes a soak good: nothing is found, and there was enough of everything."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import pytest

from bench.soak.__main__ import FOUND, TOO_LITTLE, main
from bench.soak.account import Finding
from bench.soak.plan import Figures, Plan, Result
from bench.soak.recovery import Times
from bench.soak.report import verdict
from bench.soak.soak import Soak

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

    assert found.lacks == []
    assert not found.good
    assert verdict(found).plain == "✗ something was found"


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"runs": 19}, "19 of 20 runs"),
        ({"kills": {"job": 4}}, "4 of 5 kills"),
        ({"messages_lost": 2}, "2 of 3 messages lost"),
        ({"messages_doubled": 2}, "2 of 3 messages doubled"),
    ],
    ids=["runs", "kills", "lost", "doubled"],
)
def test_a_soak_that_came_to_less_is_not_and_says_of_what_there_was_too_little(
    changes: dict[str, Any], lacks: str
) -> None:
    short = result(**changes)

    assert not short.good
    assert short.lacks == [lacks]
    assert verdict(short).plain.startswith(f"Nothing was found, but too little happened to count: {lacks}. ")


def test_what_is_found_outweighs_that_there_was_too_little() -> None:
    assert verdict(result(Finding("lost", "r", "it is gone"), runs=19)).plain == "✗ something was found"


def test_more_minutes_help_a_slow_machine() -> None:
    one, five, ten = (Plan.lasting(minutes, 6, 1) for minutes in (1, 5, 10))

    assert (one.least_runs, five.least_runs, ten.least_runs) == (400, 2_000, 2_000)
    assert (one.least_kills, one.least_meddled) == (10, 20)
    assert ten.seconds == 600


@pytest.mark.parametrize("given", ["--minutes=0", "--minutes=-1", "--minutes=inf", "--minutes=nan", "--workers=0"])
def test_a_soak_of_nothing_or_without_end_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", given])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert "give a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (result(), 0),
        (result(Finding("lost", "r", "it is gone"), runs=19), FOUND),
        (result(runs=19), TOO_LITTLE),
    ],
    ids=["good", "found", "too-little"],
)
def test_the_exit_status_tells_what_was_found_from_what_was_too_little(
    found: Result, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "1"])
    monkeypatch.setattr(Soak, "run", lambda _soak: found)

    assert main() == status
    assert "on DynamoDB Local, 1 minute\n" in capsys.readouterr().out

"""What makes a soak good: nothing is found, and there was enough of everything."""

from __future__ import annotations

import sys
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from bench.soak.__main__ import FOUND, TOO_LITTLE, main
from bench.soak.account import Finding
from bench.soak.plan import WORKERS, Figures, Plan, Result, Tally, Transport
from bench.soak.recovery import Times
from bench.soak.report import report, verdict
from bench.soak.soak import Soak

PLAN = Plan(least=Tally(runs=20, kills=5, stops=2, lost=3, doubled=3, restarts=2, flushes=1))
ENOUGH: dict[str, Any] = {
    "runs": 20,
    "kills": {"job": 4, "tick": 1},
    "stops": 2,
    "messages_lost": 3,
    "messages_doubled": 3,
    "restarts": 2,
    "flushes": 1,
    "recovery_of_runs": Times.of([]),
    "recovery_of_stages": Times.of([]),
    "recovery_after_loss": Times.of([]),
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
        ({"stops": 1}, "1 of 2 workers stopped"),
        ({"restarts": 1}, "1 of 2 restarts of Redis"),
        ({"flushes": 0}, "0 of 1 times that Redis was emptied"),
    ],
    ids=["runs", "kills", "lost", "doubled", "stops", "restarts", "flushes"],
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
    one, five, ten = (Plan.lasting(minutes, "sqs", None, 1) for minutes in (1, 5, 10))

    assert one.least == Tally(runs=400, kills=10, lost=20, doubled=20)
    assert five.least == ten.least == Tally(runs=2_000, kills=50, lost=100, doubled=100)
    assert ten.seconds == 600


def test_five_minutes_over_redis_want_kills_stops_restarts_and_one_loss_of_everything() -> None:
    five, ten = (Plan.lasting(minutes, "redis", None, 1) for minutes in (5, 10))

    assert five.least == ten.least == Tally(runs=1_000, kills=50, stops=5, restarts=5, flushes=1)
    assert five.rates.flush_at == 150
    assert (five.transport, five.workers) == ("redis", 4)


def test_who_is_soaked_has_as_many_workers_as_was_said() -> None:
    assert [Plan.lasting(1, transport, 3, 1).workers for transport in WORKERS] == [3, 3]
    assert [Plan.lasting(1, transport, None, 1).workers for transport in WORKERS] == [6, 4]


@pytest.mark.parametrize(("transport", "told"), [("sqs", False), ("redis", True)])
def test_the_report_tells_of_what_there_was(transport: Transport, told: bool) -> None:
    console = Console(file=StringIO(), width=140)
    figures = result(restarts=7, stages_handed_back=3, messages_vanished=41).figures

    report(console, Result(Plan(transport=transport), figures, []))

    said = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    for words in ("Redis restarted", "handed back", "messages vanished", "recovery after a loss"):
        assert (words in said) is told
    assert ("in mid-tick" in said) is not told


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


def test_over_redis_four_workers_are_soaked_unless_others_are_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans: list[Plan] = []

    def run(soak: Soak) -> Result:
        plans.append(soak.plan)
        return result()

    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "1", "--transport", "redis"])
    monkeypatch.setattr(Soak, "run", run)

    assert main() == 0
    assert [(plan.transport, plan.workers) for plan in plans] == [("redis", 4)]
    assert "4 workers on DynamoDB Local and Redis, 1 minute\n" in capsys.readouterr().out

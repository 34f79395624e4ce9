"""The demo's script and its verdicts: what it plays, and that it notices when something does not hold."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from hosts.local import prices
from hosts.local.demo.cases import CASES, Json, Played, Trouble
from hosts.local.demo.report import report
from hosts.local.demo.verdicts import general, verdict
from kernel.testing.units import Usage
from workflows.examples import INPUTS, registry
from workflows.examples.outside import World

BY_TROUBLE = {case.trouble: case for case in CASES}


def played(trouble: Trouble, *events: Json, **view: object) -> Played:
    """A run as it ought to have ended, with this log."""
    case = BY_TROUBLE[trouble]
    log = [{"seq": seq, "at": 1000 * seq, "by": "worker", "events": [event]} for seq, event in enumerate(events)]
    return Played(case, "r" * 24, 4, {"status": case.status, "stages": [], "created": 0, "updated": 1} | view, log=log)


def test_it_plays_every_input_once() -> None:
    inputs = Counter((path.parent.name, path.stem) for path in INPUTS.glob("*/*.json"))

    assert Counter((case.workflow, case.file) for case in CASES) == inputs
    assert len(CASES) >= 20
    assert {case.workflow for case in CASES} == {workflow.id for workflow in registry}


def test_it_shows_every_trouble() -> None:
    assert {case.trouble for case in CASES} == set(Trouble)


@pytest.mark.parametrize("trouble", [trouble for trouble in Trouble if trouble])
def test_no_verdict_believes_an_empty_log(trouble: Trouble) -> None:
    found = verdict(played(trouble), World())

    assert not all(found.claims.values())
    assert found.told


def test_a_retry_is_believed_when_the_log_and_the_world_agree() -> None:
    world = World()
    error = {"kind": "CardDeclined", "message": "declined"}
    failed = {"type": "StageFailed", "stage": "charge", "attempt": 1, "error": error, "retry_at": 1900}
    done = {"type": "StageCompleted", "stage": "charge", "attempt": 2}
    run = played(Trouble.RETRIED, {"type": "StageStarted", "stage": "charge", "attempt": 1}, failed, done)
    world.once("payment.charged", f"{run.run}/charge")

    assert all(verdict(run, world).claims.values())

    world.once("payment.charged", f"{run.run}/again")
    assert verdict(run, world).claims["the card was charged once"] is False


def test_an_order_that_was_charged_twice_is_noticed() -> None:
    world = World()
    run = played(Trouble.SENT_TWICE)
    for key in ("charge", "again"):
        world.once("payment.charged", f"{run.run}/{key}")

    assert general([run], [run.run], world)["each order is charged exactly once"] is False


def test_a_run_that_the_api_does_not_list_is_noticed() -> None:
    run = played(Trouble.SKIPPED)

    assert general([run], [], World())["the API lists exactly these runs"] is False


@pytest.mark.parametrize("width", [80, 132])
def test_the_report_says_which_claims_do_not_hold(width: int) -> None:
    text = io.StringIO()
    runs = [played(trouble) for trouble in Trouble]

    good = report(Console(file=text, width=width), runs, [run.run for run in runs], World(), 1.0)

    assert good is False
    assert "does not hold: each order is charged exactly once" in text.getvalue()
    assert "claims do not hold." in text.getvalue()


def test_steps_are_tries_and_checks() -> None:
    run = played(
        Trouble.SUSPENDED,
        {"type": "StageStarted", "stage": "transcode"},
        {"type": "StageSuspended", "stage": "transcode"},
        {"type": "StageChecked", "stage": "transcode"},
        {"type": "StageCompleted", "stage": "transcode"},
        {"type": "StageStarted", "stage": "publish"},
    )

    assert (run.attempts, run.checks, run.steps) == (2, 2, 4)


def test_a_bill_at_list_prices() -> None:
    bill = prices.bill(Usage(write_units=10, read_units=2, messages=1), steps=4)

    assert bill.ours * 1e6 == pytest.approx(10 * 0.625 + 2 * 0.125 + 3 * 0.40 + 2 * 0.20)
    assert bill.durable_functions * 1e6 == pytest.approx(32)
    assert bill.step_functions * 1e6 == pytest.approx(100)

"""The demo's script and its verdicts: what it plays, and that it notices when something does not hold."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from typing import Any, cast

import pytest
from rich.console import Console

from hosts.local import prices
from hosts.local.client import ApiError
from hosts.local.demo.cases import CASES, TOO_LONG, Json, Played, Trouble
from hosts.local.demo.director import Director, runs_so_far
from hosts.local.demo.report import report
from hosts.local.demo.senders import letters
from hosts.local.demo.verdicts import general, verdict
from hosts.local.demo.year import a_year
from kernel.testing.units import Usage
from workflows.examples import INPUTS, registry
from workflows.examples.outside import VARIABLE, Effect, World

BY_TROUBLE = {case.trouble: case for case in CASES}


def played(trouble: Trouble, *events: Json, **view: object) -> Played:
    """A run as it ought to have ended, with this log."""
    case = BY_TROUBLE[trouble]
    log = [{"seq": seq, "at": 1000 * seq, "by": "worker", "events": [event]} for seq, event in enumerate(events)]
    return Played(case, "r" * 24, 4, {"status": case.status, "stages": [], "created": 0, "updated": 1} | view, log=log)


def test_it_plays_every_input_once() -> None:
    inputs = Counter((path.parent.name, path.stem) for path in INPUTS.glob("*/*.json"))

    assert Counter((case.workflow, case.file) for case in CASES) == Counter(
        each for each in inputs if each[0] not in TOO_LONG
    )
    assert len(CASES) >= 20
    assert {case.workflow for case in CASES} == {workflow.id for workflow in registry} - TOO_LONG


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


NEWS = {
    "picked up": {"type": "EventReceived", "event": "scan-1", "name": "PickedUp"},
    "picked up again": {"type": "EventReceived", "event": "scan-1b", "name": "PickedUp"},
    "delivered": {"type": "EventReceived", "event": "scan-2", "name": "Delivered"},
    "lost": {"type": "EventReceived", "event": "scan-2", "name": "Lost"},
    "collection": {"type": "WaitStarted", "wait": "collection"},
    "collected": {"type": "WaitMatched", "wait": "collection", "event": "scan-1"},
    "arrived": {"type": "WaitMatched", "wait": "delivery", "event": "scan-2"},
}
"""What a shipment's log may say."""


@pytest.mark.parametrize(
    ("trouble", "right", "wrong"),
    [
        (Trouble.EARLY, "picked up,collection,collected", "collection,picked up,collected"),
        (Trouble.OUT_OF_ORDER, "delivered,picked up,collected,arrived", "picked up,delivered,collected,arrived"),
        (
            Trouble.AGAIN,
            "picked up,collected,picked up again,delivered,arrived",
            "picked up,collected,picked up,picked up again,delivered,arrived",
        ),
        (Trouble.LOST, "picked up,collected,lost,arrived", "picked up,collected,lost"),
    ],
)
def test_events_that_come_as_they_like_are_believed_when_log_and_world_agree(
    trouble: Trouble, right: str, wrong: str
) -> None:
    world = World()
    answer = {"id": "scan-1", "name": "PickedUp", "status": "accepted", "at": 1}
    for log, holds in ((right, True), (wrong, False)):
        run = played(trouble, *(NEWS[each] for each in log.split(",")))
        run.answers = [answer] if trouble is Trouble.EARLY else [answer, answer]
        for kind in ("carrier.booked", "customer.told", "carrier.claimed"):
            world.once(kind, f"{run.run}/stage", value=1, reason="lost")

        assert all(verdict(run, world).claims.values()) is holds


def test_a_run_that_the_api_does_not_list_is_noticed() -> None:
    run = played(Trouble.SKIPPED)

    assert general([run], [], World())["the API lists exactly these runs"] is False


# --- events that are sent ---------------------------------------------------------------------------------------------


class Mailbox:
    """An API that takes note of what is sent, and says of each event what it is told to."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.status = "accepted"
        self.roles: list[tuple[str, ...]] = []

    def acting_as(self, roles: tuple[str, ...]) -> Mailbox:
        self.roles.append(roles)
        return self

    def send(self, run: str, name: str, payload: object, *, id_: str) -> Json:
        if self.status == "refused":
            raise ApiError(409, {"detail": "the run takes no events any more"})
        self.sent.append(id_)
        return {"id": id_, "name": name, "status": "accepted", "at": 1}

    def event(self, run: str, id_: str) -> Json:
        return {"id": id_, "status": self.status}


def sending(run: Played, *, booked: bool = True) -> tuple[Mailbox, Callable[[], None]]:
    """An API, and what sends it what is due of the run's events."""
    world, api = World(), Mailbox()
    if booked:
        world.once("carrier.booked", f"{run.run}/book", tracking="TN-1")
    director: Any = Director(cast("Any", api), cast("Any", None), world, Console(file=io.StringIO()))
    return api, lambda: director._send([run])


def begun(trouble: Trouble, *stages: str) -> Played:
    return played(trouble, status="running", stages=[stage(each, "waiting") for each in stages])


def test_an_event_is_sent_once_the_one_before_has_been_applied_and_repeated_at_once() -> None:
    api, send = sending(begun(Trouble.AGAIN, "collection", "delivery"))

    send()
    assert api.sent == ["scan-1", "scan-1"]

    api.status = "applied"
    send()
    assert api.sent == ["scan-1", "scan-1", "scan-1b", "scan-2", "scan-2"]


@pytest.mark.parametrize(
    ("trouble", "waits", "sent"),
    [
        (Trouble.EARLY, (), ["scan-1"]),
        (Trouble.AGAIN, (), []),
        (Trouble.OUT_OF_ORDER, ("collection",), ["scan-2", "scan-1"]),
        (Trouble.LOST, ("collection",), ["scan-1"]),
    ],
)
def test_an_event_is_sent_when_the_run_has_come_that_far(
    trouble: Trouble, waits: tuple[str, ...], sent: list[str]
) -> None:
    api, send = sending(begun(trouble, *waits))
    api.status = "applied"

    send()

    assert api.sent == sent


def test_nothing_is_sent_of_a_parcel_that_is_not_booked_and_nothing_to_a_run_that_is_over() -> None:
    over = played(Trouble.EARLY, status="completed")

    for run, booked in ((begun(Trouble.EARLY), False), (over, True)):
        api, send = sending(run, booked=booked)
        send()
        assert api.sent == []


def test_an_event_that_the_api_refuses_is_an_answer_as_well() -> None:
    run = begun(Trouble.EARLY)
    api, send = sending(run)
    api.status = "refused"

    send()

    assert [each["status"] for each in run.answers] == ["refused"]
    assert verdict(run, World()).claims["it was accepted"] is False


def test_only_workflows_that_wait_for_events_are_sent_any() -> None:
    waiting = {workflow.id for workflow in registry if workflow.definition.events} - TOO_LONG
    world = World()
    world.once("carrier.booked", "r" * 24, tracking="TN-1")

    assert {case.workflow for case in CASES if letters(Played(case, "r" * 24, 4), world)} == waiting


def test_who_clicks_acts_as_what_they_are_and_their_next_click_comes_once_the_last_is_settled() -> None:
    run = begun(Trouble.SIGNS_TWICE, "ask_manager", "ask_director")
    api, send = sending(run)

    send()
    assert api.sent == ["click-1"]

    api.status = "refused by the run"
    send()
    assert api.sent == ["click-1", "click-2", "click-3"]
    assert api.roles == [("manager", "director"), ("manager", "director"), ("director",)]
    assert run.settled["click-2"]["status"] == "refused by the run"


CLICKS: dict[str, Json] = {
    "manager": {"type": "EventReceived", "event": "click-1", "name": "Approve", "roles": ["manager"]},
    "director": {"type": "EventReceived", "event": "click-2", "name": "Approve", "roles": ["director"]},
    "other": {"type": "EventReceived", "event": "click-3", "name": "Approve", "roles": ["director"]},
    "told": {"type": "StageCompleted", "stage": "tell_supplier"},
    **{
        state: {"type": "StateEntered", "state": state}
        for state in ("review", "escalated", "paying", "paid", "rejected")
    },
}
"""What an approval's log may say."""


@pytest.mark.parametrize(
    ("trouble", "right", "wrong"),
    [
        (
            Trouble.TWO_SIGN,
            "review,manager,escalated,director,paying,paid",
            "review,director,escalated,manager,paying,paid",
        ),
        (Trouble.FORBIDDEN, "review,manager,paying,paid", "review,director,manager,paying,paid"),
        (Trouble.SIGNS_TWICE, "review,manager,escalated,other,paying,paid", "manager,escalated,director,paying,paid"),
        (Trouble.TURNED_DOWN, "review,told,rejected", "review,rejected,told,paid"),
    ],
)
def test_what_people_sign_is_believed_when_log_and_world_agree(trouble: Trouble, right: str, wrong: str) -> None:
    for log, holds in ((right, True), (wrong, False)):
        world = World()
        run = played(trouble, *(CLICKS[each] for each in log.split(",")))
        run.answers = [{"status": "refused", "reason": "state review takes it from these roles only: manager"}]
        run.settled = {"click-2": {"status": "refused"}}
        if "paid" in log:
            world.once("bank.paid", f"{run.run}/pay", amount=1)

        assert all(verdict(run, world).claims.values()) is holds


# --- what is shown while the runs go on -------------------------------------------------------------------------------


STAGES = ("charge", "pack", "invoice", "compensate:invoice", "compensate:charge")
"""Of a run whose stages need more than a line."""


def shown(width: int, *runs: Played, now: int = 9_000) -> str:
    """What a terminal shows while the runs go on."""
    text = io.StringIO()
    Console(file=text, width=width).print(runs_so_far(runs, width, 50, now))
    return text.getvalue()


def stage(name: str, status: str, **more: object) -> Json:
    return {"stage": name, "status": status, "attempt": 1, **more}


@pytest.mark.parametrize("width", [80, 110, 120, 140])
def test_inputs_and_statuses_are_whole_on_every_terminal_however_much_there_is_to_tell_of_stages(width: int) -> None:
    statuses = ("completed", "failed", "cancelled", "compensating", "running", "parked")
    long = [stage(name, "retrying", attempt=10) for name in STAGES]
    runs = [
        Played(case, "r" * 24, 4, {"status": status, "stages": long, "created": 0, "updated": 1})
        for case, status in zip(CASES, cycle(statuses), strict=False)
    ]

    lines = shown(width, *runs).splitlines()

    assert max(map(len, lines)) <= width
    for run, line in zip(runs, (each for each in lines if "/" in each), strict=True):
        assert f"{run.case.name} " in line
        assert f" {run.view['status']} " in line
        assert line.rstrip().endswith("…")


def test_ids_of_runs_are_shown_whole_or_not_at_all() -> None:
    run = played(Trouble.NONE)

    assert run.run in shown(120, run)
    assert "rrr" not in shown(119, run)


def test_while_nobody_has_found_the_dead_worker_its_run_says_when_the_lease_ends() -> None:
    stages = [stage("charge", "completed"), stage("pack", "running", at=7_000)]
    run = played(Trouble.WORKER_DIES, status="running", stages=stages, updated=200)
    run.killed = 4711

    assert "killed, lease ends in 5 s" in shown(80, run, now=2_000)
    assert "killed, lease is over" in shown(80, run, now=8_000)
    assert " 8.0 " in shown(80, run, now=8_000)


@pytest.mark.parametrize("found", [stage("pack", "retrying", at=9_000), stage("pack", "running", at=9_000, attempt=2)])
def test_once_somebody_has_found_out_its_run_goes_on_like_any_other(found: Json) -> None:
    run = played(Trouble.WORKER_DIES, status="running", stages=[found])
    run.killed = 4711

    assert "killed" not in shown(80, run)


@pytest.mark.parametrize("width", [80, 100, 132])
def test_the_report_ends_with_the_cost_of_all_runs_and_the_verdict(width: int) -> None:
    text = io.StringIO()
    runs = [played(trouble) for trouble in Trouble]

    report(Console(file=text, width=width), runs, [run.run for run in runs], World(), 1.0)

    lines = text.getvalue().splitlines()
    verdict_begins = next(number for number, line in enumerate(lines) if line.startswith("✗ does not hold"))
    average = next(line for line in lines if line.startswith(f"all {len(runs)}, on average"))
    assert lines[verdict_begins - 1].startswith("Together $")
    assert lines[-1].endswith("claims do not hold.")
    assert average.count("$") == 3
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [80, 132])
def test_the_report_says_which_claims_do_not_hold(width: int) -> None:
    text = io.StringIO()
    runs = [played(trouble) for trouble in Trouble]

    good = report(Console(file=text, width=width), runs, [run.run for run in runs], World(), 1.0)

    assert good is False
    assert "does not hold: each order is charged exactly once" in text.getvalue()
    assert "claims do not hold." in text.getvalue()


def test_steps_are_tries_checks_and_waits() -> None:
    run = played(
        Trouble.SUSPENDED,
        {"type": "StageStarted", "stage": "transcode"},
        {"type": "StageSuspended", "stage": "transcode"},
        {"type": "StageChecked", "stage": "transcode"},
        {"type": "StageCompleted", "stage": "transcode"},
        {"type": "StageStarted", "stage": "publish"},
        {"type": "WaitStarted", "wait": "premiere"},
    )

    assert (run.attempts, run.checks, run.steps) == (2, 2, 5)


def test_a_bill_at_list_prices() -> None:
    bill = prices.bill(Usage(write_units=10, read_units=2, messages=1), steps=4)

    assert bill.ours * 1e6 == pytest.approx(10 * 0.625 + 2 * 0.125 + 3 * 0.40 + 2 * 0.20)
    assert bill.durable_functions * 1e6 == pytest.approx(32)
    assert bill.step_functions * 1e6 == pytest.approx(100)


def test_the_year_of_the_demo_is_as_it_says() -> None:
    before = os.environ.get(VARIABLE)

    told = a_year()

    assert all(told.claims.values()), told
    assert "charged 12 times, each month once, and none early" in told.told
    assert os.environ.get(VARIABLE) == before


def test_a_year_in_which_a_month_is_charged_twice_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    once = World.once

    def twice(world: World, kind: str, key: str, **details: str | int) -> Effect:
        once(world, kind, f"{key}-again", **details)
        return once(world, kind, key, **details)

    monkeypatch.setattr(World, "once", twice)

    assert not all(a_year().claims.values())

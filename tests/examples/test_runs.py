"""Whole runs of the examples, in memory: every input that is shipped ends as it says it will."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from kernel.ports import RunRef
from onewrite import Forbidden
from onewrite.testing import Ended, Play
from workflows.examples import INPUTS, approval, registry, shipment
from workflows.examples.outside import World, carrier, people, world

FAILING = {"antarctica", "card-stolen", "betamax-tape", "passport-missing"}
INPUT_FILES = sorted((path.parent.name, path.stem) for path in INPUTS.glob("*/*.json"))


def play(workflow: str, file: str) -> Ended:
    """Play an input that is shipped to its end."""
    value: Any = json.loads((INPUTS / workflow / f"{file}.json").read_text())
    play = Play(registry=registry)
    run = play.start(registry.latest(workflow), value)
    if workflow == "shipment":
        carrier_tells(play, run, value)
    if workflow == "approval":
        people_click(play, run, value)
    play.play(run, days=1_000)
    return play.ended(run)


def carrier_tells(play: Play, run: RunRef, consignment: dict[str, str]) -> None:
    """The carrier sends its events, as soon as each happens."""
    play.step()
    (booked,) = world().effects("carrier.booked", run.run)
    for scan in carrier.scans(str(booked.details["tracking"]), consignment["service"], consignment["country"]):
        event = getattr(shipment, scan.name)(**scan.payload)
        assert play.send(run, event, id=scan.id).status in ("accepted", "applied")
        while play.step() is not None:
            pass


def people_click(play: Play, run: RunRef, invoice: dict[str, str]) -> None:
    """People say what they think, once they were asked."""
    for click in people.clicks(invoice["department"]):
        play.wait(timedelta(hours=1))
        if play.look(run).status == "running":
            with suppress(Forbidden):
                play.send(run, getattr(approval, click.name)(**click.payload), id=click.id, roles=click.roles)


def count(ended: Ended, name: str) -> int:
    return ended.names().count(name)


@pytest.mark.parametrize(("workflow", "file"), INPUT_FILES)
def test_every_input_ends_as_it_says(workflow: str, file: str) -> None:
    ended = play(workflow, file)

    assert ended.status == ("failed" if file in FAILING else "completed")


def test_several_inputs_are_shipped_for_each_workflow() -> None:
    for workflow in registry:
        assert sum(name == workflow.id for name, _ in INPUT_FILES) >= 5


def test_an_order_is_charged_packed_invoiced_and_shipped_once(world: World) -> None:
    ended = play("order", "laptop")

    assert ended.output.invoice == "INV-S-10421"
    kinds = [effect.kind for effect in world.effects()]
    assert kinds[0] == "payment.charged"
    assert kinds[-1] == "carrier.shipped"
    assert len(kinds) == len(set(kinds)) == 5


def test_a_declined_card_is_tried_again(world: World) -> None:
    ended = play("order", "card-declined-twice")

    assert count(ended, "StageFailed charge") == 2
    assert count(ended, "StageStarted charge") == 3
    assert len(world.effects("payment.charged")) == 1


def test_an_order_that_cannot_be_delivered_is_undone_in_reverse_order(world: World) -> None:
    ended = play("order", "antarctica")

    assert ended.view.compensation == "complete"
    assert [effect.kind for effect in world.effects()][-2:] == ["invoice.cancelled", "payment.refunded"]
    assert not world.effects("carrier.shipped")


def test_a_card_that_is_refused_is_not_tried_again(world: World) -> None:
    ended = play("order", "card-stolen")

    assert count(ended, "StageStarted charge") == 1
    assert not world.effects()


def test_a_film_suspends_until_the_provider_is_ready(world: World) -> None:
    ended = play("media", "feature-film")

    assert count(ended, "StageSuspended transcode") == 1
    assert count(ended, "StageChecked transcode") == 2
    assert len(world.effects("provider.asked")) == 3
    assert ended.output.thumbnails == 9


def test_onboarding_is_thirteen_steps_in_one_chain() -> None:
    ended = play("onboarding", "engineer")

    assert len(ended.view.stages) == 13
    assert len(ended.log) == 15, "created, claimed, and a commit for each step"


def test_a_contractor_skips_the_payroll_at_no_cost(world: World) -> None:
    ended = play("onboarding", "contractor")

    assert count(ended, "StageSkipped enrol_payroll") == 1
    assert len(ended.log) == 14
    assert not world.effects("office.payroll")


@pytest.mark.parametrize("file", [file for workflow, file in INPUT_FILES if workflow == "shipment"])
def test_however_the_carrier_tells_it_each_event_is_taken_by_its_wait(file: str, world: World) -> None:
    ended = play("shipment", file)

    waits = [name for name in ended.names() if name.startswith("WaitMatched")]
    assert waits == ["WaitMatched collection", "WaitMatched delivery"]
    assert len(world.effects("customer.told")) == 1
    assert len(world.effects("carrier.claimed")) == (file == "lost-at-sea")


@pytest.mark.parametrize("file", [file for workflow, file in INPUT_FILES if workflow == "approval"])
def test_an_invoice_is_paid_once_or_rejected(file: str, world: World) -> None:
    ended = play("approval", file)

    rejected = file in ("closed-account", "dinner")
    assert ended.view.state == ("rejected" if rejected else "paid")
    assert len(world.effects("bank.paid")) == (not rejected)


@pytest.mark.parametrize(
    ("file", "paid"), [("a-year", 12), ("two-years", 24), ("one-month", 1), ("card-declined", 3), ("nobody-pays", 0)]
)
def test_each_month_of_a_subscription_is_charged_once(file: str, paid: int, world: World) -> None:
    ended = play("subscription", file)

    assert (ended.output.paid, len(world.effects("payment.charged"))) == (paid, paid)
    assert len({effect.key for effect in world.effects("payment.charged")}) == paid

"""Stages of the examples, called as the plain functions that they are: no engine, no log."""

from __future__ import annotations

from datetime import date
from typing import TypeVar

import pytest
from pydantic import BaseModel

from kernel.testing.context import RUN, context
from onewrite import Pending, PermanentError, Suspend
from workflows.examples import INPUTS
from workflows.examples import media as film
from workflows.examples import onboarding as hiring
from workflows.examples import order as shop
from workflows.examples.outside import World, office, payments

M = TypeVar("M", bound=BaseModel)


def given(model: type[M], workflow: str, file: str) -> M:
    return model.model_validate_json((INPUTS / workflow / f"{file}.json").read_bytes())


# --- order ------------------------------------------------------------------------------------------------------------


def test_charge_takes_the_order_s_amount_in_the_configured_currency(world: World) -> None:
    order = given(shop.Order, "order", "laptop")

    receipt = shop.charge(context(order, config=shop.Shop(currency="NOK")), order)

    assert receipt == shop.Receipt(charge=f"ch_{RUN[:8]}", amount=193800, currency="NOK")
    (effect,) = world.effects("payment.charged")
    assert effect.details == {"amount": 193800, "currency": "NOK", "charge": receipt.charge}


def test_charging_again_charges_once(world: World) -> None:
    order = given(shop.Order, "order", "laptop")

    receipts = [shop.charge(context(order, config=shop.Shop()), order) for _ in range(3)]

    assert receipts[0] == receipts[1] == receipts[2]
    assert len(world.effects("payment.charged")) == 1


def test_a_card_that_is_declined_twice_goes_through_the_third_time(world: World) -> None:
    order = given(shop.Order, "order", "card-declined-twice")
    ctx = context(order, config=shop.Shop())

    for _ in range(2):
        with pytest.raises(payments.CardDeclined):
            shop.charge(ctx, order)

    assert shop.charge(ctx, order).amount == order.amount
    assert len(world.effects("payment.charged")) == 1


def test_a_stolen_card_is_refused_for_good() -> None:
    order = given(shop.Order, "order", "card-stolen")

    with pytest.raises(PermanentError, match="stolen"):
        shop.charge(context(order, config=shop.Shop()), order)


def test_a_refund_gives_back_what_was_charged_once(world: World) -> None:
    receipt = shop.Receipt(charge="ch_1", amount=100, currency="EUR")

    for _ in range(2):
        shop.refund(context(given(shop.Order, "order", "books")), receipt)

    (effect,) = world.effects("payment.refunded")
    assert effect.details == {"charge": "ch_1", "amount": 100}


def test_a_piano_takes_many_boxes_and_is_packed_once_however_often_it_is_begun(world: World) -> None:
    order = given(shop.Order, "order", "grand-piano")
    receipt = shop.Receipt(charge="ch_1", amount=order.amount, currency="EUR")

    parcels = {shop.pack(context(order), receipt).number for _ in range(2)}
    boxes = shop.pack(context(order), receipt).boxes

    assert (len(parcels), boxes) == (1, 21)
    assert len(world.effects("warehouse.begun")) == 3
    assert len(world.effects("warehouse.packed")) == 1


def test_nobody_delivers_to_antarctica() -> None:
    order = given(shop.Order, "order", "antarctica")
    parcel, invoice = shop.Parcel(number="P-1", boxes=1), shop.Invoice(number="INV-1", amount=1)

    with pytest.raises(PermanentError, match="Antarctica"):
        shop.ship(context(order), parcel, invoice)


def test_an_invoice_is_cancelled_by_its_number(world: World) -> None:
    order = given(shop.Order, "order", "books")
    invoice = shop.invoice(context(order), shop.Receipt(charge="c", amount=7, currency="EUR"))

    shop.cancel_invoice(context(order), invoice)

    assert world.effects("invoice.cancelled")[0].details == {"number": "INV-S-10423"}


# --- media ------------------------------------------------------------------------------------------------------------


def test_transcode_hands_the_film_over_and_suspends(world: World) -> None:
    upload = given(film.Upload, "media", "feature-film")

    suspended = [film.transcode(context(upload), upload) for _ in range(2)]

    assert all(isinstance(each, Suspend) for each in suspended)
    assert len(world.effects("provider.submitted")) == 1


def test_the_provider_is_ready_after_a_question_for_each_half_hour() -> None:
    upload = given(film.Upload, "media", "feature-film")
    handed_over = film.transcode(context(upload), upload)
    assert isinstance(handed_over, Suspend)

    answers = [film.transcoded(context(upload), handed_over.state) for _ in range(3)]

    assert [each.progress if isinstance(each, Pending) else each.minutes for each in answers] == [0.33, 0.66, 84]


def test_a_tape_that_nobody_can_read_is_refused_for_good() -> None:
    upload = given(film.Upload, "media", "betamax-tape")

    with pytest.raises(PermanentError, match="cannot read betamax"):
        film.transcode(context(upload), upload)


def test_publishing_joins_thumbnails_and_captions() -> None:
    upload = given(film.Upload, "media", "documentary")
    media = film.Media(address="https://media.example/film.mp4", minutes=52)
    ctx = context(upload, transcode=media)

    page = film.publish(ctx, film.thumbnails(ctx, media), film.captions(ctx, media))

    assert (page.thumbnails, page.languages) == (6, ["en", "fr", "no"])


# --- onboarding -------------------------------------------------------------------------------------------------------


def test_somebody_without_a_passport_is_not_taken_on() -> None:
    hire = given(hiring.NewHire, "onboarding", "passport-missing")

    with pytest.raises(office.DocumentMissing, match="Oscar Lindqvist"):
        hiring.verify_documents(context(hire), hire)


@pytest.mark.parametrize(("file", "employed"), [("engineer", True), ("contractor", False)])
def test_only_employees_are_on_the_payroll(file: str, employed: bool) -> None:
    hire = given(hiring.NewHire, "onboarding", file)
    contract = hiring.sign_contract(context(hire), hiring.verify_documents(context(hire), hire))

    assert hiring.is_employed(contract) is employed


def test_the_payroll_office_in_italy_is_engaged_at_first() -> None:
    hire = given(hiring.NewHire, "onboarding", "payroll-engaged")
    contract = hiring.Contract(number="C-20419", kind="employee")

    with pytest.raises(office.PayrollBusy):
        hiring.enrol_payroll(context(hire), contract)

    assert hiring.enrol_payroll(context(hire), contract) == hiring.Payroll(number="PAY-IT-C-20419")


@pytest.mark.parametrize(("payroll", "login"), [(hiring.Payroll(number="1"), "m.31077"), (None, "x-m.31077")])
def test_a_contractor_s_login_tells(payroll: hiring.Payroll | None, login: str) -> None:
    hire = given(hiring.NewHire, "onboarding", "contractor")

    assert hiring.create_identity(context(hire), payroll).login == login


def test_the_welcome_goes_to_the_new_mailbox() -> None:
    hire = given(hiring.NewHire, "onboarding", "designer")
    ctx = context(hire, create_mailbox=hiring.Mailbox(address="l.20418@onewrite.example"))

    welcome = hiring.send_welcome(ctx, hiring.plan_first_day(ctx, hiring.Buddy(name="somebody")))

    assert welcome == hiring.Welcome(sent_to="l.20418@onewrite.example", day=date(2027, 1, 4))


# --- the world outside ------------------------------------------------------------------------------------------------


def test_the_world_remembers_in_its_file_or_in_memory(world: World) -> None:
    for each in (world, World()):
        first = each.once("a.b", "run-1/x", amount=1)

        assert each.once("a.b", "run-1/x", amount=2) == first
        assert [each.count("c", "run-2"), each.count("c", "run-2")] == [1, 2]
        assert len(each.effects()) == 3
        assert each.effects("a.") == each.effects(run="run-1") == [first]

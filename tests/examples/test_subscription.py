"""Subscriptions: a year of twelve charges, none early and none doubled, whatever happens on the way."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise

import pytest
from pydantic import BaseModel

from kernel.core.events import StageCompleted
from kernel.shell import read
from onewrite import Conflict
from onewrite.testing import Call, Crash, Ended, Fault, Play
from workflows.examples import outside
from workflows.examples.outside import VARIABLE, World, payments
from workflows.examples.subscription import MONTH, Cancel, NewCard, Subscription, subscription

ATLAS = Subscription(customer="ines@example.com", magazine="Atlas", card="tok_visa", price=1_290)
DAY = timedelta(days=1)


class Reader:
    """A subscription that has just begun, the customer, and the clock."""

    def __init__(self, ordered: Subscription = ATLAS, *, seed: int = 0) -> None:
        self.play = Play(subscription, seed=seed)
        self.run = self.play.start(subscription, ordered)

    def sends(self, event: BaseModel, id: str | None = None) -> str:  # noqa: A002 - as ``Play`` calls it
        """The customer says something; gives what they are told about it."""
        return self.play.send(self.run, event, id=id).status

    def waits(self, lasts: timedelta = MONTH) -> str:
        """Time passes; gives where the subscription is then."""
        self.play.wait(lasts)
        return self.play.look(self.run).state

    def ended(self) -> Ended:
        """Let time pass until the run is over."""
        self.play.play(self.run, days=1_000)
        return self.play.ended(self.run)

    def paid_at(self) -> list[timedelta]:
        """When the months were paid, since the run began."""
        entries = read.log_page(self.play.env, self.run, limit=10_000)
        return [
            timedelta(milliseconds=entry.at - entries[0].at)
            for entry in entries
            for event in entry.events
            if isinstance(event, StageCompleted) and event.stage == "charge"
        ]


def charged(world: World) -> list[str]:
    """The months that were charged, in order."""
    return [effect.key.rpartition("/")[2] for effect in world.effects("payment.charged")]


def months(count: int) -> list[str]:
    return [f"month-{number}" for number in range(1, count + 1)]


def told(world: World) -> list[str]:
    """What the customer was told, in order."""
    return [str(effect.details["text"]) for effect in world.effects("customer.told")]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in this process's memory, which is quickly forgotten."""
    monkeypatch.delenv(VARIABLE)
    outside.forget()
    return outside.world()


# --- a year -----------------------------------------------------------------------------------------------------------


def test_a_year_is_twelve_charges_and_none_of_them_early(world: World) -> None:
    reader = Reader()

    ended = reader.ended()

    assert (ended.status, ended.output.paid, ended.output.ends) == ("completed", 12, "over")
    assert charged(world) == months(12)
    assert told(world) == ["your subscription has ended after 12 months"]
    at = reader.paid_at()
    between = [later - earlier for earlier, later in pairwise(at)]
    assert len(at) == 12
    assert all(MONTH <= each <= MONTH + timedelta(seconds=5) for each in between)


def test_of_a_year_the_run_keeps_no_more_than_of_a_month() -> None:
    reader = Reader(ATLAS.model_copy(update={"months": 24}))
    sizes: list[int] = []
    for _ in range(24):
        reader.waits()
        before = len(reader.play.faults.calls)
        session = read.find(reader.play.env, reader.run)
        assert [call.method for call in reader.play.faults.calls[before:]] == ["range"], "one page, whatever the month"
        sizes.append(session.snapshot_size)
        assert set(session.state.stages) <= {"active.after", "active.after-2"}

    assert reader.ended().output.paid == 24
    assert max(sizes) < 1_000
    assert sizes[-1] - sizes[len(sizes) // 2] < 16, "no larger than half way, but for longer numbers"


def test_a_month_costs_the_same_in_the_first_year_and_in_the_second() -> None:
    def costs(count: int) -> float:
        reader = Reader(ATLAS.model_copy(update={"months": count}))
        reader.ended()
        return reader.play.meter.of(reader.run).write_units

    assert costs(24) - costs(18) == pytest.approx(costs(12) - costs(6), abs=3)


# --- the customer -----------------------------------------------------------------------------------------------------


def test_a_cancel_counts_at_the_end_of_the_month_that_is_paid_for(world: World) -> None:
    reader = Reader()
    reader.waits(2 * MONTH + 10 * DAY)

    reader.sends(Cancel())
    assert reader.waits(19 * DAY) == "active"
    assert reader.waits(2 * DAY) == "ended"

    assert (reader.ended().output.paid, reader.ended().output.ends) == (3, "cancelled")
    assert charged(world) == months(3)
    with pytest.raises(Conflict, match="takes no events any more"):
        reader.sends(NewCard(card="tok_late"))


def test_a_cancel_while_the_card_is_charged_is_taken_and_does_not_cut_that_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = payments.charge

    def charge_while_somebody_cancels(key: str, *given: object) -> str:
        reader.sends(Cancel(), "cancel")
        while reader.play.step() is not None:
            pass
        return charge(key, *given)  # type: ignore[arg-type]  # as they came

    reader = Reader()
    monkeypatch.setattr(payments, "charge", charge_while_somebody_cancels)

    assert (reader.ended().output.paid, reader.ended().output.ends) == (1, "cancelled")
    assert charged(world) == months(1)


def test_a_new_card_is_charged_from_the_next_month_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cards: list[str] = []

    def charge(_key: str, card: str, *_given: object) -> str:
        cards.append(card)
        return "ch"

    monkeypatch.setattr(payments, "charge", charge)
    reader = Reader(ATLAS.model_copy(update={"months": 3}))
    reader.waits(10 * DAY)
    reader.sends(NewCard(card="tok_new"))
    reader.ended()

    assert cards == ["tok_visa", "tok_new", "tok_new"]
    assert all(later - earlier >= MONTH for earlier, later in pairwise(reader.paid_at()))


# --- a card that is declined ------------------------------------------------------------------------------------------


def test_a_declined_card_is_asked_again_after_five_days(world: World) -> None:
    reader = Reader(ATLAS.model_copy(update={"card": "tok_declines_twice", "months": 1}))
    assert reader.waits(DAY) == "past_due"
    assert told(world) == ["your card was declined (1): please give us another one"]

    assert reader.waits(5 * DAY) == "active"
    assert reader.ended().output.ends == "over"
    assert charged(world) == months(1)


def test_a_new_card_is_charged_at_once_where_one_was_declined(world: World) -> None:
    reader = Reader(ATLAS.model_copy(update={"card": payments.STOLEN}))
    assert reader.waits(DAY) == "past_due"

    reader.sends(NewCard(card="tok_visa"))
    assert reader.waits(timedelta(minutes=1)) == "active"
    assert reader.ended().output.paid == 12
    assert charged(world) == months(12)


def test_who_does_not_pay_is_suspended_and_given_up_after_a_month(world: World) -> None:
    reader = Reader(ATLAS.model_copy(update={"card": payments.STOLEN}))
    assert reader.waits(9 * DAY) == "past_due"
    assert reader.waits(2 * DAY) == "suspended"

    ended = reader.ended()

    assert (ended.output.paid, ended.output.ends) == (0, "not paid")
    assert charged(world) == []
    assert told(world) == [
        "your card was declined (1): please give us another one",
        "your card was declined (2): please give us another one",
        "there are no more issues until you give us another card",
        "your subscription has ended after 0 months",
    ]


def test_who_is_suspended_may_come_back(world: World) -> None:
    reader = Reader()
    reader.waits(10 * DAY)
    reader.sends(NewCard(card=payments.STOLEN))
    assert reader.waits(40 * DAY) == "suspended"

    reader.sends(NewCard(card="tok_visa"))
    assert reader.waits(timedelta(minutes=1)) == "active"
    assert reader.ended().output.paid == 12
    assert charged(world) == months(12)


@pytest.mark.parametrize("days", [1, 11], ids=["past due", "suspended"])
def test_who_has_not_paid_may_cancel_at_once(days: int, world: World) -> None:
    reader = Reader(ATLAS.model_copy(update={"card": payments.STOLEN}))
    reader.waits(days * DAY)
    reader.sends(Cancel())

    assert reader.waits(timedelta(minutes=1)) == "ended"
    assert reader.ended().output.ends == "cancelled"


# --- a pause, and machines that fail ----------------------------------------------------------------------------------


def test_a_paused_subscription_is_charged_when_it_goes_on_and_nothing_is_made_up_for(world: World) -> None:
    reader = Reader()
    reader.waits(2 * MONTH + 10 * DAY)
    reader.play.pause(reader.run, "moving house", lasts=100 * DAY)
    assert reader.waits(99 * DAY) == "active"
    assert charged(world) == months(3)

    assert reader.waits(2 * DAY) == "active"
    assert charged(world) == months(4)
    reader.ended()
    at = reader.paid_at()
    assert charged(world) == months(12)
    assert all(later - earlier >= MONTH for earlier, later in pairwise(at))


@pytest.mark.parametrize("seed", range(20))
def test_a_year_of_crashes_and_lost_replies_is_twelve_charges_and_none_of_them_early(seed: int, memory: World) -> None:
    reader, chance = Reader(seed=seed), random.Random(seed)
    faults = [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST_REPLY, Fault.UNAVAILABLE]

    def one_in_ten(_call: Call) -> Fault | None:
        return chance.choice(faults) if chance.random() < 0.1 else None

    reader.play.faults.choose = one_in_ten
    reader.ended()
    reader.play.faults.choose = lambda _call: None

    assert reader.ended().output.paid == 12
    assert charged(memory) == months(12)
    at = reader.paid_at()
    assert len(at) == 12
    assert all(later - earlier >= MONTH for earlier, later in pairwise(at))


def test_after_any_call_something_may_fail_and_no_month_is_charged_twice(memory: World) -> None:
    def goes_on(reader: Reader) -> Ended:
        for event, days in ((NewCard(card=payments.STOLEN), 10), (NewCard(card="tok_visa"), 22)):
            reader.waits(days * DAY)
            while not is_heard(reader, event):
                pass
        return reader.ended()

    three = ATLAS.model_copy(update={"months": 3})
    undisturbed = Reader(three)
    started = len(undisturbed.play.faults.calls)
    goes_on(undisturbed)

    for number in range(started, len(undisturbed.play.faults.calls)):
        outside.forget()
        reader = Reader(three)
        reader.play.faults.at(number, Fault.CRASH_AFTER)

        assert goes_on(reader).output.paid == 3, undisturbed.play.faults.calls[number]
        assert charged(memory) == months(3)


def is_heard(reader: Reader, event: NewCard) -> bool:
    """Whoever is not sure of having been heard says it again, under the same id."""
    try:
        return bool(reader.sends(event, event.card))
    except Crash:
        return False

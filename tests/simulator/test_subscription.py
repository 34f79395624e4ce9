"""A year of a subscription, with processes that die and replies that are lost: twelve charges, and each but once."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from pydantic import BaseModel

from onewrite import Context, Machine, Retry, State, stage
from onewrite.testing import simulate

MONTH, MONTHS = timedelta(days=30), 12


class Subscription(BaseModel):
    """What a run is started with, and its data."""

    paid: int = 0


class Receipt(BaseModel):
    """What a charge gives."""

    key: str


charged: dict[str, dict[str, int]] = defaultdict(dict)
"""What the bank has booked, once for each key: for which month, by run."""
whole: list[str] = []
"""Runs that paid for a whole year."""


@stage(retry=Retry(9, first=timedelta(minutes=5)))
def charge(ctx: Context, subscription: Subscription) -> Receipt:
    booked = charged[ctx.run_id].setdefault(ctx.key, subscription.paid)
    assert booked == subscription.paid, "one key stands for two months"
    return Receipt(key=ctx.key)


def booked(subscription: Subscription, _receipt: Receipt) -> Subscription:
    return Subscription(paid=subscription.paid + 1)


def goes_on(subscription: Subscription, _receipt: Receipt) -> bool:
    return subscription.paid + 1 < MONTHS


active = State("active", Subscription)
charging = State("charging", Subscription, enter=charge)
over = State("over", Subscription, final=True)
subscription = Machine(
    "subscription",
    input=Subscription,
    start=active,
    deadline=timedelta(days=400),
    transitions=(
        active.after(MONTH, to=charging),
        charging.done(charge, to=active, when=goes_on, update=booked),
        charging.done(charge, to=over, update=booked),
    ),
)


def each_month_once() -> None:
    """No month is paid for twice, and none before the one before it; that none is early, the simulator itself sees."""
    for run, keys in charged.items():
        assert list(keys.values()) == list(range(len(keys))), f"{run} paid for {keys}"
        assert len(keys) <= MONTHS
        if len(keys) == MONTHS:
            whole.append(run)


def test_a_year_of_a_subscription_is_charged_twelve_times_and_each_month_once() -> None:
    whole.clear()

    simulate((subscription, Subscription()), histories=30, fresh=charged.clear, check=each_month_once)

    assert len(whole) >= 10

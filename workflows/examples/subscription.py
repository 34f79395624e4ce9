"""A subscription: charge a card every month, write to a customer whose card is declined, suspend who does not pay.

Shows a state machine that goes round: a year is twelve times the same few states, and a run of a hundred rounds is no
larger than one of two. The customer may give another card, or cancel, at any time; a cancel counts at the end of the
month that is paid for.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, Field

from onewrite import Context, Failed, Machine, Retry, State, stage
from workflows.examples.outside import payments, world

MONTH = timedelta(days=30)
PATIENCE = 3
"""Times that a month is asked for before the subscription is suspended."""


class Subscription(BaseModel):
    """What was ordered: so many months, at a price in cents. The card is the gateway's token."""

    customer: str
    magazine: str
    card: str = Field(pattern=r"^tok_\w+$")
    price: int = Field(gt=0)
    months: int = Field(default=12, gt=0, le=24)


class Account(BaseModel):
    """What is known of it: the machine's data. It does not grow with the months."""

    card: str
    price: int
    left: int
    paid: int = 0
    declined: int = 0
    ends: Literal["", "over", "cancelled", "not paid"] = ""


class NewCard(BaseModel):
    """An event: the customer gives another card."""

    card: str = Field(pattern=r"^tok_\w+$")


class Cancel(BaseModel):
    """An event: the customer wants no more of it."""


# --- what is done: stages ---------------------------------------------------------------------------------------------


@stage(timeout=timedelta(seconds=10), retry=Retry(2, first=timedelta(minutes=1)), on_failure="proceed")
def charge(ctx: Context, account: Account) -> str:
    # What must not be done twice is the month, not the visit: it is asked for again under the same key.
    return payments.charge(f"{ctx.run_id}/month-{account.paid + 1}", account.card, account.price, "EUR")


@stage(timeout=timedelta(seconds=10))
def ask_for_card(ctx: Context, account: Account) -> str:
    return write(ctx, f"your card was declined ({account.declined}): please give us another one")


@stage(timeout=timedelta(seconds=10))
def suspend(ctx: Context, _account: Account) -> str:
    return write(ctx, "there are no more issues until you give us another card")


@stage(timeout=timedelta(seconds=10))
def say_goodbye(ctx: Context, account: Account) -> str:
    return write(ctx, f"your subscription has ended after {account.paid} months")


def write(ctx: Context, text: str) -> str:
    to = ctx.run_input(Subscription).customer
    return str(world().once("customer.told", ctx.key, to=to, text=text).details["text"])


# --- what is known: pure functions ------------------------------------------------------------------------------------


def begin(subscription: Subscription) -> Account:
    return Account(card=subscription.card, price=subscription.price, left=subscription.months)


def is_charged(_account: Account, charged: str | Failed) -> bool:
    return not isinstance(charged, Failed)


def book(account: Account, _charged: str | Failed) -> Account:
    paid, left = account.paid + 1, account.left - 1
    return account.model_copy(
        update={"paid": paid, "left": left, "declined": 0, "ends": account.ends or ("" if left else "over")}
    )


def is_cancelled(account: Account, _charged: str | Failed) -> bool:
    return account.ends == "cancelled"


def is_enough(account: Account, _charged: str | Failed) -> bool:
    return account.declined + 1 >= PATIENCE


def count(account: Account, _charged: str | Failed) -> Account:
    return account.model_copy(update={"declined": account.declined + 1})


def change_card(account: Account, event: NewCard) -> Account:
    return account.model_copy(update={"card": event.card, "declined": 0})


def cancel(account: Account, _event: Cancel) -> Account:
    return account.model_copy(update={"ends": "cancelled"})


def ends(account: Account) -> bool:
    return bool(account.ends)


def give_up(account: Account) -> Account:
    return account.model_copy(update={"ends": "not paid"})


# --- what leads where -------------------------------------------------------------------------------------------------

charging = State("charging", Account, enter=charge)
active = State("active", Account)
past_due = State("past_due", Account, enter=ask_for_card)
suspended = State("suspended", Account, enter=suspend)
ending = State("ending", Account, enter=say_goodbye)
ended = State("ended", Account, final=True)

subscription = Machine(
    "subscription",
    input=Subscription,
    begin=begin,
    start=charging,
    deadline=timedelta(days=3 * 365),
    transitions=(
        charging.done(charge, to=active, when=is_charged, update=book),
        charging.done(charge, to=ending, when=is_cancelled),
        charging.done(charge, to=suspended, when=is_enough, update=count),
        charging.done(charge, to=past_due, update=count),
        charging.on(NewCard, update=change_card),
        charging.on(Cancel, update=cancel),
        active.after(MONTH, to=ending, when=ends),
        active.after(MONTH, to=charging),
        active.on(NewCard, update=change_card),
        active.on(Cancel, update=cancel),
        past_due.on(NewCard, to=charging, update=change_card),
        past_due.on(Cancel, to=ending, update=cancel),
        past_due.after(timedelta(days=5), to=charging),
        suspended.on(NewCard, to=charging, update=change_card),
        suspended.on(Cancel, to=ending, update=cancel),
        suspended.after(MONTH, to=ending, update=give_up),
        ending.done(say_goodbye, to=ended),
    ),
)

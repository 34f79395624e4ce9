"""A shipment: book a carrier, wait for what it tells of the parcel, tell the customer or claim the parcel's value.

Shows waits for external events. The carrier's may come early, twice and out of order; the workflow needs not know.
Nobody collects the parcel: the wait fails, and the booking is cancelled. Nothing is heard of it any more: the run goes
on, and claims its value.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, Field

from onewrite import Context, Retry, Workflow, stage
from workflows.examples.outside import carrier, world


class Consignment(BaseModel):
    """What is to be sent. Its value is in cents, the country is given by its two letters."""

    order: str = Field(min_length=1, max_length=64)
    contents: str
    value: int = Field(gt=0)
    recipient: str
    country: str = Field(pattern=r"^[A-Z]{2}$")
    service: Literal["standard", "express", "economy", "rail"] = "standard"


class Booking(BaseModel):
    tracking: str


class PickedUp(BaseModel):
    """An event: the carrier has the parcel."""

    tracking: str
    depot: str


class Delivered(BaseModel):
    """An event: the recipient has the parcel."""

    tracking: str
    place: str


class Lost(BaseModel):
    """An event: nobody has the parcel."""

    tracking: str
    last_seen: str


class Outcome(BaseModel):
    tracking: str
    told: str
    claim: str | None = None


def cancel_booking(ctx: Context, booking: Booking) -> None:
    carrier.cancel(ctx.key, booking.tracking)


@stage(
    retry=Retry(3, first=timedelta(seconds=3), on=(carrier.NoAnswer,)),
    timeout=timedelta(seconds=10),
    compensate=cancel_booking,
)
def book(ctx: Context, consignment: Consignment) -> Booking:
    return Booking(tracking=carrier.book(ctx.key, consignment.service))


def is_booked(booking: Booking, scan: PickedUp) -> bool:
    return scan.tracking == booking.tracking


def is_collected(collected: PickedUp, scan: Delivered | Lost) -> bool:
    return scan.tracking == collected.tracking


@stage(timeout=timedelta(seconds=10))
def settle(ctx: Context, scan: Delivered | Lost | None) -> Outcome:
    consignment, tracking = ctx.run_input(Consignment), ctx.output(book).tracking
    if isinstance(scan, Delivered):
        return Outcome(tracking=tracking, told=tell(ctx, f"your {consignment.contents} is here: {scan.place}"))
    reason = f"last seen {scan.last_seen}" if scan else "no news"
    claim = carrier.claim(ctx.key, tracking, consignment.value, reason)
    return Outcome(tracking=tracking, told=tell(ctx, "your parcel is lost: we send another one"), claim=claim)


def tell(ctx: Context, text: str) -> str:
    told = world().once("customer.told", ctx.key, to=ctx.run_input(Consignment).recipient, text=text)
    return str(told.details["text"])


shipment = (
    Workflow("shipment", input=Consignment, deadline=timedelta(days=30))
    .then(book)
    .wait_for(PickedUp, match=is_booked, timeout=timedelta(days=2), id="collection")
    .wait_for(Delivered, Lost, match=is_collected, timeout=timedelta(days=10), on_timeout="proceed", id="delivery")
    .then(settle)
)

"""An order: charge the card, pack and invoice side by side, ship. Shows retries, branches, undoing.

Retried: a card that is declined. Undone: when the carrier does not go there, the invoice is cancelled and
the money given back. Every call to the outside carries a key made of the run's id, so a repeated stage
repeats no effect.
"""

from __future__ import annotations

from datetime import timedelta
from math import ceil

from pydantic import BaseModel, Field

from onewrite import Context, Retry, Workflow, stage
from workflows.examples.outside import payments, warehouse, world

BOX_KG = 20


class Line(BaseModel):
    """What was bought. Prices are in cents."""

    sku: str = Field(min_length=1, max_length=64)
    name: str
    quantity: int = Field(gt=0, le=1000)
    price: int = Field(gt=0)
    kg: float = Field(gt=0)


class Address(BaseModel):
    """Where it goes. The country is given by its two letters."""

    name: str
    street: str
    city: str
    country: str = Field(pattern=r"^[A-Z]{2}$")


class Order(BaseModel):
    """What the shop sends. The card is the gateway's token: a card's number has no business in a log."""

    number: str = Field(min_length=1, max_length=64)
    card: str = Field(pattern=r"^tok_\w+$")
    lines: list[Line] = Field(min_length=1, max_length=100)
    deliver_to: Address

    @property
    def amount(self) -> int:
        return sum(line.price * line.quantity for line in self.lines)

    @property
    def kg(self) -> float:
        return sum(line.kg * line.quantity for line in self.lines)


class Shop(BaseModel):
    """Configuration of the charge: what may differ from run to run without being part of the order."""

    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")


class Receipt(BaseModel):
    charge: str
    amount: int
    currency: str


class Parcel(BaseModel):
    number: str
    boxes: int


class Invoice(BaseModel):
    number: str
    amount: int


class Shipment(BaseModel):
    tracking: str
    parcel: str
    invoice: str


def refund(ctx: Context[Shop], receipt: Receipt) -> None:
    payments.refund(ctx.key, receipt.charge, receipt.amount)


@stage(retry=Retry(4, first=timedelta(seconds=1)), timeout=timedelta(seconds=10), compensate=refund)
def charge(ctx: Context[Shop], order: Order) -> Receipt:
    currency = ctx.config.currency
    number = payments.charge(ctx.key, order.card, order.amount, currency)
    ctx.log.info("charged", extra={"charge": number, "amount": order.amount})
    return Receipt(charge=number, amount=order.amount, currency=currency)


@stage(retry=Retry(3, first=timedelta(seconds=1)), timeout=timedelta(seconds=6))
def pack(ctx: Context, _receipt: Receipt) -> Parcel:
    order = ctx.run_input(Order)
    return Parcel(number=warehouse.pack(ctx.key, order.kg), boxes=ceil(order.kg / BOX_KG))


def cancel_invoice(ctx: Context, invoice: Invoice) -> None:
    world().once("invoice.cancelled", ctx.key, number=invoice.number)


@stage(timeout=timedelta(seconds=10), compensate=cancel_invoice)
def invoice(ctx: Context, receipt: Receipt) -> Invoice:
    number = f"INV-{ctx.run_input(Order).number}"
    world().once("invoice.sent", ctx.key, number=number, amount=receipt.amount)
    return Invoice(number=number, amount=receipt.amount)


@stage(timeout=timedelta(seconds=10))
def ship(ctx: Context, parcel: Parcel, invoice: Invoice) -> Shipment:
    country = ctx.run_input(Order).deliver_to.country
    tracking = warehouse.ship(ctx.key, parcel.number, country)
    return Shipment(tracking=tracking, parcel=parcel.number, invoice=invoice.number)


order = Workflow("order", input=Order).then(charge).together(pack, invoice).then(ship)

"""Order-sized payloads that the benchmarks share: about 512 bytes in, about 256 bytes out, as JSON."""

from __future__ import annotations

from pydantic import BaseModel


class Line(BaseModel):
    """A line of an order."""

    sku: str
    quantity: int
    price: float


class Order(BaseModel):
    """An order: 512 bytes of JSON."""

    id: str
    customer: str
    email: str
    street: str
    city: str
    lines: list[Line]
    note: str = ""


class Receipt(BaseModel):
    """What a stage makes of it: 256 bytes of JSON."""

    id: str
    order: str
    status: str
    amount: float
    carrier: str
    note: str = ""


def order(size: int = 512) -> Order:
    """An order whose JSON has ``size`` bytes."""
    made = Order(
        id="order-2026-000123",
        customer="customer-42",
        email="ada@example.com",
        street="12 St James's Square",
        city="London",
        lines=[Line(sku=f"SKU-{n:05d}", quantity=n + 1, price=19.99) for n in range(5)],
    )
    return made.model_copy(update={"note": "x" * (size - len(made.model_dump_json()))})


def receipt(size: int = 256) -> Receipt:
    """A receipt whose JSON has ``size`` bytes."""
    made = Receipt(id="receipt-1", order="order-2026-000123", status="paid", amount=119.94, carrier="acme")
    return made.model_copy(update={"note": "x" * (size - len(made.model_dump_json()))})

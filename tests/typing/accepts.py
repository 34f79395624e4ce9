"""What users write, and the types that both checkers must infer for it. Read by them only, never run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

from pydantic import BaseModel

from onewrite import (
    AwaitCallback,
    Context,
    Failed,
    Machine,
    NoConfig,
    Pending,
    Registry,
    Retry,
    Stage,
    State,
    Suspend,
    Transition,
    Workflow,
    stage,
)
from onewrite.testing import Play


class Order(BaseModel):
    id: str
    express: bool = False


class Gateway(BaseModel):
    url: str = "https://example.org"


class Receipt(BaseModel):
    id: str


class Parcel(BaseModel):
    id: str


class Invoice(BaseModel):
    id: str


class Shipment(BaseModel):
    id: str


class Job(BaseModel):
    id: str


# --- stages --------------------------------------------------------------------------------------------


def refund(ctx: Context[Gateway], receipt: Receipt) -> None:
    assert_type(ctx.config, Gateway)


@stage(retry=Retry(3, on=(ConnectionError,)), timeout=timedelta(seconds=5), compensate=refund)
def charge(ctx: Context[Gateway], order: Order) -> Receipt:
    assert_type(ctx.config, Gateway)
    assert_type(ctx.config.url, str)
    return Receipt(id=order.id)


@stage
def pack(ctx: Context, receipt: Receipt) -> Parcel:
    assert_type(ctx.config, NoConfig)
    assert_type(ctx.run_input(Order), Order)
    return Parcel(id=receipt.id)


@stage(retry=Retry(1), on_failure="proceed")
def bill(ctx: Context, receipt: Receipt) -> Invoice:
    return Invoice(id=receipt.id)


@stage(at_most_once=True)
def ship(ctx: Context, parcel: Parcel, invoice: Invoice) -> Shipment:
    assert_type(ctx.output(charge), Receipt)
    assert_type(ctx.cancelled, bool)
    assert_type(ctx.attempt, int)
    ctx.progress(0.5)
    ctx.heartbeat()
    ctx.log.info("shipping %s", parcel.id)
    return Shipment(id=parcel.id)


@stage
def ship_anyhow(ctx: Context, parcel: Parcel, invoice: Invoice | Failed) -> Shipment:
    return Shipment(id="none" if isinstance(invoice, Failed) else invoice.id)


@stage
def wrap(ctx: Context, parcel: Parcel | None) -> list[Parcel]:
    return [] if parcel is None else [parcel]


@stage
def count(ctx: Context, parcels: list[Parcel]) -> int:
    return len(parcels)


def packed(ctx: Context, job: Job) -> Parcel | Pending:
    return Pending(progress=0.5)


def unpack(ctx: Context, parcel: Parcel) -> None: ...


@stage(check=packed, every=timedelta(minutes=1), limit=timedelta(hours=6))
def order_packing(ctx: Context, receipt: Receipt) -> Parcel | Suspend[Job]:
    return Suspend(Job(id=receipt.id))


@stage(check=packed, every=timedelta(minutes=1), limit=timedelta(hours=6), compensate=unpack)
def always_order_packing(ctx: Context, receipt: Receipt) -> Suspend[Job]:
    return Suspend(Job(id=receipt.id))


@stage(callback=timedelta(days=3))
def ask_packer(ctx: Context, receipt: Receipt) -> Parcel | AwaitCallback:
    assert_type(ctx.callback_token, str)
    return AwaitCallback()


@stage(callback=timedelta(days=3), callback_heartbeat=timedelta(hours=1), compensate=unpack, retry=Retry(2))
def ask_packer_again(ctx: Context, receipt: Receipt) -> Parcel | AwaitCallback:
    return Parcel(id=receipt.id)


assert_type(ask_packer, Stage[Parcel, Receipt])
assert_type(ask_packer_again, Stage[Parcel, Receipt])
assert_type(charge, Stage[Receipt, Order])
assert_type(pack, Stage[Parcel, Receipt])
assert_type(bill, Stage[Invoice, Receipt])
assert_type(ship, Stage[Shipment, Parcel, Invoice])
assert_type(order_packing, Stage[Parcel, Receipt])
assert_type(always_order_packing, Stage[Parcel, Receipt])
assert_type(charge.named("deposit"), Stage[Receipt, Order])


def called_directly(ctx: Context[Gateway], order: Order) -> Receipt:
    """A stage called directly is the plain function."""
    return charge(ctx, order)


# --- workflows -----------------------------------------------------------------------------------------

begun = Workflow("order", input=Order)
assert_type(begun, Workflow[Order, Order])
charged = begun.then(charge)
assert_type(charged, Workflow[Order, Receipt])
side_by_side = charged.together(pack, bill)
assert_type(side_by_side, Workflow[Order, Parcel, Invoice])
assert_type(side_by_side.then(ship), Workflow[Order, Shipment])
assert_type(charged.then(order_packing), Workflow[Order, Parcel])
assert_type(charged.then(ask_packer), Workflow[Order, Parcel])

# A stage may take more than what comes.
assert_type(side_by_side.then(ship_anyhow), Workflow[Order, Shipment])

# A condition sees the values so far; what follows sees None when it did not hold.
perhaps = charged.then_if(lambda receipt: receipt.id != "", pack)


def due(receipt: Receipt) -> datetime:
    return datetime.now(UTC)


awaited = charged.wait_for(Job, Invoice, match=lambda receipt, event: event.id == receipt.id)
assert_type(awaited, Workflow[Order, Job | Invoice])
patient = charged.wait_for(Invoice, timeout=timedelta(days=3), on_timeout="proceed")
assert_type(patient, Workflow[Order, Invoice | None])
assert_type(side_by_side.wait_for(Job, Invoice, Shipment), Workflow[Order, Job | Invoice | Shipment])
waiting = charged.sleep(timedelta(days=3)).sleep_until(due).sleep_until(datetime.now(UTC)).then(pack)
assert_type(waiting, Workflow[Order, Parcel])
assert_type(side_by_side.sleep(timedelta(days=3)), Workflow[Order, Parcel, Invoice])
assert_type(perhaps, Workflow[Order, Parcel | None])
assert_type(perhaps.then(wrap).then(count), Workflow[Order, int])
assert_type(
    side_by_side.then_if(lambda parcel, invoice: parcel.id == invoice.id, ship),
    Workflow[Order, Shipment | None],
)

# Any stages of the workflow may be joined, in the order of the parameters.
assert_type(side_by_side.step(ship, after=(pack, bill)), Workflow[Order, Shipment])
assert_type(charged.step(pack, after=charge), Workflow[Order, Parcel])
assert_type(charged.step(pack, after=(charge,)), Workflow[Order, Parcel])
assert_type(side_by_side.step(ship_anyhow, after=(pack, bill)), Workflow[Order, Shipment])
assert_type(side_by_side.output(bill), Workflow[Order, Invoice])
assert_type(side_by_side.output(bill, pack, charge), Workflow[Order, Invoice, Parcel, Receipt])

p, q, r, s = (pack.named(name) for name in "pqrs")
assert_type(charged.together(p, q, r), Workflow[Order, Parcel, Parcel, Parcel])
six = charged.together(pack, bill, p, q, r, s)
assert_type(six, Workflow[Order, Parcel, Invoice, Parcel, Parcel, Parcel, Parcel])

registry = Registry(side_by_side.then(ship), perhaps, six)
assert_type(registry.latest("order").version, int)


# --- machines ------------------------------------------------------------------------------------------


class Approval(BaseModel):
    order: Order
    signed_by: tuple[str, ...] = ()


class Approve(BaseModel):
    by: str


class Reject(BaseModel):
    why: str


def begin(order: Order) -> Approval:
    return Approval(order=order)


def sign(data: Approval, event: Approve) -> Approval:
    return data.model_copy(update={"signed_by": (*data.signed_by, event.by)})


def late(data: Approval) -> Approval:
    return data


@stage
def ask_manager(ctx: Context, data: Approval) -> Receipt:
    return Receipt(id=data.order.id)


@stage(retry=Retry(1), on_failure="proceed")
def tell(ctx: Context, data: Approval) -> Parcel:
    raise NotImplementedError


def told(data: Approval, out: Parcel | Failed) -> Approval:
    return data


paying = Workflow("paying", input=Approval).then(ask_manager).then(pack)
review = State("review", Approval, enter=ask_manager)
assert_type(review, State[Approval])
paid = State("paid", Approval, enter=paying)
telling = State("telling", Approval, enter=tell)
approved = State("approved", Approval, final=True)

on_event = review.on(Approve, to=paid, when=lambda data, event: data.order.express or event.by == "me", update=sign)
assert_type(on_event, Transition[Approval])
within = review.on(Reject, update=lambda data, event: data.model_copy(update={"why": event.why}), roles=("manager",))
worked = review.on(Approve, to=approved, work=paying, result=lambda data, parcel: begin(Order(id=parcel.id)))
staged = review.on(Approve, to=approved, work=ask_manager, result=lambda data, receipt: begin(Order(id=receipt.id)))
done = review.done(ask_manager, to=paid, when=lambda data, receipt: receipt.id == data.order.id)
graph_done = paid.done(paying, to=telling, update=lambda data, parcel: begin(Order(id=parcel.id)))
failed_done = telling.done(tell, to=approved, update=told)
timed = review.after(timedelta(days=3), to=approved, when=lambda data: data.order.express, update=late)
monthly = paid.after(
    timedelta(days=30), to=paid, work=ask_manager, result=lambda data, receipt: begin(Order(id=receipt.id))
)
then_packed = paid.done(paying, to=telling, work=ask_manager, result=lambda data, receipt: data)

approval = Machine(
    "approval",
    input=Order,
    begin=begin,
    start=review,
    transitions=(on_event, within, worked, staged, done, graph_done, failed_done, timed),
)
assert_type(approval, Machine[Order, Approval])
plain = Machine("plain", input=Approval, start=review, transitions=(worked,))
assert_type(plain, Machine[Approval, Approval])
Registry(approval, plain, charged)


# --- what is said beside ---------------------------------------------------------------------------------


@stage
def notes(ctx: Context, order: Order) -> Receipt:
    ctx.annotate("who", "alice")
    ctx.annotate("express", order.express)
    ctx.annotate("attempt", ctx.attempt)
    ctx.annotate("share", 0.5)
    return Receipt(id=order.id)


def starts(play: Play, order: Order) -> None:
    said: dict[str, str | int] = {"trigger": "nightly", "attempt": 3}
    run = play.start(six, order, priority="high", annotations=said)
    play.start(six, order, priority="normal", annotations={"who": "alice", "dry-run": True, "share": 0.5})
    assert_type(play.annotations(run, "tr")[0].value, str | bool | int | float)

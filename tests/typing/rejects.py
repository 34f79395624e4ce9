"""Mistakes that both checkers must reject: each on a line with mypy's code for it and why it is one.

Read by the checkers only, never run. Under this project's settings both report a ``type: ignore`` that is
not needed. So a mistake that passes is an error, and so is an error on any other line.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from onewrite import AwaitCallback, Context, Machine, Pending, Retry, Stage, State, Suspend, Workflow, stage
from onewrite.testing import Play

HOUR = timedelta(hours=1)


class Order(BaseModel):
    id: str


class Gateway(BaseModel):
    url: str = ""


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


# --- right so far --------------------------------------------------------------------------------------


def refund(ctx: Context[Gateway], receipt: Receipt) -> None: ...


@stage(compensate=refund)
def charge(ctx: Context[Gateway], order: Order) -> Receipt:
    return Receipt(id=order.id)


@stage
def pack(ctx: Context, receipt: Receipt) -> Parcel:
    return Parcel(id=receipt.id)


@stage
def bill(ctx: Context, receipt: Receipt) -> Invoice:
    return Invoice(id=receipt.id)


@stage
def ship(ctx: Context, parcel: Parcel, invoice: Invoice) -> Shipment:
    return Shipment(id=parcel.id + invoice.id)


@stage
def weigh(ctx: Context, parcel: Parcel) -> int:
    return len(parcel.id)


def packed(ctx: Context, job: Job) -> Parcel | Pending:
    return Pending()


begun = Workflow("order", input=Order)
charged = begun.then(charge)
side_by_side = charged.together(pack, bill)
perhaps = charged.then_if(lambda receipt: receipt.id != "", pack)

# --- what comes next -----------------------------------------------------------------------------------
begun.then(pack)  # type: ignore[arg-type]  # takes a Receipt, not the Order
begun.then(ship)  # type: ignore[arg-type]  # takes two inputs, gets one
charged.then(charge)  # type: ignore[arg-type]  # takes an Order, not the Receipt
charged.together(pack, charge.named("again"))  # type: ignore[arg-type]  # the second takes an Order
charged.together(pack)  # type: ignore[call-overload]  # one stage is not a group
side_by_side.then(pack)  # type: ignore[arg-type]  # two outputs come, it takes one
charged.together(bill, pack).then(ship)  # type: ignore[arg-type]  # joined in the wrong order
charged.together(pack, bill, pack.named("twice")).then(ship)  # type: ignore[arg-type]  # three outputs come, it takes two
perhaps.then(weigh)  # type: ignore[arg-type]  # the Parcel may be None
perhaps.then(ship)  # type: ignore[arg-type]  # one output comes, it takes two
charged.then_if(lambda receipt: receipt.total > 0, pack)  # type: ignore[attr-defined]  # a Receipt has no total
charged.wait_for(int)  # type: ignore[type-var]  # an event is a model
charged.wait_for(Invoice).then(pack)  # type: ignore[arg-type]  # pack takes a Receipt
charged.wait_for(Invoice, match=lambda receipt, event: event.total > 0)  # type: ignore[attr-defined]  # an Invoice has no total
charged.wait_for(Invoice, on_timeout="proceed")  # type: ignore[call-overload]  # it never times out
charged.sleep(3)  # type: ignore[arg-type]  # a duration has a unit
charged.sleep_until(lambda receipt: receipt.total)  # type: ignore[attr-defined]  # a Receipt has no total
charged.sleep_until(lambda receipt: receipt.id)  # type: ignore[arg-type, return-value]  # a time is a datetime
charged.then_if(lambda parcel, invoice: True, pack)  # type: ignore[arg-type, misc]  # one value comes, it takes two
side_by_side.step(ship, after=(bill, pack))  # type: ignore[arg-type]  # joined in the wrong order
side_by_side.step(ship, after=pack)  # type: ignore[arg-type]  # one output comes, it takes two
side_by_side.step(ship, after=())  # type: ignore[arg-type]  # it takes two outputs
charged.step(pack, after="charge")  # type: ignore[call-overload]  # stages are named by themselves, not by their ids


def undecorated(ctx: Context, order: Order) -> Receipt:
    return Receipt(id=order.id)


begun.then(undecorated)  # type: ignore[arg-type]  # not a stage

# --- what a workflow is made of ------------------------------------------------------------------------
Workflow("order", input=dict)  # type: ignore[type-var]  # the input is a model
Workflow("order")  # type: ignore[call-arg]  # there is no workflow without an input
Workflow("order", input=Order, deadline=60)  # type: ignore[arg-type]  # durations are timedeltas
Workflow("order", input=Order, on_failure="ignore")  # type: ignore[arg-type]  # no such strategy
Workflow("order", input=Order, on_cancel="proceed")  # type: ignore[arg-type]  # a cancelled run does not proceed
wrong: Workflow[Order, Parcel] = charged  # type: ignore[assignment]  # it has come to a Receipt

# --- what a stage is made of ---------------------------------------------------------------------------


@stage(retry=3)  # type: ignore[call-overload, untyped-decorator]  # a policy is a Retry
def number_for_retry(ctx: Context, order: Order) -> Receipt:
    raise NotImplementedError


@stage(timeout=5)  # type: ignore[call-overload, untyped-decorator]  # durations are timedeltas
def number_for_timeout(ctx: Context, order: Order) -> Receipt:
    raise NotImplementedError


@stage(on_failure="retry")  # type: ignore[call-overload, untyped-decorator]  # no such strategy
def no_such_strategy(ctx: Context, order: Order) -> Receipt:
    raise NotImplementedError


@stage(retry=Retry(3, 5))  # type: ignore[arg-type, call-arg]  # the delay has a name and is a timedelta
def unnamed_delay(ctx: Context, order: Order) -> Receipt:
    raise NotImplementedError


@stage  # type: ignore[arg-type]  # its first parameter must be a Context
def no_context(order: Order) -> Receipt:
    raise NotImplementedError


@stage(compensate=refund)  # type: ignore[arg-type]  # refund takes a Receipt, the stage gives a Parcel
def compensated_by_the_wrong_output(ctx: Context[Gateway], order: Order) -> Parcel:
    raise NotImplementedError


def refund_returning(ctx: Context, receipt: Receipt) -> Receipt:
    raise NotImplementedError


@stage(compensate=refund_returning)  # type: ignore[arg-type]  # a compensation gives nothing
def compensation_that_gives(ctx: Context, order: Order) -> Receipt:
    raise NotImplementedError


def checks_an_order(ctx: Context, order: Order) -> Parcel | Pending:
    raise NotImplementedError


@stage(check=checks_an_order, every=HOUR, limit=HOUR)  # type: ignore[arg-type]  # the stage suspends with a Job
def check_of_another_state(ctx: Context, receipt: Receipt) -> Parcel | Suspend[Job]:
    raise NotImplementedError


@stage(check=packed, every=HOUR, limit=HOUR)  # type: ignore[arg-type]  # the check gives a Parcel
def check_of_another_output(ctx: Context, receipt: Receipt) -> Invoice | Suspend[Job]:
    raise NotImplementedError


@stage(check=packed, every=HOUR, limit=HOUR, compensate=refund)  # type: ignore[misc]  # refund takes a Receipt, the check gives a Parcel
def check_and_compensation_disagree(ctx: Context, receipt: Receipt) -> Parcel | Suspend[Job]:
    raise NotImplementedError


@stage(check=packed, limit=HOUR)  # type: ignore[call-overload, untyped-decorator]  # how often is not said
def check_without_interval(ctx: Context, receipt: Receipt) -> Parcel | Suspend[Job]:
    raise NotImplementedError


@stage(callback=HOUR, compensate=refund)  # type: ignore[arg-type]  # refund takes a Receipt, the answer is a Parcel
def callback_and_compensation_disagree(ctx: Context, receipt: Receipt) -> Parcel | AwaitCallback:
    raise NotImplementedError


@stage(callback=HOUR, check=packed, every=HOUR, limit=HOUR)  # type: ignore[call-overload, untyped-decorator]  # either
def callback_and_check(ctx: Context, receipt: Receipt) -> Parcel | AwaitCallback:
    raise NotImplementedError


@stage(callback_heartbeat=HOUR)  # type: ignore[call-overload, untyped-decorator]  # of no callback
def heartbeat_without_callback(ctx: Context, receipt: Receipt) -> Parcel | AwaitCallback:
    raise NotImplementedError


@stage(callback=HOUR)
def asks(ctx: Context, receipt: Receipt) -> Parcel | AwaitCallback:
    return Invoice(id="1")  # type: ignore[return-value]  # neither its output nor AwaitCallback


Workflow("asks", input=Receipt).then(asks).then(charge)  # type: ignore[arg-type]  # charge takes an Order, not a Parcel


# --- what a stage does ---------------------------------------------------------------------------------


def uses(ctx: Context[Gateway], plain: Context, order: Order) -> None:
    ctx.log.info(ctx.config.port)  # type: ignore[attr-defined]  # a Gateway has no port
    ctx.log.info(plain.config.url)  # type: ignore[attr-defined]  # this context has no configuration
    receipt: Parcel = ctx.output(charge)  # type: ignore[assignment]  # charge gives a Receipt
    ctx.output("charge")  # type: ignore[arg-type]  # stages are named by themselves, not by their ids
    ctx.run_input(dict)  # type: ignore[type-var]  # the input is read as a model
    charge(ctx, receipt)  # type: ignore[arg-type]  # takes an Order
    shipment: Shipment = charge(ctx, order)  # type: ignore[assignment]  # gives a Receipt
    ctx.log.info(shipment)
    ctx.log.info(Suspend(Job(id="1")).state.name)  # type: ignore[attr-defined]  # a Job has no name
    plain.annotate("who", None)  # type: ignore[arg-type]  # not something that an annotation can say
    plain.annotate("who", order)  # type: ignore[arg-type]  # nor is a model
    plain.annotate(1, "alice")  # type: ignore[arg-type]  # a key is a text
    plain.annotate("who")  # type: ignore[call-arg]  # says nothing
    narrower: Stage[Shipment, Parcel] = ship  # type: ignore[assignment]  # it takes an Invoice too
    ctx.log.info(narrower)


def not_a_model(ctx: Context[int], order: Order) -> None:  # type: ignore[type-var]  # a configuration is a model
    raise NotImplementedError


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
    return data


@stage
def ask_manager(ctx: Context, data: Approval) -> Receipt:
    return Receipt(id=data.order.id)


review = State("review", Approval, enter=ask_manager)
approved = State("approved", Approval, final=True)
elsewhere = State("elsewhere", Order)

State("s", Order, enter=ask_manager)  # type: ignore[misc]  # it takes an Approval, not an Order
State("s", Approval, enter=begun.then(charge))  # type: ignore[misc]  # the workflow's input is an Order
State("s", dict)  # type: ignore[type-var]  # the data is a model
review.on(Reject, to=approved, update=sign)  # type: ignore[arg-type]  # sign takes an Approve
review.on(Approve, to=elsewhere)  # type: ignore[arg-type]  # a state with other data
review.on(Approve, to="approved")  # type: ignore[call-overload]  # a state is named by itself
review.on(Approve, to=approved, when=lambda d, e: e.why != "")  # type: ignore[attr-defined]  # of Reject
review.on(Approve, to=approved, when=lambda d, e: d.signed != ())  # type: ignore[attr-defined]  # untyped
review.on(Approve, to=approved, update=lambda d, e: d.order)  # type: ignore[arg-type, return-value]  # other data
review.on(Approve, to=approved, roles="manager")  # type: ignore[call-overload]  # a tuple of roles
review.on("Approve", to=approved)  # type: ignore[call-overload]  # an event's class is its name
review.on(Approve, to=approved, work=charge)  # type: ignore[arg-type]  # it takes an Order
review.on(Approve, to=approved, result=lambda d, out: d)  # type: ignore[call-overload]  # of no work
review.on(Approve, to=approved, work=ask_manager, result=lambda d, r: d.nope)  # type: ignore[attr-defined]
review.done(pack, to=approved)  # type: ignore[arg-type]  # it takes a Receipt, not the data
review.done(ask_manager, to=approved, update=lambda d, r: r)  # type: ignore[arg-type, return-value]  # not the data
review.done(ask_manager, to=approved, when=lambda d, r: r.nope == "")  # type: ignore[attr-defined]  # of a Receipt
review.done(ask_manager)  # type: ignore[call-overload]  # it leads nowhere
review.after(3, to=approved)  # type: ignore[call-overload]  # a timedelta
review.after(HOUR, to=approved, work=charge)  # type: ignore[arg-type]  # it takes an Order
review.done(ask_manager, to=approved, work=ask_manager, result=lambda d, r: r.nope)  # type: ignore[attr-defined]
review.after(HOUR, to=elsewhere)  # type: ignore[arg-type]  # a state with other data
Machine("m", input=Order, start=review, transitions=())  # type: ignore[misc]  # what makes an Approval of the Order?
Machine("m", input=Receipt, begin=begin, start=review, transitions=())  # type: ignore[arg-type]  # begin takes an Order
Machine("m", input=Order, begin=begin, start=elsewhere, transitions=())  # type: ignore[arg-type]  # begin gives other data


# --- how a run is started ------------------------------------------------------------------------------


def starts(play: Play, order: Order) -> None:
    play.start(charged, order, priority="urgent")  # type: ignore[arg-type]  # there is normal and high
    play.start(charged, order, priority=1)  # type: ignore[arg-type]  # they have names
    play.start(charged, order, annotations={"who": None})  # type: ignore[dict-item]  # says nothing
    play.start(charged, order, annotations={1: "alice"})  # type: ignore[dict-item]  # a key is a text

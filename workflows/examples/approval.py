"""The approval of an invoice: a manager signs it, of a large one a director, too; then it is paid. Or it is rejected.

Shows a state machine. What is sent to it counts or is refused, depending on where it is and on who has sent it. Time
moves it as well: whoever is slow is reminded, and a manager who does not say anything is passed over. Nothing cuts a
payment off that was begun: no event is for the state in which it is made.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field

from onewrite import Context, Failed, Machine, Retry, State, Workflow, stage
from workflows.examples.outside import bank, world

SMALL = 100_000
"""Cents. What is less than that takes a manager's signature only."""


class Invoice(BaseModel):
    """What has come in. Its amount is in cents."""

    number: str = Field(min_length=1, max_length=64)
    supplier: str
    account: str = Field(pattern=r"^[A-Z]{2}[A-Z0-9 -]+$")
    amount: int = Field(gt=0)
    department: str


class Approval(BaseModel):
    """What is known of an invoice: the machine's data."""

    invoice: Invoice
    signed: list[str] = []
    comments: list[str] = []
    payment: str | None = None
    rejected: str | None = None


class Approve(BaseModel):
    """An event: somebody signs."""

    by: str


class Reject(BaseModel):
    """An event: somebody does not."""

    by: str
    why: str


class Comment(BaseModel):
    """An event: somebody has something to say."""

    by: str
    text: str


# --- what is done: stages ---------------------------------------------------------------------------------------------


@stage(timeout=timedelta(seconds=10))
def ask_manager(ctx: Context, approval: Approval) -> str:
    return write(ctx, "manager", f"please approve invoice {approval.invoice.number}")


@stage(timeout=timedelta(seconds=10), delay=timedelta(days=1))
def remind_manager(ctx: Context, letter: str) -> str:
    return write(ctx, "manager", f"once more: {letter}")


@stage(timeout=timedelta(seconds=10))
def ask_director(ctx: Context, approval: Approval) -> str:
    signed = " and ".join(approval.signed) or "nobody"
    return write(ctx, "director", f"please approve invoice {approval.invoice.number}, signed by {signed}")


@stage(timeout=timedelta(seconds=10), retry=Retry(4, first=timedelta(seconds=2)), on_failure="proceed")
def pay(ctx: Context, approval: Approval) -> str:
    invoice = approval.invoice
    return bank.pay(ctx.key, invoice.account, invoice.amount, invoice.number)


@stage(timeout=timedelta(seconds=10))
def tell_supplier(ctx: Context, approval: Approval) -> str:
    return write(ctx, approval.invoice.supplier, f"we do not pay {approval.invoice.number}: {approval.rejected}")


def write(ctx: Context, to: str, text: str) -> str:
    return str(world().once("letter.sent", ctx.key, to=to, text=text).details["text"])


# --- what is known: pure functions ------------------------------------------------------------------------------------


def begin(invoice: Invoice) -> Approval:
    return Approval(invoice=invoice)


def is_small(approval: Approval, _event: Approve) -> bool:
    return approval.invoice.amount < SMALL


def has_not_signed(approval: Approval, event: Approve) -> bool:
    return event.by not in approval.signed


def sign(approval: Approval, event: Approve) -> Approval:
    return approval.model_copy(update={"signed": [*approval.signed, event.by]})


def reject(approval: Approval, event: Reject) -> Approval:
    return approval.model_copy(update={"rejected": f"{event.why} ({event.by})"})


def note(approval: Approval, event: Comment) -> Approval:
    return approval.model_copy(update={"comments": [*approval.comments, f"{event.by}: {event.text}"]})


def is_paid(_approval: Approval, payment: str | Failed) -> bool:
    return not isinstance(payment, Failed)


def settle(approval: Approval, payment: str | Failed) -> Approval:
    if isinstance(payment, Failed):
        return approval.model_copy(update={"rejected": payment.message})
    return approval.model_copy(update={"payment": payment})


# --- what leads where -------------------------------------------------------------------------------------------------

review = State("review", Approval, enter=Workflow("asking", input=Approval).then(ask_manager).then(remind_manager))
escalated = State("escalated", Approval, enter=ask_director)
paying = State("paying", Approval, enter=pay)
paid = State("paid", Approval, final=True)
rejected = State("rejected", Approval, final=True)

approval = Machine(
    "approval",
    input=Invoice,
    begin=begin,
    start=review,
    deadline=timedelta(days=90),
    transitions=(
        review.on(Approve, to=paying, when=is_small, update=sign, roles=("manager",)),
        review.on(Approve, to=escalated, update=sign, roles=("manager",)),
        review.on(Reject, to=rejected, update=reject, roles=("manager",), work=tell_supplier),
        review.on(Comment, update=note),
        review.after(timedelta(days=3), to=escalated),
        escalated.on(Approve, to=paying, when=has_not_signed, update=sign, roles=("director",)),
        escalated.on(
            Reject, to=rejected, update=reject, roles=("director",), work=tell_supplier.named("tell_supplier_too")
        ),
        escalated.on(Comment, update=note),
        escalated.after(timedelta(days=7), to=escalated),
        paying.done(pay, to=paid, when=is_paid, update=settle),
        paying.done(pay, to=rejected, update=settle),
    ),
)

"""Workflows that the shell's tests share: small, and failing in just the way their input says."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from onewrite import Context, Pending, Retry, Suspend, Workflow, stage


class Order(BaseModel):
    """What to do, and what to let fail. ``fail`` names stages and how often each throws."""

    id: str = "o-1"
    fail: dict[str, int] = {}
    polls: int = 0


class Note(BaseModel):
    """What a stage leaves."""

    by: str
    order: str


class Effects:
    """The outside world: what stages did to it, in order."""

    def __init__(self) -> None:
        """Start with nothing done."""
        self.done: list[str] = []
        self.failed: dict[str, int] = {}
        self.polled = 0

    def clear(self) -> None:
        """Forget everything."""
        self.__init__()  # type: ignore[misc]  # the same object, since the stages hold it

    def do(self, ctx: Context, name: str, order: Order) -> Note:
        """Do something once more, or fail as the order wants."""
        if self.failed.get(name, 0) < order.fail.get(name, 0):
            self.failed[name] = self.failed.get(name, 0) + 1
            message = f"{name} fails"
            raise RuntimeError(message)
        self.done.append(name)
        return Note(by=name, order=ctx.run_id)


world = Effects()


def refund(ctx: Context, note: Note) -> None:
    """Undo ``charge``."""
    world.do(ctx, "refund", ctx.run_input(Order))


def unpack(ctx: Context, note: Note) -> None:
    """Undo ``pack``."""
    world.do(ctx, "unpack", ctx.run_input(Order))


@stage(compensate=refund, retry=Retry(3))
def charge(ctx: Context, order: Order) -> Note:
    """First."""
    return world.do(ctx, "charge", order)


@stage(compensate=unpack, retry=Retry(3))
def pack(ctx: Context, note: Note) -> Note:
    """Beside ``bill``."""
    return world.do(ctx, "pack", ctx.run_input(Order))


@stage(retry=Retry(3))
def bill(ctx: Context, note: Note) -> Note:
    """Beside ``pack``."""
    return world.do(ctx, "bill", ctx.run_input(Order))


@stage(retry=Retry(3))
def ship(ctx: Context, packed: Note, billed: Note) -> Note:
    """Last, joins both."""
    return world.do(ctx, "ship", ctx.run_input(Order))


order = Workflow("order", input=Order).then(charge).together(pack, bill).then(ship)
order_stopping = Workflow("order-stopping", input=Order, on_failure="stop").then(charge).together(pack, bill).then(ship)


class Job(BaseModel):
    """A job at a provider."""

    id: str


def rendered(ctx: Context, job: Job) -> Note | Pending:
    """Ask the provider."""
    world.polled += 1
    if world.polled <= ctx.run_input(Order).polls:
        return Pending(progress=world.polled / 10)
    return world.do(ctx, "rendered", ctx.run_input(Order))


@stage(check=rendered, every=timedelta(hours=1), limit=timedelta(days=6))
def render_slowly(ctx: Context, order: Order) -> Note | Suspend[Job]:
    """Hand a job to the provider, and ask for it by the hour."""
    world.do(ctx, "render", order)
    return Suspend(Job(id="j-1"))


@stage
def publish(ctx: Context, note: Note) -> Note:
    """Publish what was rendered."""
    return world.do(ctx, "publish", ctx.run_input(Order))


media_slow = Workflow("media-slow", input=Order).then(render_slowly).then(publish)
napping = Workflow("napping", input=Order).then(charge).sleep(timedelta(minutes=1)).then(publish)


class Paid(BaseModel):
    """An external event."""

    amount: int


@stage
def book(ctx: Context, paid: Paid) -> Note:
    """Book what was paid."""
    return world.do(ctx, "book", ctx.run_input(Order))


awaiting = (
    Workflow("awaiting", input=Order)
    .then(charge)
    .wait_for(Paid, timeout=timedelta(days=3))
    .then(book)
    .sleep(timedelta(hours=1))
    .then(publish)
)


def _steps(count: int, *, chain: bool = True) -> Workflow[Order, Note]:
    flow = Workflow(f"steps-{count}-{chain}", input=Order, chain=chain).then(charge.named("s0"))
    for number in range(1, count):
        flow = flow.then(publish.named(f"s{number}"))
    return flow


steps = {(count, chain): _steps(count, chain=chain) for count in (1, 5, 12, 40) for chain in (True, False)}

ALL = (order, order_stopping, media_slow, napping, *steps.values())

"""A deployment for the handlers' tests: a shop's workflows, all ports in memory, and the three handlers over them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from handlers import intake, job, tick
from infra.pokes import encode
from infra.settings import Settings
from kernel.errors import PermanentError
from kernel.testing.play import Play
from onewrite import Context, Machine, Registry, Retry, State, Workflow, stage
from tests.handlers.aws import Client, Handler, queue_record
from tests.handlers.aws import Context as LambdaContext

TENANT = "acme"


class Line(BaseModel):
    sku: str = Field(min_length=1)
    quantity: int = Field(gt=0)


class Order(BaseModel):
    id: str
    lines: list[Line] = []
    note: str = ""
    broken: bool = False


class Gateway(BaseModel):
    url: str = "https://pay.example"
    limit: int = 100


class Note(BaseModel):
    text: str


@stage(retry=Retry(1), timeout=timedelta(seconds=5))
def charge(ctx: Context[Gateway], order: Order) -> Note:
    before_each_stage()
    if order.broken and not shop_is_repaired[0]:
        message = "the card was declined"
        raise PermanentError(message)
    return Note(text=f"charged {order.id} up to {ctx.config.limit}")


@stage(timeout=timedelta(seconds=5))
def ship(ctx: Context, note: Note) -> Note:
    before_each_stage()
    return Note(text=f"shipped: {note.text}")


@stage
def bill(ctx: Context, note: Note) -> Note:
    return Note(text="billed")


def before_each_stage() -> None:
    """What a test puts in here happens when a stage begins."""


shop_is_repaired = [False]
"""Whether a charge of a broken order goes through by now."""

order = Workflow("order", input=Order, presets={"cautious": {"charge": {"limit": 5}}}).then(charge).then(ship)
old_order = Workflow("split", input=Order, version=1).then(charge)
new_order = Workflow("split", input=Order, version=2).then(charge).together(ship, bill)


class Delivered(BaseModel):
    place: str = Field(min_length=1)


@stage
def rejoice(ctx: Context, news: Delivered) -> Note:
    return Note(text=f"at the {news.place}")


parcel = Workflow("parcel", input=Order).then(charge).wait_for(Delivered).then(rejoice)


class Approve(BaseModel):
    by: str = Field(min_length=1)


class Withdraw(BaseModel):
    pass


asked = State("asked", Order, enter=charge)
seconded = State("seconded", Order)
granted, withdrawn = State("granted", Order, final=True), State("withdrawn", Order, final=True)
leave = Machine(
    "leave",
    input=Order,
    start=asked,
    transitions=(
        asked.on(Approve, to=seconded, roles=("manager", "owner")),
        asked.on(Withdraw, to=withdrawn),
        seconded.on(Approve, to=granted, roles=("owner",)),
    ),
)
registry = Registry(order, old_order, new_order, parcel, leave)

GOOD = {"id": "o-1", "lines": [{"sku": "apple", "quantity": 2}]}


def settings(**changes: Any) -> Settings:
    given = {"workflows": "tests.handlers.shop:registry", "table_name": "table", "queue_url": "https://queue"}
    return Settings(**{**given, "default_tenant": TENANT, **changes})


def started(client: Client, **fields: object) -> str:
    """Start an order, with these fields changed; the run's id."""
    run: str = client.start({"input": GOOD | fields}).json["run"]
    return run


class Deployment:
    """The handlers over one environment in memory."""

    def __init__(self, **changes: Any) -> None:
        self.play = Play(registry=registry)
        self.settings = settings(**changes)
        self.intake: Handler = intake.make_handler(self.play.env, registry, self.settings)
        self.job: Handler = job.make_handler(self.play.env)
        self.tick: Handler = tick.make_handler(self.play.env)

    @property
    def writes(self) -> list[str]:
        """Every call that stored, sent or published something."""
        changing = {"put", "put_all", "update", "delete", "send", "publish"}
        return [f"{call.port}.{call.method}" for call in self.play.faults.calls if call.method in changing]

    def work(self) -> None:
        """Let workers take what is in the queue by now, as SQS gives it to them."""
        bodies = []
        while (poke := self.play.queue.receive()) is not None:
            bodies.append(encode(poke))
        if bodies:
            records = [queue_record(body, f"message-{index}") for index, body in enumerate(bodies)]
            answer = self.job({"Records": records}, LambdaContext(300))
            assert answer == {"batchItemFailures": []}
            self.work()

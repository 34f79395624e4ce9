"""A deployment for benchmarks: DynamoDB Local's own store behind the real job handler, the meter in between."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import msgspec
from pydantic import BaseModel

from bench.payloads import Order, Receipt, order, receipt
from handlers.job import make_handler
from hosts.engines.dynamodb_local import DynamoDbLocal
from hosts.engines.environment import aws_environment
from infra.clients import Clients
from infra.dynamodb.store import Consumed, DynamoDbStore
from infra.dynamodb.table import create_table
from kernel.define.startable import Startable
from kernel.ports import HEAD, Head, RunRef
from kernel.shell.environment import Environment, Limits
from kernel.shell.start import start
from kernel.shell.tick import tick
from kernel.testing.memory import FakeClock, MemoryBlobs, MemoryQueue, MemorySink, NoAlarm, SeededRandom, SystemClock
from kernel.testing.units import Meter, MeteredQueue, MeteredStore
from onewrite import Context, Machine, Registry, State, Workflow, stage

TABLE = "onewrite-bench"
_OUT = receipt()
_SEEDS = count(os.getpid() * 1_000)
"""Of the runs' ids: each deployment has its own, though they share a table."""


@stage
def first(ctx: Context, placed: Order) -> Receipt:  # noqa: ARG001 - a stage is given its context
    """A step that does nothing but answer."""
    return _OUT


@stage
def step(ctx: Context, before: Receipt) -> Receipt:  # noqa: ARG001 - a stage is given its context
    """A further such step."""
    return _OUT


def sequence(steps: int, *waits: timedelta, chain: bool = True) -> Workflow[Order, Receipt]:
    """A workflow of ``steps`` sequential stages, with these waits after the first."""
    name = f"steps-{steps}-{'chained' if chain else 'apart'}"
    if waits:
        name += f"-{len(waits)}x{waits[0] // timedelta(seconds=1)}"
    workflow = Workflow(name, input=Order, chain=chain).then(first)
    for wait in waits:
        workflow = workflow.sleep(wait)
    for number in range(1, steps):
        workflow = workflow.then(step.named(f"step{number:04d}"))
    return workflow


class News(BaseModel):
    """An external event of 256 bytes or so."""

    text: str


@stage
def hear(ctx: Context, news: News) -> Receipt:  # noqa: ARG001 - a stage is given its context
    """A step that takes an event."""
    return _OUT


def listening(*, asleep: bool) -> Workflow[Order, Receipt]:
    """A workflow that waits for an event, and sleeps while it does, or does not."""
    timeout = timedelta(days=1) if asleep else timedelta(minutes=5)
    name = "waits-asleep" if asleep else "waits-awake"
    return Workflow(name, input=Order).then(first).wait_for(News, timeout=timeout).then(hear)


class Lap(BaseModel):
    """A machine's data: 256 bytes or so."""

    left: int
    text: str


@stage
def run_lap(ctx: Context, data: Lap) -> Receipt:  # noqa: ARG001 - a stage is given its context
    """The work of a state."""
    return _OUT


def laps(count: int) -> Machine[Order, Lap]:
    """A machine that enters a state so often, each time once its work is done."""
    running, over = State("running", Lap, enter=run_lap), State("over", Lap, final=True)
    return Machine(
        f"laps-{count}",
        input=Order,
        begin=lambda _order: Lap(left=count - 1, text="x" * 230),
        start=running,
        transitions=(
            running.done(run_lap, to=over, when=lambda data, _receipt: data.left == 0),
            running.done(run_lap, to=running, update=lambda data, _receipt: Lap(left=data.left - 1, text=data.text)),
        ),
    )


class LambdaContext:
    """A worker with five minutes."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Always as if it had just started."""
        return 300_000


class Deployment:
    """The real job handler over DynamoDB Local."""

    def __init__(
        self,
        endpoint_url: str,
        workflows: Sequence[Startable[Order]],
        *,
        metered: bool = True,
        clock: FakeClock | None = None,
    ) -> None:
        """Create the table, and wire everything. Only with a clock that can be moved may runs wait."""
        self._clock = clock
        self.clients = Clients(endpoint=endpoint_url)
        if TABLE not in self.clients.dynamodb.list_tables()["TableNames"]:
            create_table(self.clients.dynamodb, TABLE)
        self.consumed: list[Consumed] = []
        self.meter = Meter()
        self.queue = MemoryQueue(clock.now if clock else SystemClock.now)
        self._plain = DynamoDbStore(self.clients.dynamodb, TABLE)
        store = DynamoDbStore(self.clients.dynamodb, TABLE, on_consumed=self.consumed.append if metered else None)
        self.env = Environment(
            store=MeteredStore(store, self.meter) if metered else store,
            queue=MeteredQueue(self.queue, self.meter),
            blobs=MemoryBlobs(),
            sink=MemorySink(),
            clock=clock or SystemClock(),
            random=SeededRandom(next(_SEEDS)),
            alarm=NoAlarm(),
            definitions=Registry(*workflows),
            limits=Limits(chain_cap=100_000),
        )
        self.handler = make_handler(self.env)

    def begin(self, workflow: Startable[Order]) -> RunRef:
        """Start a run, and hand every message to the job handler."""
        ref = start(self.env, workflow, order(), tenant="bench", by="bench").ref
        self.work()
        return ref

    def work(self) -> None:
        """Hand every message that has arrived to the job handler."""
        while (poke := self.queue.receive()) is not None:
            answer = self.handler({"Records": [_record(msgspec.json.encode(poke).decode())]}, LambdaContext())
            assert answer == {"batchItemFailures": []}, answer  # noqa: S101 - a bench that did not do its work must not report

    def run(self, workflow: Startable[Order]) -> RunRef:
        """Start a run, and hand every message to the job handler, and every due time to the tick, until it is over."""
        ref = start(self.env, workflow, order(), tenant="bench", by="bench").ref
        while True:
            self.work()
            head = self._plain.get(ref, HEAD)
            assert isinstance(head, Head)  # noqa: S101 - it was just put
            if head.due is None:
                return ref
            assert self._clock is not None  # noqa: S101 - nobody waits where time cannot pass
            arrives, every = self.queue.next_at, self.env.limits.tick
            ticks = -(-max(head.due, self._clock.now()) // every) * every
            if arrives is not None and arrives < ticks:
                self._clock.move(arrives - self._clock.now())
                continue
            self._clock.move(ticks - self._clock.now())
            tick(self.env, self.env.clock.monotonic() + 50)


def _record(body: str) -> dict[str, Any]:
    """A message as SQS hands it to Lambda."""
    return {
        "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:pokes",
        "awsRegion": "us-east-1",
    }


@contextmanager
def dynamodb_local() -> Iterator[str]:
    """A running DynamoDB Local; gives its address."""
    with DynamoDbLocal.start() as engine:
        os.environ.update(aws_environment())
        yield engine.endpoint_url


def show(found: dict[str, Any], *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:>34}  {value}")

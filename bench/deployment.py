"""A deployment for benchmarks: DynamoDB Local's own store behind the real job handler, the meter in between."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from bench.payloads import Order, Receipt, order, receipt
from handlers.job import make_handler
from hosts.engines.dynamodb_local import DynamoDbLocal
from hosts.engines.environment import aws_environment
from infra.clients import Clients
from infra.dynamodb.store import Consumed, DynamoDbStore
from infra.dynamodb.table import create_table
from kernel.ports import RunRef
from kernel.shell.environment import Environment, Limits
from kernel.shell.start import start
from kernel.testing.memory import MemoryBlobs, MemoryQueue, MemorySink, NoAlarm, SeededRandom, SystemClock
from kernel.testing.units import Meter, MeteredQueue, MeteredStore
from onewrite import Context, Registry, Workflow, stage

TABLE = "onewrite-bench"
_OUT = receipt()


@stage
def first(ctx: Context, placed: Order) -> Receipt:  # noqa: ARG001 - a stage is given its context
    """A step that does nothing but answer."""
    return _OUT


@stage
def step(ctx: Context, before: Receipt) -> Receipt:  # noqa: ARG001 - a stage is given its context
    """A further such step."""
    return _OUT


def sequence(steps: int, *, chain: bool = True) -> Workflow[Order, Receipt]:
    """A workflow of ``steps`` sequential stages."""
    workflow = Workflow(f"steps-{steps}-{'chained' if chain else 'apart'}", input=Order, chain=chain).then(first)
    for number in range(1, steps):
        workflow = workflow.then(step.named(f"step{number:04d}"))
    return workflow


class LambdaContext:
    """A worker with five minutes."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Always as if it had just started."""
        return 300_000


class Deployment:
    """The real job handler over DynamoDB Local."""

    def __init__(self, endpoint_url: str, workflows: list[Workflow[Order, Receipt]], *, metered: bool = True) -> None:
        """Create the table, and wire everything."""
        self.clients = Clients(endpoint=endpoint_url)
        if TABLE not in self.clients.dynamodb.list_tables()["TableNames"]:
            create_table(self.clients.dynamodb, TABLE)
        self.consumed: list[Consumed] = []
        self.meter = Meter()
        self.queue = MemoryQueue(SystemClock.now)
        store = DynamoDbStore(self.clients.dynamodb, TABLE, on_consumed=self.consumed.append if metered else None)
        self.env = Environment(
            store=MeteredStore(store, self.meter) if metered else store,
            queue=MeteredQueue(self.queue, self.meter),
            blobs=MemoryBlobs(),
            sink=MemorySink(),
            clock=SystemClock(),
            random=SeededRandom(os.getpid()),
            alarm=NoAlarm(),
            definitions=Registry(*workflows),
            limits=Limits(chain_cap=100_000),
        )
        self.handler = make_handler(self.env)

    def run(self, workflow: Workflow[Order, Receipt]) -> RunRef:
        """Start a run, and hand every message to the job handler until none is left."""
        ref = start(self.env, workflow, order(), tenant="bench", by="bench").ref
        while (poke := self.queue.receive()) is not None:
            answer = self.handler({"Records": [_record(msgspec.json.encode(poke).decode())]}, LambdaContext())
            assert answer == {"batchItemFailures": []}, answer  # noqa: S101 - a bench that did not do its work must not report
        return ref


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

"""A hundred events, each delivered ten times, in any order and side by side, through the API: each is applied once."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from handlers import intake
from infra.dynamodb.store import DynamoDbStore
from kernel.core.events import EventReceived
from kernel.errors import Unavailable
from kernel.ports import RunRef
from kernel.shell import read
from kernel.shell.attend import attend
from kernel.shell.environment import Environment
from kernel.shell.start import start
from onewrite import Machine, Registry, State
from tests.contention.attending import environment
from tests.handlers.aws import Client, http_event
from tests.handlers.shop import TENANT, settings

pytestmark = pytest.mark.dynamodb_local

EVENTS, TIMES, SENDERS, WORKERS = 100, 10, 12, 4


class Tally(BaseModel):
    seen: list[int] = []


class Scan(BaseModel):
    number: int


def counted(data: Tally, event: Scan) -> Tally:
    """The tally with one more."""
    return Tally(seen=[*data.seen, event.number])


def is_last(data: Tally, _event: Scan) -> bool:
    """Whether it is the last one that is missing."""
    return len(data.seen) == EVENTS - 1


counting, full = State("counting", Tally), State("full", Tally, final=True)
tally = Machine(
    "tally",
    input=Tally,
    start=counting,
    transitions=(counting.on(Scan, to=full, when=is_last, update=counted), counting.on(Scan, update=counted)),
)


def test_a_thousand_deliveries_of_a_hundred_events_apply_each_once(store: DynamoDbStore) -> None:
    registry = Registry(tally)
    env = replace(environment(store), definitions=registry)
    ref = start(env, tally, Tally(), tenant=TENANT, by="test").ref
    deliveries = [number for number in range(EVENTS) for _ in range(TIMES)]
    random.Random(4).shuffle(deliveries)
    handler = intake.make_handler(env, registry, settings())

    def deliver(number: int) -> int:
        body = {"name": "Scan", "payload": {"number": number}, "id": f"scan-{number}"}
        return Client(handler, http_event).request("POST", f"/runs/{ref.run}/events", body=body).status

    with ThreadPoolExecutor(SENDERS + WORKERS) as pool:
        workers = [pool.submit(_attend, env, ref) for _ in range(WORKERS)]
        answers = Counter(pool.map(deliver, deliveries))
        for each in workers:
            each.result()

    # Whoever sends one again once the run is over is told what became of it, too.
    assert answers == {202: EVENTS * TIMES}
    shown = read.show(env, ref)
    assert (shown.status, shown.state) == ("completed", "full")
    received = [
        event.event
        for entry in read.log_page(env, ref, limit=10_000)
        for event in entry.events
        if isinstance(event, EventReceived)
    ]
    assert sorted(received) == sorted(f"scan-{number}" for number in range(EVENTS))
    (output,) = read.result(env, read.find(env, ref), tally.definition)
    assert sorted(Tally.model_validate_json(output).seen) == list(range(EVENTS))


def _attend(env: Environment, ref: RunRef) -> None:
    """Take messages until the run is over."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        poke = env.queue.receive()  # type: ignore[attr-defined]  # it is one in memory
        if poke is None:
            if read.find_head(env, ref).due is None:
                return
            env.clock.sleep(0.05)
            continue
        with suppress(Unavailable):  # too busy just now: it comes again
            attend(env, poke, time.monotonic() + 30)

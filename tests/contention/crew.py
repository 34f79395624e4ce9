"""The processes that contend: four, with eight threads each, that all begin at once.

They live as long as the tests do, since starting them takes longer than any race. Each has clients of its own, through
which it sees of every write whether it landed, and what it replaced.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any, Self, TypeVar

from bench.soak.effects import VARIABLE
from infra import clients
from infra.dynamodb.items import from_attributes
from infra.dynamodb.store import DynamoDbStore
from kernel.ports import Guard, Item
from tests.guards import switched_off

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")

TABLE = "onewrite-contention"
PROCESSES, THREADS = 4, 8
TOGETHER = 60.0
"""Seconds that the processes wait for one another."""


class Here:
    """What a process of the crew has.

    Attributes:
        number: which of the processes it is: 0, 1, ...
        store: the store under test, with a client of its own.
    """

    def __init__(self, number: int, barrier: Barrier, endpoint: str) -> None:
        self.number = number
        self.barrier = barrier
        self.client: DynamoDBClient = clients.Clients(endpoint=endpoint).dynamodb
        self.store = DynamoDbStore(self.client, TABLE)
        self._seen = threading.local()
        events = self.client.meta.events
        for operation in ("PutItem", "UpdateItem"):
            events.register(f"provide-client-params.dynamodb.{operation}", self._ask_for_old)
            events.register(f"after-call.dynamodb.{operation}", self._keep_old)

    def _ask_for_old(self, params: dict[str, Any], **_: object) -> None:
        params["ReturnValues"] = "ALL_OLD"

    def _keep_old(self, parsed: dict[str, Any], **_: object) -> None:
        self._seen.attributes = parsed.get("Attributes")

    @property
    def replaced(self) -> Item | None:
        """The item that this thread's last accepted write replaced."""
        attributes = self._seen.attributes
        return from_attributes(attributes) if attributes else None


_here: list[Here] = []


def _begin(numbers: Any, barrier: Barrier, endpoint: str, effects: str) -> None:
    """Set a process up. It must know of each call whether it landed: nothing is repeated behind its back."""
    os.environ[VARIABLE] = effects
    clients.STORE_ATTEMPTS = 1
    clients.READ_SECONDS = TOGETHER
    _here.append(Here(numbers.get(), barrier, endpoint))


def _race(task: Callable[[Here, int, Any], T], given: Any, off: Guard | None) -> list[T]:
    """Let all threads of this process do a task at once, and at once with those of the others."""
    here = _here[0]
    name = os.environ.get("GUARD", "")
    with ExitStack() as stack:
        for guard in {each for each in (off, Guard(name) if name else None) if each is not None}:
            stack.enter_context(switched_off(guard))
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        gate = threading.Barrier(THREADS + 1)

        def one(number: int) -> T:
            gate.wait(TOGETHER)
            return task(here, here.number * THREADS + number, given)

        running = [pool.submit(one, number) for number in range(THREADS)]
        here.barrier.wait(TOGETHER)
        gate.wait(TOGETHER)
        return [each.result() for each in running]


class Crew:
    """The processes. A context manager: they end with it."""

    def __init__(self, endpoint: str, effects: Path) -> None:
        # A server that has imported everything once forks them: four starts for the price of one.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.contention.racing", "tests.contention.attending"])
        numbers = context.SimpleQueue()
        for number in range(PROCESSES):
            numbers.put(number)
        barrier = context.Barrier(PROCESSES)
        self._pool = ProcessPoolExecutor(
            PROCESSES, context, initializer=_begin, initargs=(numbers, barrier, endpoint, str(effects))
        )

    def race(self, task: Callable[[Here, int, Any], T], given: Any = None, *, off: Guard | None = None) -> list[T]:
        """What came of a task that all threads of all processes did at once.

        Args:
            task: a function at the top of its module; gets its process, its number from 0, and ``given``.
            given: the same for all.
            off: a guard that is switched off in all processes meanwhile.
        """
        # Each process waits for the others before it begins, so each gets one of these.
        parts: Sequence[Any] = [self._pool.submit(_race, task, given, off) for _ in range(PROCESSES)]
        return [result for part in parts for result in part.result()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

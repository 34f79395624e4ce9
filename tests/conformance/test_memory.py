"""The adapters in memory, which users' own tests run on, under the suites of their ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.testing.conformance import BlobsContract, ConsumerContract, QueueContract, SinkContract, StoreContract
from kernel.testing.conformance.consumer import FOREIGN
from kernel.testing.memory import FakeClock, MemoryBlobs, MemoryQueue, MemorySink, MemoryStore
from kernel.testing.transport import Foreign, MemoryConsumer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel.delivery import Consumer
    from kernel.ports import Blobs, Poke, Queue, Sink, Store


class TestMemoryStore(StoreContract):
    patience = 0.0

    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def queue(self) -> Queue:
        self.clock = FakeClock()
        return MemoryQueue(self.clock.now)

    def receive(self, queue: Queue) -> Sequence[Poke]:
        assert isinstance(queue, MemoryQueue)
        return list(iter(queue.receive, None))

    def wait(self, queue: Queue, seconds: float) -> None:
        self.clock.sleep(seconds)


class TestMemoryConsumer(ConsumerContract):
    lag = 0.0

    @pytest.fixture
    def queue(self) -> Queue:
        self.clock = FakeClock()
        return MemoryQueue(self.clock.now)

    @pytest.fixture
    def consumers(self, queue: Queue) -> Callable[[], Consumer]:
        assert isinstance(queue, MemoryQueue)
        return lambda: MemoryConsumer(queue, self.clock, self.visibility, self.deliveries)

    def put(self, queue: Queue, body: str) -> None:
        queue.send([(Foreign("", "", body=body), 0)])

    def dead(self, queue: Queue) -> int:
        assert isinstance(queue, MemoryQueue)
        return queue.dead.count(Foreign("", "", body=FOREIGN))

    def wait(self, queue: Queue, seconds: float) -> None:
        self.clock.sleep(seconds)


class TestMemoryBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self) -> Blobs:
        return MemoryBlobs()


class TestMemorySink(SinkContract):
    @pytest.fixture
    def sink(self) -> Sink:
        return MemorySink()

    def received(self, sink: Sink, count: int) -> Sequence[tuple[str, bytes]]:
        assert isinstance(sink, MemorySink)
        return [(event.type, event.body) for event in sink.events]

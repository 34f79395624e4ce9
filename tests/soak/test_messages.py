"""Whose messages lie in a Redis: those in a worker's hand, and those that are lost when it loses its data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.soak.messages import Messages
from hosts.engines import EngineMissing
from hosts.engines.redis_server import RedisServer
from infra.redis.client import Client, connect
from infra.redis.consumer import RedisConsumer
from infra.redis.queue import RedisQueue
from kernel.ports import HIGH, Poke
from tests.conftest import absent

pytestmark = pytest.mark.redis

PREFIX = "test"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    try:
        started = RedisServer.start()
    except EngineMissing as error:
        absent("Redis", error)
    with started:
        yield started


@pytest.fixture
def client(server: RedisServer) -> Iterator[Client]:
    with connect(server.url) as client:
        yield client


@pytest.fixture
def messages(server: RedisServer) -> Iterator[Messages]:
    with Messages(server.url, PREFIX) as messages:
        yield messages


def test_what_is_in_hand_is_told_from_what_would_vanish(client: Client, messages: Messages) -> None:
    worker = RedisConsumer(client, PREFIX, "here-77-abc", visibility=30)
    pokes = [Poke("t", "high", priority=HIGH), Poke("t", "first"), Poke("t", "second")]
    RedisQueue(client, PREFIX).send([*((poke, 0) for poke in pokes), (Poke("t", "later"), 60)])

    assert worker.receive(1, 0)[0].poke == pokes[0]
    assert worker.receive(1, 0)[0].poke == pokes[1]

    assert set(messages.held_by(77)) == {"high", "first"}
    assert messages.held_by(7) == ()
    assert sorted(messages.unattended()) == ["later", "second"]
    worker.close()


def test_a_redis_that_was_emptied_holds_nothing(client: Client, messages: Messages) -> None:
    RedisQueue(client, PREFIX).send([(Poke("t", "r"), 0)])

    messages.flush()

    assert messages.unattended() == []
    assert messages.held_by(77) == ()


def test_a_redis_that_is_away_holds_nothing_and_one_that_came_back_neither(
    server: RedisServer, client: Client, messages: Messages
) -> None:
    RedisQueue(client, PREFIX).send([(Poke("t", "r"), 0)])
    assert messages.unattended() == ["r"]

    server.kill()
    assert (messages.unattended(), messages.held_by(77)) == ([], ())

    server.restart()
    assert (messages.unattended(), messages.held_by(77)) == ([], ())

"""Pokes over Redis: what is stored of them, by whose clock, and what becomes of those that cannot be sent."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

import pytest

from hosts.engines.redis_server import RedisServer
from infra.pokes import encode
from infra.redis.client import Client, connect
from infra.redis.consumer import RedisConsumer
from infra.redis.keys import Keys
from infra.redis.queue import BATCH, RedisQueue
from kernel.errors import Missing
from kernel.ports import HIGH, MAX_DELAY, Poke
from tests.infra.streams import called

pytestmark = pytest.mark.redis

POKE = Poke("acme", "r1", stage="größe 🌟")


def server_time(client: Client) -> int:
    seconds, micros = client.execute_command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


def bodies(client: Any, stream: str) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in client.xrange(stream)]


# --- what is stored -----------------------------------------------------------------------------


def test_a_poke_is_an_entry_of_the_stream_of_its_priority_with_its_text_and_nothing_else(
    client: Client, prefix: str
) -> None:
    urgent = Poke("acme", "r1", priority=HIGH)

    RedisQueue(client, prefix).send([(POKE, 0), (urgent, -3)])

    assert bodies(client, f"{{{prefix}}}:pokes") == [{b"m": encode(POKE).encode()}]
    assert bodies(client, f"{{{prefix}}}:pokes:high") == [{b"m": encode(urgent).encode()}]


@pytest.mark.parametrize(("delay", "kept"), [(17, 17), (MAX_DELAY, MAX_DELAY), (MAX_DELAY + 1, MAX_DELAY)])
def test_a_delay_is_measured_on_the_servers_clock_and_is_never_shorter(
    client: Client, prefix: str, delay: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the sender's clock has stopped
    before = server_time(client)
    RedisQueue(client, prefix).send([(POKE, delay)])
    after = server_time(client)

    _, [(_, due)] = client.zscan(Keys(prefix).delayed)

    assert before + kept * 1000 < float(due) <= after + kept * 1000 + 1


def test_the_same_poke_delayed_twice_is_two_messages(client: Client, prefix: str) -> None:
    RedisQueue(client, prefix).send([(POKE, 5), (POKE, 5)])

    assert client.zcard(Keys(prefix).delayed) == 2


def test_more_than_go_into_one_call_all_arrive_in_their_order(client: Client, prefix: str) -> None:
    pokes = [Poke("acme", f"r{i}") for i in range(2 * BATCH + 1)]

    RedisQueue(client, prefix).send([(poke, 0) for poke in pokes])

    assert bodies(client, Keys(prefix).normal) == [{b"m": encode(poke).encode()} for poke in pokes]


def test_sending_is_one_round_trip_whatever_is_sent(
    client: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = RedisQueue(client, prefix)
    queue.send([(POKE, 0)])
    calls = called(client, monkeypatch)

    queue.send([(POKE, 0), (POKE, 5), (Poke("acme", "r2", priority=HIGH), 0)])

    assert calls == ["EVALSHA"]


# --- when it cannot be sent ---------------------------------------------------------------------


def test_pokes_for_a_server_that_is_down_are_dropped_and_said_so_without_the_password(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer.start(password="hunter2") as server, connect(server.url) as client:
        queue = RedisQueue(client, prefix)
        queue.send([(POKE, 0)])
        server.kill()

        queue.send([(POKE, 0), (POKE, 3)])

        server.restart()
        queue.send([(POKE, 0)])
        assert client.xlen(Keys(prefix).normal) == 1  # it has lost its data and the script, and goes on
    [record] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert record.message.startswith("2 pokes not sent, left to the due index: sending 2 pokes to ")
    assert "hunter2" not in caplog.text


def test_a_server_that_does_not_answer_costs_no_more_than_its_time_out(
    own_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        connect(own_server.url, read_seconds=0.5) as connected,
        connect(own_server.url, read_seconds=0.5) as fresh,
    ):
        RedisQueue(connected, prefix).send([(POKE, 0)])
        os.kill(own_server.pid, signal.SIGSTOP)
        started = time.monotonic()

        for client in (connected, fresh):
            RedisQueue(client, prefix).send([(POKE, 0)])

        took = time.monotonic() - started
        os.kill(own_server.pid, signal.SIGCONT)
    assert took < 2
    assert caplog.text.count("1 pokes not sent") == 2


def test_a_full_server_drops_pokes_and_takes_them_again_when_there_is_room(
    own_client: Client, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = RedisQueue(own_client, prefix)
    own_client.config_set("maxmemory", 1)

    queue.send([(POKE, 0)])

    own_client.config_set("maxmemory", 0)
    queue.send([(POKE, 0)])
    assert own_client.xlen(Keys(prefix).normal) == 1
    assert "OutOfMemoryError" in caplog.text


def test_after_a_failover_the_connection_to_the_old_master_is_given_up(
    own_server: RedisServer, own_client: Client, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = RedisQueue(own_client, prefix)
    queue.send([(POKE, 0)])
    [before] = own_client.client_list(_type="normal")
    with connect(own_server.url) as operator:
        operator.execute_command("REPLICAOF", "127.0.0.1", 1)

        queue.send([(POKE, 0)])

        assert "ReadOnlyError" in caplog.text
        assert before["id"] not in {each["id"] for each in operator.client_list(_type="normal")}
        operator.execute_command("REPLICAOF", "NO", "ONE")
    queue.send([(POKE, 0)])
    assert own_client.xlen(Keys(prefix).normal) == 2


@pytest.mark.parametrize(
    "who", ["", ":wrong@", "somebody:wrong@", "elsewhere:there@", "reader:there@"], ids=lambda who: who or "nobody"
)
def test_who_is_not_let_in_or_may_not_do_it_is_told_what_to_check(prefix: str, who: str) -> None:
    with RedisServer.start(password="right") as server, connect(server.url) as operator:
        operator.execute_command("ACL", "SETUSER", "elsewhere", "on", ">there", "~other*", "+@all")
        operator.execute_command("ACL", "SETUSER", "reader", "on", ">there", "~*", "+@read", "+@scripting")
        with connect(server.url.replace(":right@", who)) as client:
            queue = RedisQueue(client, prefix)
            consumer = RedisConsumer(client, prefix, "worker", visibility=30)

            with pytest.raises(Missing, match=r"Check REDIS_URL") as caught:
                queue.send([(POKE, 0)])
            with pytest.raises(Missing, match=r"Check REDIS_URL"):
                consumer.receive(1, 0)

    assert "wrong" not in str(caught.value).replace("wrong number", "")

"""Taking pokes out of Redis: round trips, what is left of a consumer, and what befalls a server meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hosts.engines.redis_server import RedisServer
from infra.redis import consumer as module
from infra.redis.client import Client, connect
from infra.redis.consumer import BOUND, LONGEST_INTERVAL, RedisConsumer
from infra.redis.keys import GROUP, Keys
from infra.redis.queue import RedisQueue
from kernel.delivery import Delivery
from kernel.errors import Unavailable
from kernel.ports import HIGH, Poke
from tests.infra.streams import Clock, called, held, names, pending, streams

pytestmark = pytest.mark.redis

LONG, SHORT = 60.0, 0.1
"""Visibilities: one that does not pass in a test, and one that does."""


def pokes(count: int, priority: str = "", delay: int = 0) -> list[tuple[Poke, int]]:
    return [(Poke("acme", f"r{i}", priority=priority), delay) for i in range(count)]


def runs(deliveries: Any) -> list[str]:
    return [each.poke.run for each in deliveries]


def overdue(consumer: RedisConsumer, most: int = 10) -> list[Delivery]:
    """Receive until what is overdue by now is there."""
    time.sleep(SHORT * 1.5)
    return list(consumer.receive(most, 2))


# --- how it receives ----------------------------------------------------------------------------


def test_a_look_that_finds_something_is_one_round_trip_even_with_both_priorities_and_delays(
    client: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, consumer = RedisQueue(client, prefix), RedisConsumer(client, prefix, "worker", visibility=LONG)
    consumer.receive(1, 0)
    queue.send([*pokes(2), *pokes(2, HIGH), *pokes(1, "", 600)])
    calls = called(client, monkeypatch)

    received = consumer.receive(10, 20)

    assert len(received) == 4
    assert calls == ["EVALSHA"]


def test_who_waits_is_woken_by_a_message_and_not_by_the_clock(client: Client, prefix: str) -> None:
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)
    sender = threading.Timer(0.3, RedisQueue(client, prefix).send, [pokes(1, HIGH)])
    started = time.monotonic()
    sender.start()

    received = consumer.receive(10, 20)

    took = time.monotonic() - started
    sender.join()
    assert runs(received) == ["r0"]
    assert 0.2 < took < 0.8  # less than a blocking read takes


def test_more_delayed_messages_than_one_look_moves_all_become_due(client: Client, prefix: str) -> None:
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)
    RedisQueue(client, prefix).send(pokes(BOUND + 5, "", 1))
    time.sleep(1.1)

    received: list[str] = []
    while found := consumer.receive(50, 0):
        received += runs(found)

    assert sorted(received) == sorted(runs_sent(BOUND + 5))


def runs_sent(count: int) -> list[str]:
    return [poke.run for poke, _ in pokes(count)]


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed-meanwhile"])
def test_what_a_blocking_read_brings_too_much_is_there_for_anybody_at_once(
    client: Client, prefix: str, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    consumer, other = (RedisConsumer(client, prefix, name, visibility=LONG) for name in ("worker", "other"))
    look = consumer._look

    def look_too_early(most: int) -> Any:
        found = look(most)
        RedisQueue(client, prefix).send([(Poke("acme", "urgent", priority=HIGH), 0), *pokes(1)])
        if closed:
            consumer.close()
        return found

    monkeypatch.setattr(consumer, "_look", look_too_early)

    received = consumer.receive(1, 5)

    assert runs(received) == ([] if closed else ["urgent"])
    rest = other.receive(10, 0)
    assert runs(rest) == (["urgent", "r0"] if closed else ["r0"])
    assert {each.count for each in rest} == {1}
    assert pending(client, prefix) == 2


def test_what_comes_while_it_closes_is_given_back(client: Client, prefix: str) -> None:
    consumer, other = (RedisConsumer(client, prefix, name, visibility=LONG) for name in ("worker", "other"))
    received: list[Any] = []
    waiting = threading.Thread(target=lambda: received.extend(consumer.receive(1, 20)))
    waiting.start()
    time.sleep(0.3)  # it waits in a blocking read

    consumer.close()
    RedisQueue(client, prefix).send(pokes(1))
    waiting.join(timeout=5)

    assert received == []
    assert runs(other.receive(1, 3)) == ["r0"]


# --- what was not acknowledged ------------------------------------------------------------------


def test_overdue_messages_are_looked_for_in_intervals_and_not_every_time(
    client: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG, monotonic=clock)
    consumer.receive(1, 0)
    calls = called(client, monkeypatch)

    def trips() -> int:
        calls.clear()
        consumer.receive(1, 0)
        return len(calls)

    assert trips() == 1
    clock.now += LONGEST_INTERVAL - 0.1
    assert trips() == 1
    clock.now += 0.2
    assert trips() == 2
    assert trips() == 1


def test_of_many_overdue_messages_none_waits_for_the_next_interval(client: Client, prefix: str) -> None:
    RedisQueue(client, prefix).send(pokes(7))
    gone = RedisConsumer(client, prefix, "gone", visibility=SHORT)
    assert len(gone.receive(10, 0)) == 7
    time.sleep(SHORT * 1.5)
    consumer = RedisConsumer(client, prefix, "worker", visibility=SHORT, monotonic=Clock())

    received = [runs(consumer.receive(1, 0)) for _ in range(7)]

    assert received == [[run] for run in runs_sent(7)]


def test_who_was_overtaken_neither_keeps_nor_gives_back_what_is_anothers(client: Client, prefix: str) -> None:
    RedisQueue(client, prefix).send(pokes(1))
    slow, other = (RedisConsumer(client, prefix, name, visibility=SHORT) for name in ("slow", "other"))
    stale = slow.receive(1, 0)
    [taken] = overdue(other)

    slow.release(stale)
    slow.release(stale, 5)
    slow.keep(stale)

    assert held(client, prefix) == 1
    [owner] = client.xpending_range(Keys(prefix).normal, GROUP, "-", "+", 10)
    assert (owner["consumer"], owner["times_delivered"]) == (b"other", taken.count)
    assert client.zcard(Keys(prefix).delayed) == 0


def test_who_took_its_own_message_over_keeps_it_by_the_new_delivery_only(client: Client, prefix: str) -> None:
    RedisQueue(client, prefix).send(pokes(1))
    consumer = RedisConsumer(client, prefix, "worker", visibility=SHORT)
    first = consumer.receive(1, 0)
    again = overdue(consumer)

    consumer.release(first)
    assert held(client, prefix) == pending(client, prefix) == 1
    consumer.release(again)
    assert (held(client, prefix), pending(client, prefix)) == (1, 0)


def test_keeping_is_not_counted_as_delivering_however_often(client: Client, prefix: str) -> None:
    RedisQueue(client, prefix).send(pokes(1))
    consumer = RedisConsumer(client, prefix, "worker", visibility=SHORT, deliveries=2)
    received = consumer.receive(1, 0)
    for _ in range(5):
        consumer.keep(received)

    [again] = overdue(consumer)

    assert again.count == 2


def test_an_entry_that_somebody_deleted_by_hand_is_forgotten(client: Client, prefix: str) -> None:
    RedisQueue(client, prefix).send(pokes(1))
    consumer = RedisConsumer(client, prefix, "worker", visibility=SHORT)
    [received] = consumer.receive(1, 0)
    client.xdel(Keys(prefix).normal, received.id)

    assert overdue(consumer) == []
    assert pending(client, prefix) == 0


# --- messages that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({b"other": b"x"}, "has no field 'm'"),
        ({b"m": b"\xff\xfe"}, "utf-8"),
        ({b"m": b"x" * 5000}, "5000 characters"),
        ({b"m": b'{"tenant":"acme","run":"r1","v":9}'}, "newer version"),
        ({b"a": b"m", b"b": b"x"}, "has no field 'm'"),
    ],
    ids=["no-body", "no-text", "too-long", "newer", "a-value-like-the-field"],
)
def test_an_entry_that_is_no_poke_says_why_and_holds_up_nothing(
    client: Client, prefix: str, fields: dict[Any, Any], problem: str
) -> None:
    client.xadd(Keys(prefix).normal, fields)
    RedisQueue(client, prefix).send(pokes(1))

    foreign, ours = RedisConsumer(client, prefix, "worker", visibility=LONG).receive(10, 0)

    assert foreign.poke is None
    assert problem in foreign.problem
    assert ours.poke == Poke("acme", "r0")


def test_an_entry_with_fields_beside_the_poke_is_one_and_keeps_them_when_it_is_released(
    client: Client, prefix: str
) -> None:
    fields: dict[Any, Any] = {b"trace": b"\x00\xff", b"m": b'{"tenant":"acme","run":"r1"}'}
    client.xadd(Keys(prefix).normal, fields)
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)
    received = consumer.receive(1, 0)

    consumer.release(received, 5)
    assert pending(client, prefix) == 1  # a delay keeps bodies only: it stays in hand until the visibility has passed
    consumer.release(received)

    assert received[0].poke == Poke("acme", "r1")
    assert [entry for _, entry in all_of(client, prefix)] == [fields]


def test_an_entry_with_more_fields_than_can_be_moved_stays_as_it_is_and_what_is_released_with_it_does_not(
    client: Client, prefix: str
) -> None:
    wide: dict[Any, Any] = {b"f%d" % i: b"x" for i in range(5000)}
    client.xadd(Keys(prefix).normal, wide)
    RedisQueue(client, prefix).send(pokes(1))
    consumer = RedisConsumer(client, prefix, "worker", visibility=LONG)
    received = consumer.receive(2, 0)

    consumer.release(received)

    assert runs(consumer.receive(10, 0)) == ["r0"]
    assert wide in [entry for _, entry in all_of(client, prefix)]
    consumer.release(received[:1], 5)
    assert pending(client, prefix) == 2


def all_of(client: Any, prefix: str) -> Any:
    return client.xrange(Keys(prefix).normal)


# --- consumers that come and go -----------------------------------------------------------------


def test_who_leaves_with_empty_hands_is_forgotten_and_who_does_not_is_not(client: Client, prefix: str) -> None:
    RedisQueue(client, prefix).send(pokes(2))
    tidy, untidy = (RedisConsumer(client, prefix, name, visibility=SHORT) for name in ("tidy", "untidy"))
    tidy.acknowledge(tidy.receive(1, 0))
    untidy.receive(1, 0)

    tidy.close()
    untidy.close()

    assert names(client, prefix) == {"untidy"}
    assert runs(overdue(RedisConsumer(client, prefix, "other", visibility=SHORT))) == ["r1"]


def test_consumers_that_were_not_seen_for_long_are_forgotten_unless_they_hold_something(
    client: Client, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORGOTTEN_AFTER", 0.5)
    RedisQueue(client, prefix).send(pokes(2))
    RedisConsumer(client, prefix, "holds", visibility=LONG).receive(1, 0)
    idle = RedisConsumer(client, prefix, "idle", visibility=LONG)
    idle.acknowledge(idle.receive(1, 0))
    assert names(client, prefix) == {"holds", "idle"}
    time.sleep(0.6)

    RedisConsumer(client, prefix, "worker", visibility=LONG).receive(1, 0)

    assert names(client, prefix) == {"holds"}
    assert pending(client, prefix) == 1


# --- what befalls the server --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["flushed", "group-destroyed", "restarted"])
def test_a_server_that_lost_the_group_gets_it_again_and_nothing_sent_since_is_lost(
    own_server: RedisServer, own_client: Client, prefix: str, how: str
) -> None:
    queue, consumer = RedisQueue(own_client, prefix), RedisConsumer(own_client, prefix, "worker", visibility=LONG)
    queue.send(pokes(1))
    in_hand = consumer.receive(1, 0)
    if how == "flushed":
        own_client.flushall()
    elif how == "restarted":
        own_server.restart()
    else:
        for stream in streams(prefix):
            own_client.xgroup_destroy(stream, GROUP)

    queue.send([(Poke("acme", "since"), 0)])
    consumer.keep(in_hand)
    consumer.release(in_hand)
    consumer.backlog()

    assert runs(consumer.receive(10, 2))[-1] == "since"


def test_a_server_that_is_flushed_while_a_consumer_waits_does_not_end_the_waiting(
    own_client: Client, prefix: str
) -> None:
    consumer = RedisConsumer(own_client, prefix, "worker", visibility=LONG)
    received: list[Any] = []
    waiting = threading.Thread(target=lambda: received.extend(consumer.receive(1, 10)))
    waiting.start()
    time.sleep(0.3)

    own_client.flushall()
    time.sleep(0.1)
    RedisQueue(own_client, prefix).send(pokes(1))
    waiting.join(timeout=5)

    assert runs(received) == ["r0"]


def test_a_server_that_forgot_the_scripts_is_told_them_again(own_client: Client, prefix: str) -> None:
    queue, consumer = RedisQueue(own_client, prefix), RedisConsumer(own_client, prefix, "worker", visibility=LONG)
    consumer.acknowledge(consumer.receive(1, 0))

    own_client.script_flush()
    queue.send(pokes(1))
    own_client.script_flush()

    assert runs(consumer.receive(1, 0)) == ["r0"]


def test_a_server_that_is_killed_and_keeps_its_data_loses_no_message_in_hand_or_not(
    redis_server: RedisServer, tmp_path: Path, prefix: str
) -> None:
    with RedisServer.start(folder=tmp_path) as server, connect(server.url) as client:
        queue, consumer = RedisQueue(client, prefix), RedisConsumer(client, prefix, "worker", visibility=SHORT)
        queue.send([*pokes(2), (Poke("acme", "delayed"), 1)])
        consumer.receive(1, 0)

        server.restart()

        received = set(runs(overdue(consumer)))
        end = time.monotonic() + 10
        while len(received) < 3 and time.monotonic() < end:
            received |= set(runs(consumer.receive(10, 1)))
        assert received == {"r0", "r1", "delayed"}


def test_without_a_server_everything_but_closing_is_unavailable_and_closing_is_logged(
    own_server: RedisServer, own_client: Client, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    RedisQueue(own_client, prefix).send(pokes(1))
    consumer = RedisConsumer(own_client, prefix, "worker", visibility=LONG)
    received = consumer.receive(1, 0)
    own_server.kill()

    for call in (
        lambda: consumer.receive(1, 5),
        lambda: consumer.acknowledge(received),
        lambda: consumer.release(received),
        lambda: consumer.keep(received),
        consumer.backlog,
    ):
        with pytest.raises(Unavailable):
            call()
    with caplog.at_level(logging.WARNING):
        consumer.close()
    assert "consumer worker could not sign off" in caplog.text


def test_a_server_that_dies_while_a_consumer_waits_is_unavailable(
    own_server: RedisServer, own_client: Client, prefix: str
) -> None:
    consumer = RedisConsumer(own_client, prefix, "worker", visibility=LONG)
    killer = threading.Timer(0.3, own_server.kill)
    killer.start()

    with pytest.raises(Unavailable):
        consumer.receive(1, 20)
    killer.join()

"""Dead letters of Redis Streams: how they come to be, and how they are read, put back and thrown away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from infra.pokes import encode
from infra.redis import consumer as module
from infra.redis.client import Client
from infra.redis.consumer import RedisConsumer
from infra.redis.dead_letters import BATCH, DeadLetters
from infra.redis.keys import Keys
from infra.redis.queue import RedisQueue
from infra.redis.scripts import WIDEST
from kernel.delivery import Delivery
from kernel.errors import InvalidInput, NotFound
from kernel.ports import HIGH, Poke
from tests.infra.streams import Clock, held, pending

pytestmark = pytest.mark.redis

VISIBILITY = 0.02
POISON = b'\x00\xff\xfe"{ not a poke, not even text \xc3('

Die = Callable[..., None]


@pytest.fixture
def letters(client: Client, prefix: str) -> DeadLetters:
    return DeadLetters(client, prefix)


@pytest.fixture
def die(client: Client, prefix: str) -> Die:
    """Sends entries that are delivered once and never acknowledged."""

    def die(*entries: Mapping[Any, Any], stream: str | None = None) -> None:
        for fields in entries:
            client.xadd(stream or Keys(prefix).normal, dict(fields))
        hand = RedisConsumer(client, prefix, "hand", visibility=VISIBILITY, deliveries=1)
        assert len(hand.receive(len(entries), 0)) == len(entries)
        time.sleep(VISIBILITY * 2)
        for _ in range(len(entries) // 100 + 1):
            RedisConsumer(client, prefix, "reaper", visibility=VISIBILITY, deliveries=1).receive(1, 0)
        assert pending(client, prefix) == 0

    return die


def bodies(letters: Sequence[Any]) -> list[bytes | None]:
    return [letter.body for letter in letters]


def test_a_dead_letter_tells_what_it_was_where_it_was_how_often_it_came_and_when_it_was_given_up(
    client: Client, prefix: str, letters: DeadLetters, caplog: pytest.LogCaptureFixture
) -> None:
    poke = Poke("acme", "r1", priority=HIGH)
    RedisQueue(client, prefix).send([(poke, 0)])
    clock = Clock()
    consumer = RedisConsumer(client, prefix, "worker", visibility=VISIBILITY, deliveries=3, monotonic=clock)
    received: list[Delivery] = []
    for _ in range(3):
        received += consumer.receive(1, 0)
        time.sleep(VISIBILITY * 2)
        clock.now += 1

    with caplog.at_level(logging.WARNING):
        assert consumer.receive(1, 0) == []

    assert [each.count for each in received] == [1, 2, 3]
    [letter] = letters.list()
    assert (letter.body, letter.source, letter.message, letter.deliveries) == (
        encode(poke).encode(),
        Keys(prefix).high,
        received[0].id,
        3,
    )
    assert abs(letter.at - time.time() * 1000) < 60_000
    assert letters.view(letter.id) == letter
    assert held(client, prefix) == 0
    [said] = [each.message for each in caplog.records]
    assert f"message {received[0].id} of {Keys(prefix).high} is a dead letter: delivered 3 times" in said
    assert "run='r1'" in said


@pytest.mark.parametrize(
    "fields",
    [
        {b"m": POISON},
        {b"from": b"x", b"id": b"y", b"deliveries": b"z", b"at": b"w", b"m": POISON, b"": b""},
        {b"other": POISON},
    ],
    ids=["body", "names-like-ours", "no-body"],
)
def test_what_is_put_back_is_byte_for_byte_what_died_and_is_delivered_anew(
    client: Any, prefix: str, letters: DeadLetters, die: Die, fields: dict[bytes, bytes]
) -> None:
    die(fields)
    [letter] = letters.list()
    assert letter.body == fields.get(b"m")

    assert letters.replay([letter.id]) == [letter.id]

    assert [entry for _, entry in client.xrange(Keys(prefix).normal)] == [fields]
    assert letters.list() == []
    [again] = RedisConsumer(client, prefix, "worker", visibility=60).receive(1, 0)
    assert again.count == 1


def test_of_one_with_thousands_of_fields_the_first_are_kept_and_put_back_and_those_behind_it_are_reclaimed(
    client: Any, prefix: str, letters: DeadLetters, die: Die
) -> None:
    wide = {b"m": POISON} | {b"f%d" % i: b"x" for i in range(4999)}
    die(wide, {"m": "behind"})

    assert bodies(letters.list()) == [b"behind", POISON]
    assert len(letters.replay()) == 2

    kept = dict(list(wide.items())[: WIDEST // 2])
    assert [fields for _, fields in client.xrange(Keys(prefix).normal)] == [kept, {b"m": b"behind"}]


def test_one_that_somebody_made_too_wide_is_put_back_all_the_same(
    client: Any, prefix: str, letters: DeadLetters
) -> None:
    about: dict[Any, Any] = {"from": Keys(prefix).normal, "id": "1-1", "deliveries": 5, "at": 1}
    client.xadd(Keys(prefix).dead, about | {f"f{i}": "x" for i in range(5000)})

    assert len(letters.replay()) == 1

    [(_, fields)] = client.xrange(Keys(prefix).normal)
    assert len(fields) == WIDEST // 2


def test_it_goes_back_to_the_stream_that_it_came_from(
    client: Client, prefix: str, letters: DeadLetters, die: Die
) -> None:
    die({"m": "urgent"}, stream=Keys(prefix).high)

    letters.replay()

    assert (client.xlen(Keys(prefix).high), client.xlen(Keys(prefix).normal)) == (1, 0)


def test_the_newest_come_first_and_the_rest_page_by_page(letters: DeadLetters, die: Die) -> None:
    die(*({"m": str(i)} for i in range(5)))

    first = letters.list(2)
    second = letters.list(2, before=first[-1].id)
    between = letters.list(before=first[0].id, after=second[-1].id)

    assert bodies(first) == [b"4", b"3"]
    assert bodies(second) == [b"2", b"1"]
    assert bodies(between) == [b"3", b"2"]
    assert bodies(letters.list(after=first[0].id)) == []
    assert letters.count() == 5


def test_only_the_newest_are_kept(letters: DeadLetters, die: Die, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEAD_KEPT", 3)

    die(*({"m": str(i)} for i in range(5)))

    assert bodies(letters.list()) == [b"4", b"3", b"2"]


def test_all_are_put_back_oldest_first_in_steps_and_up_to_a_bound(
    client: Any, prefix: str, letters: DeadLetters, die: Die
) -> None:
    count = 2 * BATCH + 5
    die(*({"m": str(i)} for i in range(count)))

    assert len(letters.replay(most=BATCH + 1)) == BATCH + 1
    assert len(letters.replay()) == count - BATCH - 1
    assert letters.replay() == []

    assert [fields[b"m"] for _, fields in client.xrange(Keys(prefix).normal)] == [b"%d" % i for i in range(count)]


def test_what_dies_while_all_are_put_back_is_left_for_another_time(
    client: Any, letters: DeadLetters, die: Die, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    die(*({"m": str(i)} for i in range(3)))
    run = letters._scripts.run

    def run_and_die(script: str, doing: str, args: Any = ()) -> Any:
        if doing.startswith("replaying"):
            about = {"from": Keys(prefix).normal, "id": "1-1", "deliveries": 5, "at": 1}
            client.xadd(Keys(prefix).dead, about | {"m": "again"})
        return run(script, doing, args)

    monkeypatch.setattr(letters._scripts, "run", run_and_die)
    monkeypatch.setattr("infra.redis.dead_letters.BATCH", 1)

    assert len(letters.replay()) == 3
    assert bodies(letters.list()) == [b"again"] * 4


def test_those_that_are_not_there_are_not_among_those_that_were_put_back(letters: DeadLetters, die: Die) -> None:
    die({"m": "a"}, {"m": "b"})
    newest, oldest = letters.list()

    assert letters.replay([oldest.id, "1-1", oldest.id]) == [oldest.id]
    assert letters.list() == [newest]


def test_some_or_all_are_thrown_away(letters: DeadLetters, die: Die) -> None:
    die(*({"m": str(i)} for i in range(4)))
    newest = letters.list(1)[0]

    assert letters.purge([newest.id, "1-1"]) == 1
    assert letters.purge([]) == 0
    assert letters.purge() == 3
    assert letters.purge() == 0


def test_one_that_is_not_there_is_not_found_and_an_id_that_cannot_be_is_refused(letters: DeadLetters) -> None:
    with pytest.raises(NotFound, match="no dead letter 1-1"):
        letters.view("1-1")
    for call in (
        lambda: letters.view("-"),
        lambda: letters.list(before="x"),
        lambda: letters.list(after="1"),
        lambda: letters.replay(["1-1", "+"]),
        lambda: letters.purge(["*"]),
    ):
        with pytest.raises(InvalidInput, match="no id of a dead letter"):
            call()

"""The command line of dead letters, on a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hosts.engines.redis_server import RedisServer
from hosts.worker.dead_letters import main
from infra.pokes import encode
from infra.redis.client import Client, connect
from infra.redis.consumer import RedisConsumer
from infra.redis.keys import Keys
from infra.redis.queue import RedisQueue
from kernel.ports import Poke
from kernel.testing.conformance.examples import fresh_token

pytestmark = pytest.mark.redis

POKE = Poke("acme", "r1", stage="größe")


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Client]:
    with connect(redis_server.url) as client:
        yield client


@pytest.fixture
def environ(redis_server: RedisServer) -> Mapping[str, str]:
    return {"WORKFLOWS": "w:r", "TABLE_NAME": "table", "REDIS_URL": redis_server.url, "REDIS_PREFIX": fresh_token()}


def die(client: Client, environ: Mapping[str, str], count: int = 1) -> list[bytes]:
    """Let messages become dead letters; their bytes."""
    queue = RedisQueue(client, environ["REDIS_PREFIX"])
    queue.send([(POKE, 0)] * count)
    consumer = RedisConsumer(client, environ["REDIS_PREFIX"], "dying", visibility=0.001, deliveries=1)
    consumer.receive(count, 0)
    times = iter(range(0, 10_000, 100))
    other = RedisConsumer(
        client, environ["REDIS_PREFIX"], "other", visibility=0.001, deliveries=1, monotonic=lambda: next(times)
    )
    for _ in range(20):
        other.receive(1, 0)
    return [encode(POKE).encode()] * count


def test_dead_letters_are_listed_and_shown_with_what_they_say(
    client: Client, environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    [body] = die(client, environ)

    assert main(["list", "--json"], environ) == 0
    letter = json.loads(capsys.readouterr().out)
    assert (letter["body"], letter["deliveries"], letter["problem"]) == (body.decode(), 1, "")
    assert main(["show", letter["id"]], environ) == 0
    assert json.loads(capsys.readouterr().out) == letter
    assert main(["list"], environ) == 0
    told = capsys.readouterr()
    assert letter["id"] in told.out
    assert told.err == "1 shown of 1\n"


def test_a_replayed_letter_is_in_its_stream_again_byte_for_byte(
    client: Client, environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = die(client, environ, 2)

    assert main(["replay", "--all"], environ) == 0

    assert capsys.readouterr().out == "2 put back\n"
    stream = Keys(environ["REDIS_PREFIX"]).normal
    entries: Any = client.xrange(stream)
    assert [fields[b"m"] for _, fields in entries] == bodies
    assert main(["list"], environ) == 0
    assert capsys.readouterr().err == "no dead letters\n"


def test_what_is_thrown_away_is_gone(
    client: Client, environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    die(client, environ, 3)
    main(["list", "--json"], environ)
    ids = [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()]

    assert main(["purge", ids[0]], environ) == 0
    assert main(["purge", ids[0]], environ) == 1
    assert main(["purge", "--all"], environ) == 0
    assert capsys.readouterr().out == "1 thrown away\n0 thrown away\n2 thrown away\n"


def test_a_letter_that_is_not_there_is_said(environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "1-1"], environ) == 1
    assert main(["show", "1-1"], environ) == 1
    assert main(["show", "nonsense"], environ) == 1
    said = capsys.readouterr().err
    assert said.count("there is no dead letter 1-1") == 2
    assert "nonsense" in said


def test_nothing_is_done_to_all_unless_that_was_asked_for(environ: Mapping[str, str]) -> None:
    for command in ("replay", "purge"):
        with pytest.raises(SystemExit, match="2"):
            main([command], environ)


def test_without_redis_it_says_so(environ: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"], {**environ, "REDIS_URL": "redis://127.0.0.1:1"}) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
    assert main(["list"], {name: value for name, value in environ.items() if name != "REDIS_URL"}) == 1
    assert "REDIS_URL is missing" in capsys.readouterr().err

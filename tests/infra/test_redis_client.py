"""Clients of Redis: what a URL may say, TLS, clusters, and what each failure means."""

from __future__ import annotations

import subprocess
import time
import traceback
from pathlib import Path

import pytest
from redis import exceptions

from hosts.engines.redis_server import RedisServer, find
from infra.redis.client import connect
from infra.redis.consumer import LONGEST_BLOCK, RedisConsumer
from infra.redis.failures import translate, translated
from infra.redis.queue import RedisQueue
from kernel.errors import InfrastructureError, Missing, SettingsError, Unavailable
from kernel.ports import Poke


@pytest.mark.redis
def test_pokes_go_over_tls_to_a_server_whose_certificate_is_trusted_and_to_no_other(
    redis_server: RedisServer, prefix: str
) -> None:
    with RedisServer.start(tls=True, password="right") as server:
        with connect(server.url) as client:
            RedisQueue(client, prefix).send([(Poke("acme", "r1"), 0)])
            [received] = RedisConsumer(client, prefix, "worker", visibility=30).receive(1, 0)
        with connect(server.url.partition("?")[0]) as stranger, pytest.raises(Unavailable, match="CERTIFICATE"):
            RedisConsumer(stranger, prefix, "worker", visibility=30).receive(1, 0)

    assert received.poke == Poke("acme", "r1")


@pytest.mark.parametrize(
    "url",
    ["http://:hunter2@redis:6379", "redis://:hunter2@redis:port", "redis://:hunter2@redis?decode_responses=true"],
)
def test_a_url_that_will_not_do_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL") as caught:
        connect(url)

    assert "hunter2" not in str(caught.value)


@pytest.mark.redis
def test_pokes_go_over_a_socket_of_the_machine(redis_server: RedisServer, prefix: str, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    command = [find(), "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process, connect(f"unix://{path}") as client:
        try:
            for _ in range(500):
                if path.exists():
                    break
                time.sleep(0.01)  # the server's start is the machine's business
            RedisQueue(client, prefix).send([(Poke("acme", "r1"), 0)])
            [received] = RedisConsumer(client, prefix, "worker", visibility=30).receive(1, 0)
        finally:
            process.kill()

    assert received.poke == Poke("acme", "r1")


def test_a_cluster_of_which_no_node_answers_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="connecting to the cluster"):
        connect("redis://:hunter2@127.0.0.1:1", cluster=True)


def test_a_client_waits_longer_for_an_answer_than_a_consumer_lets_the_server_think() -> None:
    with connect("redis://127.0.0.1:1") as client:
        assert client.connection_pool.connection_kwargs["socket_timeout"] > LONGEST_BLOCK


@pytest.mark.redis
def test_a_server_that_does_not_know_auth_tells_nobody_the_password(
    redis_server: RedisServer, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    binary = tmp_path / "redis-server"
    binary.write_text(f'#!/bin/sh\nexec {find()} "$@" --rename-command AUTH ""\n')
    binary.chmod(0o700)
    with (
        RedisServer.start(binary=str(binary)) as server,
        connect(server.url.replace("//", "//bob:s3cretpw@")) as client,
    ):
        RedisQueue(client, prefix).send([(Poke("acme", "r1"), 0)])
        with pytest.raises(InfrastructureError, match=r"(?i)unknown command .AUTH") as caught:
            RedisConsumer(client, prefix, "worker", visibility=30).receive(1, 0)

    assert "unknown command" in caplog.text
    for text in (caplog.text, "".join(traceback.format_exception(caught.value))):
        assert "s3cretpw" not in text
        assert "bob" not in text


@pytest.mark.parametrize(
    "said",
    [
        "unknown command 'AUTH', with args beginning with: 'bob' 's3cretpw' ",
        "unknown command `AUTH`, with args beginning with: `bob`, `s3cretpw`, ",
        "Unknown Command 'AUTH', With Args Beginning With: 'OOM\n' 's3cretpw'",
    ],
)
def test_the_arguments_of_a_call_are_cut_out_of_what_any_error_says(said: str) -> None:
    for kind in (exceptions.ResponseError, exceptions.ConnectionError, exceptions.AuthenticationError):
        text = str(translate(kind(said), "sending"))

        assert "AUTH" in text
        assert "with args" not in text.lower()
        assert "s3cretpw" not in text
    assert type(translate(exceptions.ResponseError(said), "sending")) is InfrastructureError


SAID_BY_OLD_SERVERS = "Error running script (call to f_9): @user_script:9: -{} some words"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.ConnectionError("Error 111 connecting"), Unavailable),
        (exceptions.TimeoutError("Timeout reading from socket"), Unavailable),
        (exceptions.BusyLoadingError("loading"), Unavailable),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), Unavailable),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), Unavailable),
        (exceptions.ClusterDownError("CLUSTERDOWN"), Unavailable),
        (exceptions.MasterDownError("MASTERDOWN"), Unavailable),
        (exceptions.TryAgainError("Multiple keys request during rehashing of slot"), Unavailable),
        (exceptions.RedisClusterException("no reachable node"), Unavailable),
        (exceptions.SlotNotCoveredError("Slot 7 not covered"), Unavailable),
        (exceptions.ResponseError("MISCONF Redis is configured to save RDB snapshots"), Unavailable),
        (exceptions.ResponseError("NOREPLICAS Not enough good replicas to write."), Unavailable),
        (exceptions.ResponseError("UNBLOCKED the stream key no longer exists"), Unavailable),
        (exceptions.ResponseError(SAID_BY_OLD_SERVERS.format("READONLY")), Unavailable),
        (exceptions.ResponseError(SAID_BY_OLD_SERVERS.format("OOM")), Unavailable),
        (ConnectionResetError("reset by peer"), Unavailable),
        (exceptions.AuthenticationError("invalid username-password pair"), Missing),
        (exceptions.AuthenticationError("Authentication required."), Missing),
        (exceptions.NoPermissionError("this user has no permissions"), Missing),
        (exceptions.ResponseError("Protocol error: unauthenticated multibulk length"), Missing),
        (exceptions.ResponseError(SAID_BY_OLD_SERVERS.format("NOPERM")), Missing),
        (exceptions.ResponseError("The user executing the script can't run this command or subcommand"), Missing),
        (exceptions.ResponseError("WRONGTYPE Operation against a key"), InfrastructureError),
        (exceptions.ResponseError("unknown command 'XADD'"), InfrastructureError),
        (exceptions.DataError("Invalid input of type"), InfrastructureError),
    ],
    ids=lambda value: getattr(value, "__name__", None) or f"{type(value).__name__}-{str(value)[-24:]}",
)
def test_each_failure_says_whether_trying_again_can_help(error: Exception, expected: type[Exception]) -> None:
    failure = translate(error, "sending")

    assert type(failure) is expected
    assert str(failure).startswith("sending: ")
    assert ("Check REDIS_URL" in str(failure)) == (expected is Missing)


def test_what_is_raised_keeps_its_cause_and_what_is_not_redis_passes() -> None:
    cause = exceptions.ConnectionError("gone")

    with pytest.raises(Unavailable) as caught, translated("sending"):
        raise cause
    with pytest.raises(KeyError), translated("sending"):
        raise KeyError

    assert caught.value.__cause__ is cause

"""A client of Redis, from a URL: short time-outs, a few tries with growing and jittered pauses, TLS, clusters."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from redis import Redis, RedisCluster
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError, ReadOnlyError  # noqa: A004 - redis-py's own, not the builtin
from redis.retry import Retry

from infra.redis.failures import translated
from kernel.errors import SettingsError

Client: TypeAlias = Redis | RedisCluster
"""What adapters take. May be shared by threads."""

CONNECT_SECONDS = 1.0
READ_SECONDS = 3.0
"""Longer than a consumer lets the server think (``infra.redis.consumer.LONGEST_BLOCK``)."""
RETRIES = 2
"""After the first try, of what fails at once: refused, broken off, not ready. What took its time is not tried again:
sending a poke must not take long (``infra.clients.BEST_EFFORT``)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between tries: doubled each time, and jittered, so that workers do not come back all at once."""
IDLE_SECONDS = 30
"""A connection that was not used for so long is tried out first: something between may have dropped it."""
OURS = frozenset({"decode_responses", "encoding", "encoding_errors", "protocol"})
"""Options of a URL that would change what the adapters read."""


def connect(url: str, *, cluster: bool = False, read_seconds: float = READ_SECONDS) -> Client:
    """A client; to be closed by whoever asked for it. One that is no cluster's connects when it is first used.

    A connection that the server refuses to write over, since it is a replica after a failover, is closed and made anew.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user and password, if any; never logged. redis-py's
            options may follow, such as ``?ssl_ca_certs=/etc/ssl/ours.pem``.
        cluster: it is a node of a cluster; the others are found from it.
        read_seconds: how long to wait for an answer. Consumers let the server wait for up to a second.

    Raises:
        SettingsError: the URL is none, or has an option that must not be there.
        Unavailable, Missing: no node of the cluster answers, or none lets us in.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": read_seconds,
        "health_check_interval": IDLE_SECONDS,
        "retry": Retry(ExponentialWithJitterBackoff(base=FIRST_PAUSE, cap=LONGEST_PAUSE), RETRIES, (ConnectionError,)),
        "protocol": 2,  # what a server answers is then the same with every version of redis-py
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    try:
        if wrong := OURS & parse_qs(urlsplit(url).query).keys():
            raise SettingsError(f"REDIS_URL must not set {', '.join(sorted(wrong))}: leave that out")
        if not cluster:
            return Redis.from_url(url, retry_on_error=[ReadOnlyError], **options)
        with translated("connecting to the cluster at REDIS_URL"):
            return RedisCluster.from_url(url, **options)
    except ValueError as error:  # it may hold a password: not shown
        raise SettingsError("REDIS_URL is not shown, and not right: it must be a Redis server's URL") from error

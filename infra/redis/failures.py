"""What Redis says when a call fails, in the kernel's terms: not now, not there, or not understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ClusterError,
    ConnectionError,  # noqa: A004 - redis-py's own, and not the builtin, is what it raises
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,  # noqa: A004 - redis-py's own, and not the builtin, is what it raises
    TryAgainError,
)

from kernel.errors import InfrastructureError, Missing, Unavailable

REDIS_ERRORS = (RedisError, RedisClusterException, OSError)
"""Everything that a client raises: redis-py lets some of the system's errors through."""

REMEDY = (
    "Check REDIS_URL: its user, its password, and what that user may do (commands on keys of REDIS_PREFIX, scripts)."
)

_DENIED = (AuthenticationError, AuthorizationError, NoPermissionError)
_PASSING = (
    ClusterDownError,
    ClusterError,
    ConnectionError,
    OSError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,  # no node of the cluster could be asked
    TimeoutError,
    TryAgainError,
)
_SAYS_DENIED = re.compile(
    r"\b(NOAUTH|WRONGPASS|NOPERM)\b|Authentication required|invalid username-password|unauthenticated"
    r"|user executing the script can't"
)
_SAYS_NOT_NOW = re.compile(
    r"\b(ASK|BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|MOVED|NOREPLICAS|OOM|READONLY|TRYAGAIN|UNBLOCKED|UNKILLABLE)\b"
)
"""Codes of errors, wherever they stand: servers before 7.0 tell a script's error inside one of their own."""
_ARGUMENTS = re.compile(r",?\s*with args beginning with.*", re.IGNORECASE | re.DOTALL)
"""What a server says of a command that it does not know: of AUTH, the password."""
_SHOWN = 300


def translate(error: Exception, doing: str) -> InfrastructureError:
    """The kernel's error for one of ``REDIS_ERRORS``; to be raised ``from`` it.

    It never names the password, nor any arguments of a call that the server tells: one that does not know AUTH does.

    Args:
        error: what redis-py raised, after its own retries.
        doing: what was being done: ``"receiving from {onewrite}:pokes"``.

    Returns:
        ``Missing`` if retrying cannot help, ``Unavailable`` if it can, else a plain ``InfrastructureError``: the
        server did not understand the call, which is a mistake in Onewrite, or it is older than 6.2.
    """
    said = _ARGUMENTS.sub("", str(error))
    reason = f"{type(error).__name__}: {said[:_SHOWN]}".rstrip(". ")
    if isinstance(error, _DENIED) or _SAYS_DENIED.search(said):
        return Missing(f"{doing}: {reason}. {REMEDY}")
    if isinstance(error, _PASSING) or _SAYS_NOT_NOW.search(said):
        return Unavailable(f"{doing}: {reason}")
    return InfrastructureError(f"{doing}: the call was not understood: {reason}")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raises the kernel's error for redis-py's, which is its cause unless it tells what nobody must read.

    Raises:
        Unavailable, Missing, InfrastructureError: as ``translate`` decides.
    """
    try:
        yield
    except REDIS_ERRORS as error:
        raise translate(error, doing) from (None if _ARGUMENTS.search(str(error)) else error)

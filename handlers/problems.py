"""Problem details (RFC 9457): the one form in which failures reach callers, and which error becomes which."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from kernel.errors import (
    Conflict,
    Forbidden,
    Gone,
    InvalidInput,
    KeyHeld,
    LogError,
    Missing,
    NewerFormat,
    NotDeployed,
    NotFound,
    OnewriteError,
    Unavailable,
)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 5
"""Seconds after which a caller may try again when the store did not answer."""

Problems = tuple[tuple[str, str], ...]
"""Where and what, as in ``InvalidInput.problems``."""

MAX_PROBLEMS = 100
"""Problems that are listed one by one: an input with a thousand wrong lines has a thousand."""
_MAX_TEXT = 2_000

_KINDS = {
    400: ("malformed-request", "The request cannot be read"),
    401: ("no-tenant", "No tenant"),
    403: ("forbidden", "Not with these roles"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    409: ("conflict", "Not in this state"),
    410: ("gone", "No longer there"),
    413: ("too-large", "Request too large"),
    415: ("unsupported-media-type", "Not JSON"),
    422: ("invalid-input", "Invalid input"),
    500: ("internal-error", "Internal error"),
    503: ("unavailable", "Unavailable"),
}
"""By status: the last part of the problem's type, and its title."""


class Place(Struct, frozen=True):
    """One thing that is wrong with a request.

    Attributes:
        where: a parameter's name, or a path into the body such as ``input.lines.0.sku``.
        what: what is wrong there.
    """

    where: str
    what: str


class Problem(Struct, frozen=True, omit_defaults=True):
    """Why a request failed (RFC 9457).

    Attributes:
        type: a URN that stays the same for all problems of a kind.
        title: the kind, for people.
        status: the HTTP status.
        detail: what happened, and what to do.
        instance: path of the request, or the name of the command.
        problems: what is wrong with the input, place by place.
        run: that is under way with the business key which was asked for.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    problems: list[Place] = field(default_factory=list)
    run: str = ""


class Failure(OnewriteError):
    """A request that fails at the edge: the kernel never saw it, nothing was stored.

    Args:
        status: the HTTP status that says so.
        detail: what is wrong, and what to do.
        problems: where and what.
        headers: that go with the answer.
    """

    def __init__(
        self, status: int, detail: str, problems: Problems = (), headers: dict[str, str] | None = None
    ) -> None:
        """Keep what the answer is made of."""
        super().__init__(detail)
        self.status = status
        self.problems = problems
        self.headers = headers or {}


def problem_of(error: Exception, instance: str, request: str = "") -> Problem:
    """What a caller is told about an error. Never a traceback, nor anything of the inside of the deployment.

    Args:
        error: whatever was raised.
        instance: path of the request, or the name of the command.
        request: id under which the log has the rest.
    """
    status, detail = _judge(error)
    if status == 500 and request:  # noqa: PLR2004 - a status
        detail = f"{detail} Its log has more about request {request}."
    problems = error.problems if isinstance(error, InvalidInput | Failure) else ()
    kind, title = _KINDS[status]
    return Problem(
        type=f"urn:onewrite:problem:{kind}",
        title=title,
        status=status,
        detail=_storable(detail),
        instance=quote(instance[:_MAX_TEXT], safe="/:@-._~!$&'()*+,;=%", errors="replace"),
        problems=[Place(_storable(where), _storable(what)) for where, what in problems[:MAX_PROBLEMS]],
        run=error.run if isinstance(error, KeyHeld) else "",
    )


def _judge(error: Exception) -> tuple[int, str]:
    """Status and detail. Only messages that were written for callers are passed on."""
    if isinstance(error, Failure):
        return error.status, str(error)
    for kind, status, detail in _JUDGEMENTS:
        if isinstance(error, kind):
            return status, detail or str(error)
    return 500, "The service failed. What it acknowledged before is not lost."


_JUDGEMENTS: tuple[tuple[type[OnewriteError], int, str], ...] = (
    (InvalidInput, 422, ""),
    (NotFound, 404, ""),
    (Forbidden, 403, ""),
    (Conflict, 409, ""),
    (Gone, 410, ""),
    (NotDeployed, 503, ""),
    (
        Unavailable,
        503,
        (
            "The store did not answer in time, so whether the request took effect is not known. Repeat it: "
            "a start with the same Idempotency-Key never makes a second run."
        ),
    ),
    (
        Missing,
        503,
        (
            "The service is not set up right: something that it needs does not exist, or it may not use it. "
            "Repeating the request does not help until its operator has seen to that."
        ),
    ),
    (NewerFormat, 500, ""),
    (LogError, 500, "The log of this run cannot be read: it is damaged. Its operator must see to it."),
)
"""Which error is which status, by the first that fits; and what is said instead of its own message."""


def headers_of(error: Exception) -> dict[str, str]:
    """Headers that go with the answer to an error."""
    if isinstance(error, Unavailable | NotDeployed):
        return {"Retry-After": str(RETRY_AFTER)}
    return error.headers if isinstance(error, Failure) else {}


def plain(value: object) -> Any:  # noqa: ANN401 - JSON has any shape
    """An answer as the dictionaries and lists that Lambda makes JSON of."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _storable(text: str) -> str:
    """A text that is sure to be valid Unicode, of bounded length."""
    return text[:_MAX_TEXT].encode("utf-8", "replace").decode()

"""API Gateway's events, formats 2.0 and 1.0: made plain on their way in, answered whatever happens."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from handlers.api import Api, Request, failed
from handlers.problems import Failure
from handlers.requests import plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools import Logger

    from handlers.operations import Operations
    from infra.settings import Settings

E = TypeVar("E")

ROOM = 100_000
"""Bytes that a body may have besides its largest value."""


Texts = dict[str, str] | None
"""Headers, or parameters: a text by name."""
Lists = dict[str, list[str]] | None
"""The same where a name may come more than once."""


class _Event(Struct, rename="camel"):
    """What is read of events of both formats."""

    headers: Texts = None
    query_string_parameters: Texts = None
    path_parameters: Texts = None
    body: str | None = None
    is_base64_encoded: bool | None = None


class _About(Struct, rename="camel"):
    """What is read of the request context of both formats."""

    stage: str | None = None
    request_id: str | None = None


class _Line(Struct):
    """What is read of the request line in format 2.0."""

    method: str


class _About2(_About, kw_only=True):
    http: _Line


class _Event2(_Event, kw_only=True, rename="camel"):
    """What is read of format 2.0."""

    raw_path: str
    raw_query_string: str | None = None
    request_context: _About2
    cookies: list[str] | None = None


class _About1(_About):
    path: str | None = None


class _Event1(_Event, kw_only=True, rename="camel"):
    """What is read of format 1.0."""

    path: str
    http_method: str
    request_context: _About1
    multi_value_headers: Lists = None
    multi_value_query_string_parameters: Lists = None


def is_http(event: Mapping[str, Any]) -> bool:
    """Whether it is an event of API Gateway: format 2.0 says so, 1.0 has an ``httpMethod``."""
    return "requestContext" in event and ("httpMethod" in event or event.get("version") == "2.0")


class Gateway:
    """Answers API Gateway events of both formats. May be shared by threads.

    A resolver of Powertools serves one request at a time, so requests at the same time have one each. In
    Lambda there is never more than one, of one kind.
    """

    def __init__(self, settings: Settings, operations: Operations, log: Logger, payload: int) -> None:
        """Remember what resolvers are made of; ``payload`` is the largest value in bytes."""
        self._settings = settings
        self._operations = operations
        self._log = log
        self._most = payload + ROOM
        self._idle: dict[bool, deque[Api]] = {True: deque(), False: deque()}

    def handle(self, event: dict[str, Any], left: float) -> dict[str, Any]:
        """Answer a request; whatever goes wrong is a problem detail. ``left`` is in seconds."""
        request = Request({}, "", "", "", "", left)
        try:
            rest = "httpMethod" in event
            request = _request(event, left, rest=rest)
            if request.method == "POST":
                request = _with_body(request, plain_text(event, self._most))
            return self._resolve(request, rest=rest)
        except Exception as error:  # noqa: BLE001 - a caller gets an answer, whatever happens
            answer = failed(error, request.path, request.id, self._log)
            headers = {"Content-Type": answer["content_type"], **answer["headers"]}
            return {"statusCode": answer["status_code"], "headers": headers, "body": answer["body"]}

    def _resolve(self, request: Request, *, rest: bool) -> dict[str, Any]:
        idle = self._idle[rest]
        try:
            api = idle.pop()
        except IndexError:
            api = Api(self._settings, self._operations, self._log, rest=rest)
        try:
            return api.resolve(request)
        finally:
            idle.append(api)


def _request(event: dict[str, Any], left: float, *, rest: bool) -> Request:
    """What the event says of the request.

    Raises:
        Failure: 400: it is not as API Gateway sends it.
    """
    known: _Event1 | _Event2 = _read(event, _Event1) if rest else _read(event, _Event2)
    about = known.request_context
    stage = about.stage or "$default"
    prefix = "" if stage == "$default" else f"/{stage}"
    if isinstance(known, _Event1):
        method, whole, path = known.http_method, known.request_context.path or known.path, known.path
    else:
        method, whole = known.request_context.http.method, known.raw_path
        path = whole.removeprefix(prefix)
        # What API Gateway always sends, and Powertools counts on.
        event = event | {
            "rawQueryString": known.raw_query_string or "",
            "requestContext": event["requestContext"] | {"stage": stage},
        }
    # Behind a custom domain, paths begin with its mapping. Where one greedy route catches all, what it caught
    # is free of that; and so is the token of a callback, which has a route of its own.
    parameters = known.path_parameters or {}
    caught = f"/callbacks/{parameters['token']}" if "token" in parameters else "/" + parameters.get("proxy", "")
    if caught != "/" and whole.endswith(caught):
        path = caught
    base = whole.removesuffix(path) if whole.endswith(path) else ""
    plain = {**event, "path": path} if rest else {**event, "rawPath": prefix + path}
    return Request(plain, method.upper(), base, path, about.request_id or "", left)


def _read(event: Mapping[str, Any], form: type[E]) -> E:
    try:
        return msgspec.convert(event, form)
    except (msgspec.ValidationError, UnicodeError) as error:
        # Somebody made it by hand, or something stands between us and API Gateway.
        what, _, where = str(error).partition(" - at `$.")
        problem = (where.rstrip("`") or "event", what)
        raise Failure(400, f"This is no event of API Gateway ({': '.join(problem)}).", (problem,)) from error


def _with_body(request: Request, text: str) -> Request:
    """The request with its body as text, which is known to be meant as JSON."""
    given = request.event.get("headers") or {}
    headers = {name: value for name, value in given.items() if name.lower() != "content-type"}
    headers["content-type"] = "application/json"
    return replace(request, event=request.event | {"body": text, "isBase64Encoded": False, "headers": headers})

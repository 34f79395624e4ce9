"""API Gateway's events, formats 2.0 and 1.0: made plain on their way in, answered whatever happens."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from handlers.api import Api, Request, failed
from handlers.requests import plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools import Logger

    from handlers.operations import Operations
    from infra.settings import Settings

ROOM = 100_000
"""Bytes that a body may have besides its largest value."""


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
    about = event["requestContext"]
    method = event["httpMethod"] if rest else about["http"]["method"]
    stage = str(about.get("stage") or "$default")
    prefix = "" if stage == "$default" else f"/{stage}"
    whole = str(about.get("path") or event["path"]) if rest else str(event["rawPath"])
    path = str(event["path"]) if rest else whole.removeprefix(prefix)
    # Behind a custom domain, paths begin with its mapping. Where one greedy route catches all, what it caught
    # is free of that.
    caught = "/" + str((event.get("pathParameters") or {}).get("proxy", ""))
    if caught != "/" and whole.endswith(caught):
        path = caught
    base = whole.removesuffix(path) if whole.endswith(path) else ""
    plain = {**event, "path": path} if rest else {**event, "rawPath": prefix + path}
    return Request(plain, str(method).upper(), base, path, str(about.get("requestId") or ""), left)


def _with_body(request: Request, text: str) -> Request:
    """The request with its body as text, which is known to be meant as JSON."""
    given = request.event.get("headers") or {}
    headers = {name: value for name, value in given.items() if name.lower() != "content-type"}
    headers["content-type"] = "application/json"
    return replace(request, event=request.event | {"body": text, "isBase64Encoded": False, "headers": headers})

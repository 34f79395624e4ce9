"""What API Gateway makes of a request, and of a function's answer.

Sources: "Create AWS Lambda proxy integrations for HTTP APIs" (format 2.0) and "Input format of a Lambda function for
proxy integration" (format 1.0), Amazon API Gateway Developer Guide.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Meta, Struct

from hosts.engines.environment import ACCOUNT

Event = dict[str, Any]

API_ID = "local"
REST_STAGE = "live"
PROXY = "/{proxy+}"
_TEXT = ("text/", "application/json", "application/problem+json", "application/javascript", "application/xml")


class Request(Struct, frozen=True, kw_only=True):
    """An HTTP request as the gateway got it.

    Attributes:
        method: such as ``POST``.
        path: as it was sent, still encoded, without the query; below the stage.
        query: what follows the question mark, still encoded.
        headers: in order, names as sent; a name may come twice.
        body: the bytes.
        id: of the request.
        at: when it came, in milliseconds since the epoch.
        source_ip: of the caller.
        claims: what an authoriser found in the caller's token; None without one.
    """

    method: str
    path: str
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    id: str = ""
    at: int = 0
    source_ip: str = "127.0.0.1"
    claims: Mapping[str, str] | None = None

    def header(self, name: str) -> str:
        """The first header of that name; ``""`` without one."""
        return next((value for key, value in self.headers if key.lower() == name), "")


class Response(Struct, frozen=True):
    """An HTTP response as the gateway sends it."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


def http_api_event(request: Request, stage: str = "$default") -> Event:
    """The event of an HTTP API, payload format 2.0. What is empty is left out, as there."""
    cookies = [each.strip() for name, value in request.headers if name.lower() == "cookie" for each in value.split(";")]
    path = unquote(request.path)
    text, encoded = _body(request, text_only=False)
    context: Event = {
        "accountId": ACCOUNT,
        "apiId": API_ID,
        "domainName": request.header("host") or "localhost",
        "domainPrefix": API_ID,
        "http": {
            "method": request.method,
            "path": path,
            "protocol": "HTTP/1.1",
            "sourceIp": request.source_ip,
            "userAgent": request.header("user-agent"),
        },
        "requestId": request.id,
        "routeKey": "$default",
        "stage": stage,
        "time": _common_log_time(request.at),
        "timeEpoch": request.at,
    }
    if request.claims is not None:
        context["authorizer"] = {"jwt": {"claims": dict(request.claims), "scopes": None}}
    event: Event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": _joined((name.lower(), value) for name, value in request.headers if name.lower() != "cookie"),
        "requestContext": context,
        "isBase64Encoded": encoded,
    }
    if cookies:
        event["cookies"] = cookies
    if request.query:
        event["queryStringParameters"] = _joined(_pairs(request.query))
    if text is not None:
        event["body"] = text
    return event


def rest_api_event(request: Request) -> Event:
    """The event of a REST API with Lambda proxy integration, payload format 1.0. What is empty is null."""
    path = unquote(request.path)
    pairs = _pairs(request.query)
    text, _ = _body(request, text_only=True)
    context: Event = {
        "resourceId": "local0",
        "resourcePath": PROXY,
        "httpMethod": request.method,
        "extendedRequestId": request.id,
        "requestTime": _common_log_time(request.at),
        "path": f"/{REST_STAGE}{path}",
        "accountId": ACCOUNT,
        "protocol": "HTTP/1.1",
        "stage": REST_STAGE,
        "domainPrefix": API_ID,
        "requestTimeEpoch": request.at,
        "requestId": request.id,
        "identity": dict.fromkeys(_IDENTITY)
        | {"sourceIp": request.source_ip, "userAgent": request.header("user-agent")},
        "domainName": request.header("host") or "localhost",
        "apiId": API_ID,
    }
    if request.claims is not None:
        context["authorizer"] = {"claims": dict(request.claims)}
    return {
        "resource": PROXY,
        "path": path,
        "httpMethod": request.method,
        "headers": dict(request.headers) or None,
        "multiValueHeaders": _listed(request.headers) or None,
        "queryStringParameters": dict(pairs) or None,
        "multiValueQueryStringParameters": _listed(pairs) or None,
        "pathParameters": {"proxy": path.removeprefix("/")},
        "stageVariables": None,
        "requestContext": context,
        "body": text,
        "isBase64Encoded": False,
    }


_IDENTITY = (
    "cognitoIdentityPoolId",
    "accountId",
    "cognitoIdentityId",
    "caller",
    "sourceIp",
    "principalOrgId",
    "accessKey",
    "cognitoAuthenticationType",
    "cognitoAuthenticationProvider",
    "userArn",
    "userAgent",
    "user",
)


Scalar = str | int | float | bool


class _Answer(Struct, rename="camel"):
    """A function's answer in the format of proxy integrations."""

    status_code: Annotated[int, Meta(ge=100, le=599)]
    headers: dict[str, Scalar] | None = None
    multi_value_headers: dict[str, list[Scalar]] | None = None
    cookies: list[str] | None = None
    body: str | None = None
    is_base64_encoded: bool | None = None


def response_of(answer: object, *, rest: bool) -> Response | None:
    """What a gateway sends for a function's answer; None if it cannot make a response of it.

    Args:
        answer: what the function returned.
        rest: a REST API insists on the proxy format; an HTTP API takes anything else as the body of a 200.
    """
    if not isinstance(answer, dict) or "statusCode" not in answer:
        if rest:
            return None
        return Response(200, [("content-type", "application/json")], json.dumps(answer).encode())
    try:
        given = msgspec.convert(answer, _Answer)
        body = given.body or ""
        content = base64.b64decode(body) if given.is_base64_encoded else body.encode()
    except ValueError:  # of another form, no base64, or no Unicode
        return None
    headers = [(name, str(value)) for name, value in (given.headers or {}).items()]
    for name, values in (given.multi_value_headers or {}).items():
        headers = [each for each in headers if each[0].lower() != name.lower()]
        headers += [(name, str(value)) for value in values]
    headers += [("set-cookie", cookie) for cookie in given.cookies or ()]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", "application/json" if rest else "text/plain; charset=utf-8"))
    return Response(given.status_code, headers, content)


def _body(request: Request, *, text_only: bool) -> tuple[str | None, bool]:
    """The body as events carry it, and whether that is base64."""
    if not request.body:
        return None, False
    kind = request.header("content-type") or "text/plain"
    try:
        if text_only or kind.startswith(_TEXT):
            return request.body.decode(errors="replace" if text_only else "strict"), False
    except UnicodeDecodeError:
        pass
    return base64.b64encode(request.body).decode(), True


def _pairs(query: str) -> list[tuple[str, str]]:
    return parse_qsl(query, keep_blank_values=True)


def _listed(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name: ",".join(values) for name, values in _listed(list(pairs)).items()}


def _common_log_time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")

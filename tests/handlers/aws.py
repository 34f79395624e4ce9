"""Events as AWS sends them, with all the fields that its documentation shows, and a client that reads the answers.

Sources: API Gateway Developer Guide, "Create AWS Lambda proxy integrations for HTTP APIs" (2.0) and "Lambda proxy
integrations in API Gateway" (1.0); EventBridge User Guide, "Events"; Lambda Developer Guide, "Amazon SQS".
"""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from aws_lambda_powertools import Logger
from msgspec import Struct

Json = dict[str, Any]
Query = Sequence[tuple[str, str]]


class Context:
    """Lambda's context object, as far as handlers use it."""

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


def http_event(
    method: str,
    path: str,
    query: Query,
    headers: Mapping[str, str],
    body: str | None,
    *,
    encoded: bool,
    authorizer: Json | None,
    stage: str,
) -> Json:
    """An HTTP API's event, format 2.0."""
    raw = urlencode(query)
    joined: dict[str, str] = {}
    for name, value in parse_qsl(raw, keep_blank_values=True):
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    whole = path if stage == "$default" else f"/{stage}{path}"
    context: Json = {
        "accountId": "123456789012",
        "apiId": "api-id",
        "domainName": "id.execute-api.us-east-1.amazonaws.com",
        "domainPrefix": "id",
        "http": {
            "method": method,
            "path": whole,
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
            "userAgent": "agent",
        },
        "requestId": "request-1",
        "routeKey": "$default",
        "stage": stage,
        "time": "12/Mar/2026:19:03:58 +0000",
        "timeEpoch": 1583348638390,
    }
    event: Json = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": whole,
        "rawQueryString": raw,
        "cookies": ["cookie1", "cookie2"],
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": context,
        "isBase64Encoded": encoded,
        "stageVariables": {"stageVariable1": "value1"},
    }
    if joined:
        event["queryStringParameters"] = joined
    if authorizer is not None:
        context["authorizer"] = authorizer
    if body is not None:
        event["body"] = body
    return event


def rest_event(
    method: str,
    path: str,
    query: Query,
    headers: Mapping[str, str],
    body: str | None,
    *,
    encoded: bool,
    authorizer: Json | None,
    stage: str,
) -> Json:
    """A REST API's event, format 1.0."""
    multi: dict[str, list[str]] = {}
    for name, value in query:
        multi.setdefault(name, []).append(value)
    stage = "prod" if stage == "$default" else stage
    context: Json = {
        "accountId": "123456789012",
        "apiId": "id",
        "domainName": "id.execute-api.us-east-1.amazonaws.com",
        "domainPrefix": "id",
        "extendedRequestId": "request-id",
        "httpMethod": method,
        "identity": {"sourceIp": "192.0.2.1", "userAgent": "user-agent", "caller": None, "user": None},
        "path": f"/{stage}{path}",
        "protocol": "HTTP/1.1",
        "requestId": "request-1",
        "requestTime": "04/Mar/2026:19:15:17 +0000",
        "requestTimeEpoch": 1583349317135,
        "resourceId": "abc123",
        "resourcePath": "/{proxy+}",
        "stage": stage,
    }
    if authorizer is not None:
        context["authorizer"] = authorizer
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": dict(headers) or None,
        "multiValueHeaders": {name: [value] for name, value in headers.items()} or None,
        "queryStringParameters": {name: values[-1] for name, values in multi.items()} or None,
        "multiValueQueryStringParameters": multi or None,
        "requestContext": context,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "body": body,
        "isBase64Encoded": encoded,
    }


class Lines:
    """A logger as handlers have it, and the lines that it wrote."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        # Powertools gives the same logger, with its first stream, to all that ask for the same service.
        self.logger = Logger(service=f"test-{next(_services)}", child=False, stream=self._stream)

    @property
    def written(self) -> list[Json]:
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]


_services = itertools.count()


class Reply(Struct, frozen=True):
    """What a caller receives."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def problem(self) -> Json:
        """The problem detail, after a look at whether it is one."""
        assert self.headers["content-type"] == "application/problem+json", self.text
        problem: Json = self.json
        assert problem["status"] == self.status
        assert {"type", "title", "detail", "instance"} <= problem.keys()
        return problem

    @property
    def places(self) -> list[str]:
        """Where the problem detail says that something is wrong."""
        return [place["where"] for place in self.problem["problems"]]


Handler = Callable[[Any, Any], Json]
Shape = Callable[..., Json]


class Client:
    """Calls a handler as API Gateway does."""

    def __init__(self, handler: Handler, shape: Shape, claims: Json | None = None) -> None:
        self.handler = handler
        self.shape = shape
        self.authorizer = None if claims is None else self.authorized(claims)
        self.seconds = 30.0

    def authorized(self, claims: Json) -> Json:
        """What an authoriser for JSON web tokens adds to the event."""
        return {"jwt": {"claims": claims, "scopes": None}} if self.shape is http_event else {"claims": claims}

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: object = None,
        encoded: bool = False,
        stage: str = "$default",
    ) -> Reply:
        """Send a request. A body that is no text is sent as JSON; ``encoded`` sends it as base64."""
        given = dict(headers or {})
        text = body if body is None or isinstance(body, str | bytes) else json.dumps(body)
        if body is not None and not any(name.lower() == "content-type" for name in given):
            given["Content-Type"] = "application/json"
        if encoded or isinstance(text, bytes):
            data = text.encode() if isinstance(text, str) else text or b""
            text, encoded = base64.b64encode(data).decode(), True
        event = self.shape(method, path, query, given, text, encoded=encoded, authorizer=self.authorizer, stage=stage)
        return self.send(event)

    def send(self, event: Json) -> Reply:
        """Send an event as it is."""
        # What Lambda gives has gone through JSON, and what it takes must do so.
        answer = json.loads(json.dumps(self.handler(json.loads(json.dumps(event)), Context(self.seconds))))
        headers = answer.get("headers") or {name: values[0] for name, values in answer["multiValueHeaders"].items()}
        assert not answer.get("isBase64Encoded")
        lower = {name.lower(): value for name, value in headers.items()}
        return Reply(answer["statusCode"], lower, answer["body"])

    def get(self, path: str, *query: tuple[str, str]) -> Reply:
        return self.request("GET", path, query=query)

    def post(self, path: str, body: object = None, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, body=body, headers=named)

    def start(self, body: object, workflow: str = "order", **headers: str) -> Reply:
        return self.post(f"/workflows/{workflow}/runs", body, **headers)


def bus_event(detail: object, **changes: Any) -> Json:
    """An EventBridge event that starts a run."""
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": "onewrite.start",
        "source": "com.example.shop",
        "account": "111122223333",
        "time": "2026-12-22T18:43:48Z",
        "region": "us-west-1",
        "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
        "detail": detail,
        **changes,
    }


def queue_record(body: str, message: str, receives: int = 1) -> Json:
    """A message in a batch of SQS."""
    return {
        "messageId": message,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "SentTimestamp": "1545082649183",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1545082649185",
            "MessageGroupId": "acme",
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
        "awsRegion": "us-east-2",
    }

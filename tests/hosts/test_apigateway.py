"""Events of API Gateway, compared field by field with what its documentation shows; and responses."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent, APIGatewayProxyEventV2

from hosts.local.apigateway import Request, Response, http_api_event, response_of, rest_api_event

REQUEST = Request(
    method="POST",
    path="/my/path",
    query="parameter1=value1&parameter1=value2&parameter2=value",
    headers=(
        ("Host", "id.execute-api.us-east-1.amazonaws.com"),
        ("Header1", "value1"),
        ("Header2", "value1"),
        ("header2", "value2"),
        ("User-Agent", "agent"),
        ("Cookie", "cookie1; cookie2"),
        ("Content-Type", "text/plain"),
    ),
    body=b"Hello from Lambda",
    id="id",
    at=1583348638390,
    source_ip="192.0.2.1",
    claims={"claim1": "value1", "tenant": "acme"},
)


def test_http_api_event_has_the_documented_fields() -> None:
    assert http_api_event(REQUEST) == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/path",
        "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
        "cookies": ["cookie1", "cookie2"],
        "headers": {
            "host": "id.execute-api.us-east-1.amazonaws.com",
            "header1": "value1",
            "header2": "value1,value2",
            "user-agent": "agent",
            "content-type": "text/plain",
        },
        "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "authorizer": {"jwt": {"claims": {"claim1": "value1", "tenant": "acme"}, "scopes": None}},
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "local",
            "http": {
                "method": "POST",
                "path": "/my/path",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1583348638390,
        },
        "body": "Hello from Lambda",
        "isBase64Encoded": False,
    }


def test_http_api_event_leaves_out_what_is_empty() -> None:
    event = http_api_event(Request(method="GET", path="/"))

    assert not {"cookies", "queryStringParameters", "body", "pathParameters", "stageVariables"} & event.keys()
    assert "authorizer" not in event["requestContext"]


def test_rest_api_event_has_the_documented_fields() -> None:
    event = rest_api_event(REQUEST)

    assert event.keys() == {
        "resource",
        "path",
        "httpMethod",
        "headers",
        "multiValueHeaders",
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "pathParameters",
        "stageVariables",
        "requestContext",
        "body",
        "isBase64Encoded",
    }
    assert event["path"] == "/my/path"
    assert event["pathParameters"] == {"proxy": "my/path"}
    assert event["queryStringParameters"] == {"parameter1": "value2", "parameter2": "value"}
    assert event["multiValueQueryStringParameters"] == {"parameter1": ["value1", "value2"], "parameter2": ["value"]}
    assert event["multiValueHeaders"]["Header2"] == ["value1"]
    assert event["body"] == "Hello from Lambda"
    context = event["requestContext"]
    assert context["path"] == "/live/my/path"
    assert context["stage"] == "live"
    assert context["authorizer"] == {"claims": {"claim1": "value1", "tenant": "acme"}}
    assert context["requestTime"] == "04/Mar/2020:19:03:58 +0000"
    assert context["identity"]["sourceIp"] == "192.0.2.1"
    assert context["identity"]["caller"] is None


def test_rest_api_event_says_null_of_what_is_empty() -> None:
    event = rest_api_event(Request(method="GET", path="/"))

    names = ("headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "body")
    assert [event[name] for name in names] == [None] * 5


def test_powertools_reads_both() -> None:
    second = APIGatewayProxyEventV2(http_api_event(REQUEST))
    first = APIGatewayProxyEvent(rest_api_event(REQUEST))

    assert (second.path, second.http_method, second.body) == (first.path, first.http_method, first.body)
    assert second.request_context.http.source_ip == first.request_context.identity.source_ip == "192.0.2.1"


@pytest.mark.parametrize(
    ("kind", "body", "encoded"),
    [
        ("application/json", '{"ü": 1}'.encode(), False),
        ("application/octet-stream", b"\xff\x00", True),
        ("application/json", b"\xff\x00", True),
        ("image/png", b"png", True),
    ],
)
def test_a_body_that_is_no_text_comes_in_base64(kind: str, body: bytes, encoded: bool) -> None:
    event = http_api_event(Request(method="POST", path="/", headers=(("Content-Type", kind),), body=body))

    assert event["isBase64Encoded"] is encoded
    assert event["body"] == (base64.b64encode(body).decode() if encoded else body.decode())


def test_a_response_in_the_proxy_format() -> None:
    answer = {
        "statusCode": 201,
        "headers": {"Location": "/runs/1", "Content-Type": "application/json"},
        "multiValueHeaders": {"X-Many": ["a", "b"]},
        "cookies": ["c=1"],
        "body": "{}",
        "isBase64Encoded": False,
    }

    assert response_of(answer, rest=False) == Response(
        201,
        [
            ("Location", "/runs/1"),
            ("Content-Type", "application/json"),
            ("X-Many", "a"),
            ("X-Many", "b"),
            ("set-cookie", "c=1"),
        ],
        b"{}",
    )


def test_a_response_in_base64_is_decoded() -> None:
    answer = {"statusCode": 200, "body": base64.b64encode(b"\xff").decode(), "isBase64Encoded": True}

    response = response_of(answer, rest=True)

    assert response is not None
    assert response.body == b"\xff"


@pytest.mark.parametrize("answer", [{"message": "hi"}, "hi", [1], None])
def test_only_an_http_api_makes_a_response_of_any_answer(answer: Any) -> None:
    response = response_of(answer, rest=False)

    assert response is not None
    assert (response.status, json.loads(response.body)) == (200, answer)
    assert response_of(answer, rest=True) is None

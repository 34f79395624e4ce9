"""The gateway over a real socket: requests in, events to the function, responses out; and the client of the API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hosts.local.client import Api, ApiError, Unreachable
from hosts.local.functions import InvocationFailed, TimedOut
from hosts.local.gateway import MAX_BODY, Gateway, PortTaken
from tests.hosts.conftest import Fake


@pytest.fixture
def serve() -> Iterator[Callable[..., Gateway]]:
    gateways: list[Gateway] = []

    def serve(function: Fake, *, rest: bool = False) -> Gateway:
        gateways.append(Gateway(function, rest=rest))
        gateways[-1].start()
        return gateways[-1]

    yield serve
    for gateway in gateways:
        gateway.stop()


def ask(gateway: Gateway, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """One request; gives status and parsed body."""
    connection = http.client.HTTPConnection(gateway.url.split("/")[2], timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if content else None


def say(_event: dict[str, Any]) -> Any:
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": '{"said": true}'}


def test_a_request_becomes_an_event_and_its_answer_a_response(serve: Callable[..., Gateway]) -> None:
    function = Fake(say)

    status, body = ask(serve(function), "POST", "/runs/a%20b?x=1", b'{"a": 1}', Content_Type="application/json")

    assert (status, body) == (200, {"said": True})
    (event,) = function.events
    assert event["version"] == "2.0"
    assert (event["rawPath"], event["rawQueryString"], event["body"]) == ("/runs/a b", "x=1", '{"a": 1}')
    assert "authorizer" not in event["requestContext"]


def test_the_authoriser_believes_whatever_tenant_is_named(serve: Callable[..., Gateway]) -> None:
    function = Fake(say)

    ask(serve(function), "GET", "/runs", Authorization="Bearer tenant:acme")

    assert function.events[0]["requestContext"]["authorizer"]["jwt"]["claims"]["tenant"] == "acme"


def test_a_rest_api_serves_below_its_stage(serve: Callable[..., Gateway]) -> None:
    function = Fake(say)
    gateway = serve(function, rest=True)

    assert gateway.url.endswith("/live")
    assert ask(gateway, "GET", "/live/runs")[0] == 200
    assert ask(gateway, "GET", "/runs") == (403, {"message": "Missing Authentication Token"})
    (event,) = function.events
    assert (event["path"], event["requestContext"]["path"]) == ("/runs", "/live/runs")


@pytest.mark.parametrize(("rest", "status"), [(False, 500), (True, 502)])
def test_a_function_that_fails_is_the_gateways_error(serve: Callable[..., Gateway], rest: bool, status: int) -> None:
    def fail(_event: dict[str, Any]) -> None:
        raise InvocationFailed("KeyError: 'secret'")

    answered, body = ask(serve(Fake(fail), rest=rest), "GET", "/live/runs")

    assert answered == status
    assert body == {"message": "Internal Server Error"}


@pytest.mark.parametrize(("rest", "status"), [(False, 503), (True, 504)])
def test_a_function_that_takes_too_long_is_the_gateways_error(
    serve: Callable[..., Gateway], rest: bool, status: int
) -> None:
    def hang(_event: dict[str, Any]) -> None:
        raise TimedOut("not done after 29 s")

    assert ask(serve(Fake(hang), rest=rest), "GET", "/live/runs")[0] == status


def test_an_answer_without_a_status_is_an_error_of_a_rest_api_only(serve: Callable[..., Gateway]) -> None:
    assert ask(serve(Fake(lambda _: {"a": 1})), "GET", "/runs") == (200, {"a": 1})
    assert ask(serve(Fake(lambda _: {"a": 1}), rest=True), "GET", "/live/runs")[0] == 502


def test_a_body_whose_length_is_not_known_is_refused(serve: Callable[..., Gateway]) -> None:
    function = Fake(say)

    status, _ = ask(serve(function), "POST", "/runs", Content_Length="many")

    assert status == 411
    assert not function.events


def test_a_body_that_is_too_large_is_refused_unread(serve: Callable[..., Gateway]) -> None:
    function = Fake(say)

    status, _ = ask(serve(function), "POST", "/runs", Content_Length=str(MAX_BODY + 1))

    assert status == 413
    assert not function.events


def test_a_port_that_is_taken_is_said_so(serve: Callable[..., Gateway]) -> None:
    port = int(serve(Fake()).url.rpartition(":")[2])

    with pytest.raises(PortTaken, match=f"port {port} cannot be used"):
        Gateway(Fake(), port=port)


def test_the_client_sends_input_and_key(serve: Callable[..., Gateway]) -> None:
    function = Fake(say)

    Api(serve(function).url, "acme").start("order", {"a": 1}, key="k", preset="p", config={"s": {}})

    (event,) = function.events
    assert event["rawPath"] == "/workflows/order/runs"
    assert event["headers"]["idempotency-key"] == "k"
    assert json.loads(event["body"]) == {"input": {"a": 1}, "preset": "p", "config": {"s": {}}}
    assert event["requestContext"]["authorizer"]["jwt"]["claims"]["tenant"] == "acme"


def test_the_client_reads_a_log_page_by_page(serve: Callable[..., Gateway]) -> None:
    pages = {"": {"entries": [{"seq": 0}, {"seq": 1}], "after": 1}, "after=1": {"entries": [{"seq": 2}], "after": None}}
    function = Fake(lambda event: pages[event["rawQueryString"]])

    assert [entry["seq"] for entry in Api(serve(function).url).log("r")] == [0, 1, 2]


def test_the_client_tells_what_is_wrong_place_by_place(serve: Callable[..., Gateway]) -> None:
    problem = {
        "title": "Invalid input",
        "status": 422,
        "detail": "long",
        "problems": [{"where": "input.card", "what": "Field required"}],
    }
    function = Fake(lambda _: {"statusCode": 422, "body": json.dumps(problem)})

    with pytest.raises(ApiError) as caught:
        Api(serve(function).url).run("r")

    assert str(caught.value) == "Invalid input:\n  input.card: Field required"
    assert caught.value.status == 422


def test_the_client_says_what_to_do_when_nothing_answers() -> None:
    with pytest.raises(Unreachable, match="start a host with `make serve`"):
        Api("http://127.0.0.1:9").runs()

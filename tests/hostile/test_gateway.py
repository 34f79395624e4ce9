"""The local host's own parsers: what stands for API Gateway, for the event source mapping, and the API's client."""

from __future__ import annotations

import base64
import json
import socket
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import strategies as st

from hosts.local.apigateway import Request, http_api_event, response_of, rest_api_event
from hosts.local.client import ApiError, _problem
from hosts.local.events import failed_messages
from hosts.local.gateway import Gateway
from tests.handlers.aws import Context
from tests.handlers.shop import Deployment
from tests.hostile.attack import attack
from tests.hostile.shapes import as_lambda_gives, damaged, damaged_text, junk, valid_texts
from tests.hostile.test_events import check_answer
from tests.hosts.conftest import Fake

latin = st.text(st.characters(max_codepoint=255), max_size=20)
requests = st.builds(
    Request,
    method=st.sampled_from(["GET", "POST", "TRACE"]),
    path=st.one_of(st.just("/workflows/order/runs"), latin.map(lambda path: "/" + path), valid_texts.map(quote)),
    query=st.one_of(
        latin,
        st.dictionaries(valid_texts, valid_texts).map(
            lambda pairs: "&".join(f"{quote(k)}={quote(v)}" for k, v in pairs.items())
        ),
    ),
    headers=st.lists(
        st.tuples(st.one_of(st.sampled_from(["Content-Type", "Cookie", "Host"]), latin), latin), max_size=4
    ),
    body=st.binary(),
    at=st.integers(0, 10**12),
    claims=st.one_of(st.none(), st.dictionaries(st.just("tenant"), latin)),
)


@attack(request_=requests)
def test_any_request_is_an_event_that_the_intake_answers(request_: Request) -> None:
    for event in (http_api_event(request_), rest_api_event(request_)):
        deployment = Deployment()
        answer = as_lambda_gives(deployment.intake(as_lambda_gives(event), Context()))

        check_answer(deployment, answer)
        assert "statusCode" in answer, "it is known for a request"
        response = response_of(answer, rest=True)
        assert response is not None
        assert response.status == answer["statusCode"]


@attack(body=st.binary(), media=st.sampled_from(["application/json", "application/octet-stream", ""]))
def test_a_body_arrives_as_it_was_sent(body: bytes, media: str) -> None:
    event = http_api_event(Request(method="POST", path="/", body=body, headers=[("content-type", media)]))

    text = event.get("body", "")
    assert (base64.b64decode(text) if event["isBase64Encoded"] else text.encode()) == body


@pytest.fixture(scope="module")
def gateways() -> Iterator[list[tuple[Fake, Gateway]]]:
    """An HTTP API and a REST API, each with its function."""
    functions = [Fake(), Fake()]
    made = [Gateway(function, rest=rest) for function, rest in zip(functions, (False, True), strict=True)]
    yield list(zip(functions, made, strict=True))
    for gateway in made:
        gateway.stop()


@attack(
    answer=st.one_of(junk, damaged({"statusCode": 200, "headers": {"a": "b"}, "body": "c", "isBase64Encoded": False}))
)
def test_any_answer_of_a_function_is_a_response_or_the_gateways_error(
    gateways: list[tuple[Fake, Gateway]], answer: Any
) -> None:
    for function, gateway in gateways:
        function.answer = lambda _event: answer
        response = gateway.answer(Request(method="GET", path="/live/x"))
        assert 100 <= response.status <= 999
        assert isinstance(response.body, bytes)


# --- bytes on the wire ------------------------------------------------------------------------------------------------

WIRE = "POST /runs?a=b HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"


class Wire:
    """A gateway that serves, the function behind it, and what went wrong in its threads."""

    def __init__(self) -> None:
        self.function = Fake(
            lambda _event: {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": "ok"}
        )
        self.gateway = Gateway(self.function)
        self.errors: list[object] = []
        vars(self.gateway._server)["handle_error"] = lambda *_: self.errors.append(sys.exception())
        self.gateway.start()

    def exchange(self, sent: bytes) -> bytes:
        """What comes back for these bytes, until the connection is closed."""
        host, port = self.gateway.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.gateway.stop()


@attack(sent=st.one_of(damaged_text(WIRE), latin, latin.map(lambda text: text + WIRE)))
def test_any_bytes_are_answered_in_the_gateways_form_or_not_at_all(wire: Wire, sent: str) -> None:
    try:
        answered = wire.exchange(sent.encode("latin-1", errors="replace"))
    except ConnectionError:  # closed before all was sent
        answered = b""

    assert not wire.errors, wire.errors
    head, _, body = answered.partition(b"\r\n\r\n")
    assert not answered or b"application/json" in head or b"text/plain" in head or json.loads(body or head), answered
    assert wire.exchange(WIRE.encode()).endswith(b"ok"), "it serves the next one"


BAD = {
    "a method that is none": ("FLY / HTTP/1.1\r\n\r\n", 501),
    "a header without end": (f"GET / HTTP/1.1\r\na: {'b' * 70_000}\r\n\r\n", 431),
    "an address without end": (f"GET /{'a' * 70_000} HTTP/1.1\r\n\r\n", 414),
    "a length of thousands of digits": (f"POST / HTTP/1.1\r\nContent-Length: {'9' * 5_000}\r\n\r\n", 411),
    "a length in superscript": ("POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", 411),
}


@pytest.mark.parametrize(("sent", "status"), BAD.values(), ids=BAD)
def test_what_is_no_http_is_told_so_as_json(wire: Wire, sent: str, status: int) -> None:
    head, _, body = wire.exchange(sent.encode("latin-1")).partition(b"\r\n\r\n")

    assert head.split()[1] == str(status).encode()
    assert json.loads(body).keys() == {"message"}
    assert not wire.errors


@pytest.mark.parametrize("method", ["GET", "PUT", "TRACE", "QUERY", "OPTIONS", "PATCH", "DELETE"])
def test_every_method_is_for_the_function_to_judge(wire: Wire, method: str) -> None:
    assert wire.exchange(f"{method} / HTTP/1.1\r\n\r\n".encode()).endswith(b"ok")
    assert wire.function.events[-1]["requestContext"]["http"]["method"] == method


# --- batches and clients ----------------------------------------------------------------------------------------------


@attack(answer=st.one_of(junk, damaged({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]})))
def test_what_cannot_be_understood_of_a_batchs_answer_fails_the_batch(answer: Any) -> None:
    failed = failed_messages(answer, ["a", "b"])

    assert failed in (set(), {"a"}, {"b"}, {"a", "b"})


@attack(body=st.one_of(st.binary(), junk.map(json.dumps).map(str.encode)))
def test_any_answer_of_a_server_is_an_error_that_can_be_read(body: bytes) -> None:
    error = ApiError(500, _problem(body))

    assert str(error)

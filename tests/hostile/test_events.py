"""Whole Lambda events of every kind that the intake takes: accepted, or refused in words, and never half stored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from handlers.direct import COMMANDS
from handlers.problems import MEDIA_TYPE, Problem
from handlers.routes import ROUTES
from kernel.core.tokens import Token, write_token
from kernel.errors import NotFound
from kernel.ports import RunRef
from tests.handlers.aws import Context, Json, bus_event, http_event, rest_event
from tests.handlers.shop import GOOD, TENANT, Deployment
from tests.hostile.attack import attack, either
from tests.hostile.shapes import as_lambda_gives, damaged, junk, texts

RUN = "a" * 24
TOKENS = [write_token(Token(TENANT, RUN, "charge", seq, "0" * 48)) for seq in (1, 2, 3)]
START = {
    "input": GOOD,
    "preset": "cautious",
    "config": {"charge": {"limit": 9}},
    "version": 1,
    "business_key": "order-123",
}
REQUESTS: list[tuple[str, str, list[tuple[str, str]], Json | None]] = [
    ("POST", "/workflows/order/runs", [], START),
    ("GET", "/runs", [("workflow", "order,split"), ("status", "open"), ("since", "1"), ("limit", "5")], None),
    ("GET", f"/runs/{RUN}", [("seq", "0")], None),
    ("GET", f"/runs/{RUN}/log", [("after", "1"), ("limit", "2")], None),
    ("POST", f"/runs/{RUN}/cancel", [], {"reason": "enough"}),
    ("POST", f"/runs/{RUN}/rerun", [], {"stage": "ship", "reason": ""}),
    ("GET", "/workflows/order/keys/order-123", [], None),
    (
        "POST",
        "/workflows/parcel/keys/order-123/events",
        [],
        {"name": "Delivered", "payload": {"place": "door"}, "id": "e-1"},
    ),
    ("POST", f"/callbacks/{TOKENS[0]}", [], {"output": {"text": "done"}}),
    ("POST", f"/callbacks/{TOKENS[1]}", [], {"error": {"kind": "Broken", "message": "no", "retryable": False}}),
    ("POST", f"/callbacks/{TOKENS[2]}", [], {"heartbeat": True, "progress": 0.5}),
    ("GET", "/workflows", [], None),
]
DOCUMENTED = {*(status for route in ROUTES for status in (*route.answers, *route.problems)), 405}


def gateway_event(shape: Any, request: tuple[str, str, list[tuple[str, str]], Json | None]) -> Json:
    """A request as API Gateway hands it over."""
    method, path, query, body = request
    event: Json = shape(
        method,
        path,
        query,
        {"Content-Type": "application/json", "Idempotency-Key": "k"},
        None if body is None else msgspec.json.encode(body).decode(),
        encoded=False,
        authorizer={"jwt": {"claims": {"tenant": "acme", "sub": "alice"}}},
        stage="prod",
    )
    return event


shapes = st.sampled_from([http_event, rest_event])
gateway_events = st.builds(gateway_event, shapes, st.sampled_from(REQUESTS))


def handle(deployment: Deployment, event: object) -> Any:
    """What the intake makes of an event, through JSON both ways, as in Lambda."""
    return as_lambda_gives(deployment.intake(as_lambda_gives(event), Context()))


def check_response(deployment: Deployment, answer: Json) -> None:
    """A response is documented, and what is refused has stored nothing."""
    status = answer["statusCode"]
    assert status in DOCUMENTED
    assert status < 500, answer["body"]
    headers = answer.get("headers") or {name: value for name, (value,) in answer["multiValueHeaders"].items()}
    if status < 400:
        assert headers["Content-Type"] == "application/json"
        return
    assert headers["Content-Type"] == MEDIA_TYPE
    problem = msgspec.json.decode(answer["body"], type=Problem)
    assert problem.status == status
    assert problem.detail
    assert deployment.writes == []


def check_answer(deployment: Deployment, answer: Json) -> None:
    """The answer to whatever came in, whichever way it was taken."""
    match answer:
        case {"statusCode": int()}:
            check_response(deployment, answer)
        case {"error": error}:
            assert msgspec.convert(error, Problem).status < 500
            assert deployment.writes == []
        case {"refused": str(reason)}:
            assert reason
            assert deployment.writes == []
        case _:
            assert answer


@attack(event=gateway_events.flatmap(damaged))
def test_a_damaged_request_is_answered_as_documented(event: Any) -> None:
    deployment = Deployment()
    check_answer(deployment, handle(deployment, event))


@pytest.mark.parametrize("shape", [http_event, rest_event])
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: f"{request[0]} {request[1]}")
def test_each_of_these_requests_is_fine_before_it_is_damaged(shape: Any, request_: Any) -> None:
    answer = handle(Deployment(), gateway_event(shape, request_))

    assert answer["statusCode"] in (200, 201, 404), answer


NAMES = [
    "workflow",
    "status",
    "since",
    "limit",
    "cursor",
    "wait",
    "seq",
    "at",
    "after",
    "Content-Type",
    "Idempotency-Key",
]
SEGMENTS = ["runs", "workflows", RUN, "order", "log", "cancel", "keys", "order-123", "", ".."]
paths = st.lists(st.one_of(st.sampled_from(SEGMENTS), texts)).map(lambda parts: "/" + "/".join(parts))
named = st.dictionaries(st.one_of(st.sampled_from(NAMES), texts), texts, max_size=4)


@attack(
    shape=shapes, request_=st.sampled_from(REQUESTS), query=named, headers=named, cookies=st.lists(texts, max_size=3)
)
def test_any_parameters_headers_and_cookies_are_answered(
    shape: Any, request_: Any, query: dict[str, str], headers: dict[str, str], cookies: list[str]
) -> None:
    deployment = Deployment()
    event = gateway_event(shape, request_)
    listed = {name: [value] for name, value in query.items()}
    event |= {"queryStringParameters": query, "multiValueQueryStringParameters": listed, "cookies": cookies}
    event["headers"] |= headers | {"Cookie": "; ".join(cookies)}
    event["multiValueHeaders"] = {name: [value] for name, value in event["headers"].items()}

    check_answer(deployment, handle(deployment, event))


@attack(shape=shapes, method=st.one_of(st.sampled_from(["GET", "POST", "HEAD", "TRACE", "get"]), texts), path=paths)
def test_any_method_and_path_are_answered(shape: Any, method: str, path: str) -> None:
    deployment = Deployment()
    event = gateway_event(shape, (method, path, [], None))

    check_answer(deployment, handle(deployment, event))


WRONG = {
    "a path that is a number": ({"rawPath": 7}, "rawPath"),
    "no method": ({"requestContext": {"http": {}, "stage": "prod"}}, "requestContext.http"),
    "no context": ({"requestContext": None}, "requestContext"),
    "headers that are a list": ({"headers": ["a"]}, "headers"),
    "a header that is a number": ({"headers": {"a": 1}}, "headers[...]"),
    "a body that is an object": ({"body": {}}, "body"),
    "a flag that is a text": ({"isBase64Encoded": "false"}, "isBase64Encoded"),
    "parameters that are a text": ({"pathParameters": "run"}, "pathParameters"),
}


@pytest.mark.parametrize(("change", "place"), WRONG.values(), ids=WRONG)
def test_a_field_of_another_type_is_named(change: Json, place: str) -> None:
    deployment = Deployment()

    answer = handle(deployment, gateway_event(http_event, REQUESTS[0]) | change)

    problem = msgspec.json.decode(answer["body"], type=Problem)
    assert (answer["statusCode"], [each.where for each in problem.problems]) == (400, [place])
    assert deployment.writes == []


# --- EventBridge ------------------------------------------------------------------------------------------------------

ASKED = {"workflow": "order", "key": "k", **START}


@attack(event=damaged(bus_event(ASKED)))
def test_a_damaged_event_of_the_bus_starts_its_run_or_is_refused(event: Any) -> None:
    deployment = Deployment()
    answer = either(NotFound, handle, deployment, event)  # of a workflow that is not there so far: it comes again
    if isinstance(answer, NotFound):
        assert deployment.writes == []
        return

    check_answer(deployment, answer)
    if "run" in answer:
        assert deployment.play.ended(RunRef(TENANT, answer["run"])).status == "running"


UNNAMED = {"workflow": "order", **START}


@attack(detail=st.one_of(damaged(ASKED), st.just(UNNAMED), junk), source=junk, id_=st.one_of(junk, texts))
def test_any_detail_starts_a_run_or_is_refused(detail: Any, source: Any, id_: Any) -> None:
    deployment = Deployment()
    answer = either(NotFound, handle, deployment, bus_event(detail, source=source, id=id_))
    if isinstance(answer, NotFound):
        assert deployment.writes == []
        return

    check_answer(deployment, answer)
    assert ("run" in answer) == bool(deployment.writes)


# --- direct invocation ------------------------------------------------------------------------------------------------

INVOCATIONS: list[Json] = [
    {"start": ASKED},
    {"show": {"run": RUN, "seq": 0, "at": "2026-01-01T00:00:00Z", "wait": 1}},
    {"list": {"workflow": ["order"], "status": "open", "since": 1, "before": 2, "cursor": "x", "limit": 5}},
    {"log": {"run": RUN, "after": 0, "limit": 2}},
    {"steps": {"run": RUN}},
    {"annotations": {"run": RUN, "prefix": "who", "after": 0, "limit": 2}},
    {"cancel": {"run": RUN, "reason": "enough"}},
    {"pause": {"run": RUN, "reason": "wait", "until": "2026-01-01T00:00:00Z"}},
    {"resume": {"run": RUN}},
    {"retry": {"run": RUN}},
    {"rerun": {"run": RUN, "stage": "ship"}},
    {"send_event": {"run": RUN, "name": "Delivered", "payload": {"place": "door"}, "id": "e-1"}},
    {"show_event": {"run": RUN, "id": "e-1"}},
    {"show_holder": {"workflow": "order", "business_key": "order-123"}},
    {
        "send_event_to_holder": {
            "workflow": "parcel",
            "business_key": "order-123",
            "name": "Delivered",
            "payload": {"place": "door"},
            "id": "e-1",
        }
    },
    {"callback": {"token": TOKENS[0], "output": {"text": "done"}}},
    {"available_events": RUN},
    {"dead_letters": RUN},
    {"replay_dead_letters": RUN},
    {"workflows": {}},
    {"diagram": {"workflow": "order", "version": 1}},
    {"run_diagram": {"run": RUN, "seq": 0, "at": "2026-01-01T00:00:00Z"}},
    {"health": {}},
]


def test_every_command_is_attacked() -> None:
    assert {name for command in INVOCATIONS for name in command} == set(COMMANDS)


@attack(event=st.one_of(st.sampled_from(INVOCATIONS).flatmap(damaged), junk))
def test_any_invocation_is_answered(event: Any) -> None:
    deployment = Deployment()
    check_answer(deployment, handle(deployment, event))


@attack(
    command=st.sampled_from(sorted(COMMANDS)),
    fields=st.one_of(st.dictionaries(st.sampled_from(["run", "workflow", "input", "reason", "since"]), junk), junk),
)
def test_any_fields_of_a_command_are_answered(command: str, fields: Any) -> None:
    deployment = Deployment()
    check_answer(deployment, handle(deployment, {command: fields}))

"""The service's own OpenAPI document: valid, complete, and true to what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from handlers.routes import ROUTES
from tests.handlers.aws import Client, Json, Reply
from tests.handlers.shop import GOOD, Deployment


@pytest.fixture
def document(client: Client) -> Json:
    reply = client.get("/openapi.json")
    assert reply.status == 200
    found: Json = reply.json
    return found


PUBLIC = ("/callbacks/{token}", "/health", "/openapi.json")
"""What is open to callers without a tenant."""


def operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_it_is_a_valid_document(document: Json) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")


def test_it_lists_every_route_once(document: Json) -> None:
    assert {(method, path) for method, path, _ in operations(document)} == {
        ("POST", "/workflows/{workflow}/runs"),
        ("GET", "/runs"),
        ("GET", "/runs/{run}"),
        ("GET", "/runs/{run}/log"),
        ("GET", "/runs/{run}/steps"),
        ("POST", "/runs/{run}/cancel"),
        ("POST", "/runs/{run}/pause"),
        ("POST", "/runs/{run}/resume"),
        ("POST", "/runs/{run}/retry"),
        ("POST", "/runs/{run}/rerun"),
        ("POST", "/runs/{run}/events"),
        ("GET", "/runs/{run}/available-events"),
        ("GET", "/runs/{run}/events/{event}"),
        ("GET", "/workflows/{workflow}/keys/{key}"),
        ("POST", "/workflows/{workflow}/keys/{key}/events"),
        ("GET", "/runs/{run}/dead-letters"),
        ("POST", "/runs/{run}/dead-letters/replay"),
        ("GET", "/runs/{run}/diagram"),
        ("POST", "/callbacks/{token}"),
        ("GET", "/workflows"),
        ("GET", "/workflows/{workflow}/diagram"),
        ("GET", "/health"),
        ("GET", "/openapi.json"),
    }
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids) == len(ROUTES)


def test_every_operation_has_a_summary_and_its_failures_as_problem_details(document: Json) -> None:
    for method, path, operation in operations(document):
        assert operation["summary"].endswith("."), (method, path)
        responses = operation["responses"]
        assert {"500", "503"} <= responses.keys()
        assert ("401" in responses) == (path not in PUBLIC)
        assert ({"400", "413", "415"} <= responses.keys()) == (method == "POST")
        for status, response in responses.items():
            (media,) = response["content"]
            assert media == ("application/json" if status < "300" else "application/problem+json")
        assert responses["503"]["headers"].keys() == {"Retry-After"}


def test_parameters_and_bodies_are_described(document: Json) -> None:
    start = document["paths"]["/workflows/{workflow}/runs"]["post"]
    listing = document["paths"]["/runs"]["get"]
    schemas = document["components"]["schemas"]

    assert [(each["name"], each["in"]) for each in start["parameters"]] == [
        ("workflow", "path"),
        ("Idempotency-Key", "header"),
    ]
    assert start["requestBody"]["required"]
    assert start["responses"]["201"]["headers"].keys() == {"Location"}
    assert schemas["StartBody"]["required"] == ["input"]
    assert schemas["StartBody"]["additionalProperties"] is False
    names = {each["name"] for each in listing["parameters"]}
    assert names == {"workflow", "status", "since", "before", "cursor", "limit"}
    for each in listing["parameters"]:
        assert "null" not in str(each["schema"]), each
        assert each["description"]
    cancel = document["paths"]["/runs/{run}/cancel"]["post"]["requestBody"]
    assert cancel["content"]["application/json"]["schema"]["$ref"].endswith("/ReasonBody")
    assert not cancel.get("required")


def test_only_what_is_referred_to_is_defined(document: Json) -> None:
    everything = str(document)
    for name in document["components"]["schemas"]:
        assert f"'#/components/schemas/{name}'" in everything, name


def test_the_server_is_where_the_document_was_asked_for(client: Client) -> None:
    reply = client.request("GET", "/openapi.json", stage="beta")

    assert reply.json["servers"] == [{"url": "/beta"}]


def test_answers_lead_to_what_can_be_asked_next(document: Json) -> None:
    named = {operation["operationId"]: operation for _, _, operation in operations(document)}
    links = [
        link
        for operation in named.values()
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]

    assert {link["operationId"] for link in links} >= {"show_run", "cancel_run", "list_runs", "show_log", "show_steps"}
    for link in links:
        known = {parameter["name"] for parameter in named[link["operationId"]]["parameters"]}
        assert link["parameters"].keys() <= known, link
        assert all(value.startswith(("$response.body#/", "$request.path.")) for value in link["parameters"].values())


def test_what_is_answered_is_what_is_described(client: Client, deployment: Deployment, document: Json) -> None:
    deployment.play.sink.refuse = lambda _event: "no"
    run = client.start({"input": GOOD | {"broken": True}}, Idempotency_Key="k").json["run"]
    deployment.work()
    template = "/runs/{run}"
    seen = [
        ("POST", "/workflows/{workflow}/runs", client.start({"input": GOOD})),
        ("POST", "/workflows/{workflow}/runs", client.start({"input": GOOD}, Idempotency_Key="k")),
        ("POST", "/workflows/{workflow}/runs", client.start({"input": GOOD | {"broken": True}}, Idempotency_Key="k")),
        ("POST", "/workflows/{workflow}/runs", client.start({"input": 1})),
        ("POST", "/workflows/{workflow}/runs", client.post("/workflows/order/runs", "{")),
        ("GET", "/runs", client.get("/runs")),
        ("GET", "/runs", client.get("/runs", ("limit", "0"))),
        ("GET", template, client.get(f"/runs/{run}")),
        ("GET", template, client.get("/runs/nope")),
        ("GET", f"{template}/log", client.get(f"/runs/{run}/log")),
        ("GET", f"{template}/steps", client.get(f"/runs/{run}/steps")),
        ("POST", f"{template}/retry", client.post(f"/runs/{run}/retry")),
        ("POST", f"{template}/pause", client.post(f"/runs/{run}/pause", {"until": "2026-01-31", "reason": "wait"})),
        ("POST", f"{template}/pause", client.post(f"/runs/{run}/pause")),
        ("POST", f"{template}/pause", client.post(f"/runs/{run}/pause")),
        ("GET", template, client.get(f"/runs/{run}")),
        ("POST", f"{template}/resume", client.post(f"/runs/{run}/resume")),
        ("POST", f"{template}/resume", client.post(f"/runs/{run}/resume")),
        ("POST", f"{template}/cancel", client.post(f"/runs/{run}/cancel")),
        ("POST", f"{template}/cancel", client.post(f"/runs/{run}/cancel")),
        ("POST", f"{template}/rerun", client.post(f"/runs/{run}/rerun", {"stage": "charge"})),
        ("GET", f"{template}/dead-letters", client.get(f"/runs/{run}/dead-letters")),
        ("POST", f"{template}/dead-letters/replay", client.post(f"/runs/{run}/dead-letters/replay")),
        ("GET", "/workflows", client.get("/workflows")),
        ("GET", "/health", client.get("/health")),
        ("GET", "/openapi.json", client.get("/openapi.json")),
    ]

    for method, path, reply in seen:
        _fits(document, method, path, reply)
    assert {reply.status for _, _, reply in seen} == {200, 201, 202, 400, 404, 409, 422}


def _fits(document: Json, method: str, path: str, reply: Reply) -> None:
    response = document["paths"][path][method.lower()]["responses"][str(reply.status)]
    schema: dict[str, Any] = response["content"][reply.headers["content-type"]]["schema"]
    whole = {"components": document["components"], **schema}
    OAS31Validator(whole).validate(reply.json)

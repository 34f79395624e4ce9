"""Bad requests to the HTTP API, their bodies aside: keys, cursors, parameters, runs, methods and paths."""

from __future__ import annotations

import pytest

from tests.handlers.aws import Client
from tests.handlers.shop import GOOD, Deployment


@pytest.mark.parametrize("key", ["", "k" * 257])
def test_a_key_of_a_wrong_length_is_refused(client: Client, deployment: Deployment, key: str) -> None:
    reply = client.start({"input": GOOD}, Idempotency_Key=key)

    assert (reply.status, reply.places) == (422, ["Idempotency-Key"])
    assert deployment.writes == []


def test_a_key_that_cannot_be_printed_is_refused(client: Client, deployment: Deployment) -> None:
    assert client.start({"input": GOOD}, Idempotency_Key="a\x00b").status == 422
    assert deployment.writes == []


CURSORS = {
    "no base64": "???",
    "not ours": "eyJhIjoxfQ",
    "of another version": "WzIsMSwiYWJjIl0",
    "with a run that is none": "WzEsMSwiYSNifmMiXQ",
    "nothing": "",
    "no ASCII": "ü",
    "long": "W" * 10_000,
    "nested": "W1tbW1tbW1tbW1tb" * 1_000,
}


@pytest.mark.parametrize("cursor", CURSORS.values(), ids=CURSORS)
def test_a_bad_cursor_is_named(client: Client, cursor: str) -> None:
    reply = client.get("/runs", ("cursor", cursor))

    assert (reply.status, reply.places) == (422, ["cursor"])


QUERIES = [
    ("/runs", "limit", "0"),
    ("/runs", "limit", "1000"),
    ("/runs", "limit", "ten"),
    ("/runs", "limit", "9" * 5000),
    ("/runs", "since", "yesterday"),
    ("/runs", "since", "-1"),
    ("/runs", "before", "9" * 30),
    ("/runs", "before", "2026-13-01"),
    ("/runs", "since", "1969-12-31T00:00:00Z"),
    ("/runs", "before", "0001-01-01T00:00:00+23:59"),
    ("/runs/{run}", "seq", "-1"),
    ("/runs/{run}", "seq", "last"),
    ("/runs/{run}", "at", "now"),
    ("/runs/{run}", "wait", "26"),
    ("/runs/{run}", "wait", "soon"),
    ("/runs/{run}/log", "after", "-2"),
    ("/runs/{run}/log", "limit", "201"),
    ("/runs/{run}/steps", "after", "x"),
]


@pytest.mark.parametrize(("path", "name", "value"), QUERIES)
def test_a_bad_parameter_is_named(client: Client, path: str, name: str, value: str) -> None:
    run = client.start({"input": GOOD}).json["run"]

    reply = client.get(path.format(run=run), (name, value))

    assert (reply.status, reply.places) == (422, [name])


def test_a_bad_status_is_named(client: Client) -> None:
    reply = client.get("/runs", ("status", "open,happy"))

    assert (reply.status, reply.places) == (422, ["status.1"])


def test_a_parameter_given_twice_is_not_taken_for_one(client: Client) -> None:
    assert client.get("/runs", ("limit", "1"), ("limit", "2")).status == 422


RUNS = ["nope", "a" * 20, "a" * 24, "x" * 3000, "..", "%00", "a%20b", "~head", "key", "a,b", "ünïcödé"]


@pytest.mark.parametrize("run", RUNS)
def test_an_unknown_run_is_not_found_whatever_is_asked_of_it(client: Client, deployment: Deployment, run: str) -> None:
    replies = [
        client.get(f"/runs/{run}"),
        client.get(f"/runs/{run}", ("wait", "5")),
        client.get(f"/runs/{run}/log"),
        client.get(f"/runs/{run}/steps"),
        client.get(f"/runs/{run}/annotations"),
        client.get(f"/runs/{run}/dead-letters"),
        client.post(f"/runs/{run}/cancel"),
        client.post(f"/runs/{run}/pause"),
        client.post(f"/runs/{run}/resume"),
        client.post(f"/runs/{run}/retry"),
        client.post(f"/runs/{run}/rerun", {"stage": "ship"}),
        client.post(f"/runs/{run}/dead-letters/replay"),
    ]

    assert {(reply.status, reply.problem["title"]) for reply in replies} == {(404, "Not found")}
    assert deployment.writes == []


REASONS = {"too long": "x" * 501, "no text": 7, "with NUL": "a\0b"}


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
@pytest.mark.parametrize("action", ["cancel", "pause", "resume", "retry", "rerun"])
def test_a_bad_reason_is_refused(client: Client, deployment: Deployment, action: str, reason: object) -> None:
    run = client.start({"input": GOOD}).json["run"]
    before = deployment.writes

    body = {"reason": reason} | ({"stage": "ship"} if action == "rerun" else {})
    reply = client.post(f"/runs/{run}/{action}", body)

    assert (reply.status, reply.places) == (422, ["reason"])
    assert deployment.writes == before


@pytest.mark.parametrize("until", [0, 1, -5, "2020-01-01T00:00:00Z", "2280-01-01", 10**13, 1.5, "soon", True, {}])
def test_a_time_to_pause_until_that_makes_no_sense_is_refused(
    client: Client, deployment: Deployment, until: object
) -> None:
    run = client.start({"input": GOOD}).json["run"]
    before = deployment.writes

    reply = client.post(f"/runs/{run}/pause", {"until": until})

    assert (reply.status, reply.places) == (422, ["until"])
    assert deployment.writes == before


def test_a_bad_stage_is_refused(client: Client) -> None:
    run = client.start({"input": GOOD}).json["run"]

    for body in ({}, {"stage": ""}, {"stage": 7}, {"stage": "x" * 257}, {"stage": None}):
        reply = client.post(f"/runs/{run}/rerun", body)
        assert (reply.status, reply.places) == (422, ["stage"]), body


METHODS = [
    ("PUT", "/runs", "GET"),
    ("DELETE", "/runs/{run}", "GET"),
    ("POST", "/runs/{run}", "GET"),
    ("GET", "/runs/{run}/cancel", "POST"),
    ("PATCH", "/workflows/order/runs", "POST"),
    ("OPTIONS", "/health", "GET"),
    ("HEAD", "/openapi.json", "GET"),
    ("TRACE", "/workflows", "GET"),
    ("QUERY", "/runs", "GET"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), METHODS)
def test_a_wrong_method_is_told_the_right_ones(client: Client, method: str, path: str, allowed: str) -> None:
    reply = client.request(method, path.format(run="a" * 24))

    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    assert reply.problem["title"] == "Method not allowed"


@pytest.mark.parametrize("path", ["/", "/nope", "/runs/a/b", "/runs//log", "/workflows/order/runs/x", "/runs/a\0b"])
def test_an_unknown_path_is_not_found(client: Client, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        reply = client.request(method, path)
        assert reply.status in (404, 405), reply.text
        assert method != "DELETE" or reply.problem


def test_a_problem_says_where_it_came_up(client: Client) -> None:
    problem = client.get("/runs/no such run?").problem

    assert problem["instance"] == "/runs/no%20such%20run%3F"
    assert problem["type"] == "urn:onewrite:problem:not-found"

"""Priority and annotations through the HTTP API, by direct invocation, and from the bus."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kernel.ports import HEAD, Head, RunRef
from tests.handlers.aws import Client, Context, Json, bus_event
from tests.handlers.shop import GOOD, TENANT, Deployment

SAID = {"trigger": "nightly", "attempt": 3, "share": 0.5, "dry-run": True}


def head_of(deployment: Deployment, run: str) -> Head:
    head = deployment.play.store.get(RunRef(TENANT, run), HEAD)
    assert isinstance(head, Head)
    return head


def listed(client: Client, run: str, *query: tuple[str, str]) -> list[Json]:
    reply = client.get(f"/runs/{run}/annotations", *query)
    assert reply.status == 200, reply.text
    found: list[Json] = reply.json["annotations"]
    return found


# --- priority ---------------------------------------------------------------------------------------------------------


def test_a_run_of_high_priority_says_so_wherever_it_is_shown(client: Client, deployment: Deployment) -> None:
    run = client.start({"input": GOOD, "priority": "high"}).json["run"]
    assert [poke.priority for poke in deployment.play.queue.waiting] == ["high"]

    deployment.work()

    assert client.get(f"/runs/{run}").json["priority"] == "high"
    assert client.get(f"/runs/{run}", ("seq", "0")).json["priority"] == "high"
    assert {step["state"]["priority"] for step in client.get(f"/runs/{run}/steps").json["steps"]} == {"high"}
    assert client.post(f"/runs/{run}/rerun", {"stage": "ship"}).json["priority"] == "high"


@pytest.mark.parametrize("body", [{}, {"priority": "normal"}])
def test_a_normal_run_says_nothing_of_it(client: Client, deployment: Deployment, body: Json) -> None:
    run = client.start({"input": GOOD} | body).json["run"]

    assert "priority" not in client.get(f"/runs/{run}").json
    assert [poke.priority for poke in deployment.play.queue.waiting] == [""]


@pytest.mark.parametrize("bad", ["", "urgent", "HIGH", None, 1, True, [], {}, ["high"], "x" * 5000])
def test_what_is_no_priority_is_refused_by_name(client: Client, deployment: Deployment, bad: object) -> None:
    reply = client.start({"input": GOOD, "priority": bad})

    assert (reply.status, reply.places) == (422, ["priority"])
    assert "'normal' or 'high'" in reply.problem["problems"][0]["what"]
    assert deployment.writes == []


# --- annotations ------------------------------------------------------------------------------------------------------


def test_what_a_start_says_is_listed_with_who_said_it(client: Client, deployment: Deployment) -> None:
    run = client.start({"input": GOOD, "annotations": SAID}).json["run"]
    head = head_of(deployment, run)

    found = listed(client, run)

    assert found == [
        {"key": key, "value": value, "seq": 0, "at": head.created, "by": head.by} for key, value in SAID.items()
    ]
    assert [each["key"] for each in listed(client, run, ("prefix", "t"))] == ["trigger"]
    assert listed(client, run, ("prefix", "x")) == []
    assert listed(client, run, ("after", "0")) == []


def test_numbers_are_given_back_as_they_were_sent(client: Client) -> None:
    body = '{"input": {"id": "o-1"}, "annotations": {"a": 1.0, "b": 1, "c": -9223372036854775808, "d": 1e20}}'
    run = client.post("/workflows/order/runs", body).json["run"]

    text = client.get(f"/runs/{run}/annotations").text

    for part in ('"value":1.0,', '"value":1,', '"value":-9223372036854775808,', '"value":1e20,'):
        assert part in text


def test_what_one_commit_says_is_not_torn_apart(client: Client) -> None:
    run = client.start({"input": GOOD, "annotations": SAID}).json["run"]

    page = client.get(f"/runs/{run}/annotations", ("limit", "1")).json

    assert (len(page["annotations"]), page["after"]) == (len(SAID), None)


def test_a_replay_says_nothing_new(client: Client) -> None:
    first = client.start({"input": GOOD, "annotations": SAID}, Idempotency_Key="k")
    again = client.start({"input": GOOD, "annotations": {"who": "bob"}}, Idempotency_Key="k")

    assert (first.status, again.status, again.json["run"]) == (201, 200, first.json["run"])
    assert [each["key"] for each in listed(client, first.json["run"])] == list(SAID)


BAD: list[tuple[Any, str]] = [
    ({"a b": 1}, "annotations.a b"),
    ({"": 1}, "annotations."),
    ({"k": None}, "annotations.k"),
    ({"k": []}, "annotations.k"),
    ({"k": {"a": 1}}, "annotations.k"),
    ({"k": "x" * 257}, "annotations.k"),
    ({"k": 2**63}, "annotations.k"),
    ({"x" * 5000: 1}, "annotations." + "x" * 80),
    ({f"k{n}": n for n in range(17)}, "annotations"),
    ([], "annotations"),
    ("who", "annotations"),
    (7, "annotations"),
]


@pytest.mark.parametrize(("bad", "where"), BAD, ids=map(str, range(len(BAD))))
def test_what_cannot_be_kept_is_refused_by_name(client: Client, deployment: Deployment, bad: Any, where: str) -> None:
    reply = client.start({"input": GOOD, "annotations": bad})

    assert (reply.status, reply.places) == (422, [where])
    assert deployment.writes == []


@pytest.mark.parametrize(("name", "value"), [("limit", "0"), ("limit", "201"), ("after", "-2"), ("prefix", "x" * 65)])
def test_a_bad_parameter_is_refused(client: Client, name: str, value: str) -> None:
    run = client.start({"input": GOOD}).json["run"]

    reply = client.get(f"/runs/{run}/annotations", (name, value))

    assert (reply.status, reply.places) == (422, [name])


# --- without HTTP -----------------------------------------------------------------------------------------------------


def invoke(deployment: Deployment, event: Json) -> Json:
    answer: Json = json.loads(json.dumps(deployment.intake(event, Context(29))))
    return answer


def test_both_can_be_given_in_a_direct_invocation(deployment: Deployment) -> None:
    start = {"workflow": "order", "input": GOOD, "priority": "high", "annotations": SAID}
    run = invoke(deployment, {"start": start})["run"]

    assert invoke(deployment, {"show": run})["priority"] == "high"
    found = invoke(deployment, {"annotations": {"run": run, "prefix": "t", "after": -1, "limit": 5}})
    assert [(each["key"], each["by"]) for each in found["annotations"]] == [("trigger", "direct")]


@pytest.mark.parametrize("given", [{"priority": "urgent"}, {"annotations": {"k": float("nan")}}])
def test_what_does_not_fit_is_refused_in_a_direct_invocation(deployment: Deployment, given: Json) -> None:
    answer = deployment.intake({"start": {"workflow": "order", "input": GOOD} | given}, Context(29))

    assert answer["error"]["status"] == 422
    assert deployment.writes == []


def test_both_can_be_given_in_an_event(deployment: Deployment) -> None:
    detail = {"workflow": "order", "input": GOOD, "priority": "high", "annotations": SAID}
    run = invoke(deployment, bus_event(detail))["run"]

    head = head_of(deployment, run)
    assert (head.priority, b"nightly" in head.annotations) == ("high", True)
    refused = invoke(deployment, bus_event(detail | {"annotations": {"a b": 1}}, id="e-2"))["refused"]
    assert "annotations.a b" in refused

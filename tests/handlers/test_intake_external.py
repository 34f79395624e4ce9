"""External events over the HTTP API: accepted with an id, told what became of, refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.handlers.aws import Client, Shape, http_event
from tests.handlers.shop import GOOD, Deployment

DELIVERED = {"name": "Delivered", "payload": {"place": "door"}, "id": "scan-1"}


@pytest.fixture
def run(client: Client, deployment: Deployment) -> str:
    """A run that waits."""
    started: str = client.request("POST", "/workflows/parcel/runs", body={"input": GOOD}).json["run"]
    deployment.work()
    assert client.get(f"/runs/{started}").json["stages"][-1]["status"] == "waiting"
    return started


def send(client: Client, run: str, body: Any) -> Any:
    return client.request("POST", f"/runs/{run}/events", body=body)


def test_an_event_is_accepted_with_its_id_and_then_applied(
    client: Client, deployment: Deployment, shape: Shape, run: str
) -> None:
    reply = send(client, run, DELIVERED)

    assert reply.status == 202
    assert reply.json["id"] == "scan-1"
    assert (reply.json["status"], reply.json["name"], reply.json["run"]) == ("accepted", "Delivered", run)
    assert reply.headers["location"] == ("" if shape is http_event else "/prod") + f"/runs/{run}/events/scan-1"
    deployment.work()
    assert client.get(f"/runs/{run}/events/scan-1").json["status"] == "applied"
    assert client.get(f"/runs/{run}").json["output"] == {"text": "at the door"}


def test_the_same_id_gives_the_same_answer_and_with_other_content_a_conflict(
    client: Client, deployment: Deployment, run: str
) -> None:
    first = send(client, run, DELIVERED)
    again = send(client, run, DELIVERED)
    other = send(client, run, DELIVERED | {"payload": {"place": "roof"}})

    assert (first.status, again.status, other.status) == (202, 202, 409)
    assert first.json == again.json
    assert "take a new id" in other.json["detail"]


def test_an_event_without_an_id_is_given_one(client: Client, run: str) -> None:
    reply = send(client, run, {"name": "Delivered", "payload": {"place": "door"}})

    assert client.get(f"/runs/{run}/events/{reply.json['id']}").status == 200


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown event": (DELIVERED | {"name": "Stolen"}, "name"),
    "wrong payload": (DELIVERED | {"payload": {"place": 7}}, "payload.place"),
    "empty payload": (DELIVERED | {"payload": {}}, "payload.place"),
    "no payload": ({"name": "Delivered"}, "payload"),
    "no event": ({"payload": {"place": "door"}}, "name"),
    "an odd id": (DELIVERED | {"id": "a b"}, "id"),
    "a long id": (DELIVERED | {"id": "x" * 65}, "id"),
    "something else": (DELIVERED | {"role": "manager"}, "role"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_by_place_and_nothing_is_kept(client: Client, run: str, case: str) -> None:
    body, where = BAD[case]

    reply = send(client, run, body)

    assert reply.status == 422, reply.text
    assert where in [each["where"] for each in reply.json["problems"]]
    assert client.get(f"/runs/{run}/events/scan-1").status == 404


def test_an_event_for_a_run_that_is_over_is_a_conflict(client: Client, run: str) -> None:
    client.request("POST", f"/runs/{run}/cancel")

    reply = send(client, run, DELIVERED)

    assert reply.status == 409
    assert "takes no events any more" in reply.json["detail"]


def test_another_tenants_run_is_not_found(client: Client, run: str) -> None:
    assert send(client, "0" * 24, DELIVERED).status == 404
    assert client.get(f"/runs/{'0' * 24}/events/scan-1").status == 404


def test_the_workflow_says_which_events_it_waits_for(client: Client) -> None:
    workflows = {each["id"]: each for each in client.get("/workflows").json["workflows"]}

    assert list(workflows["parcel"]["versions"][0]["events"]) == ["Delivered"]
    assert workflows["parcel"]["versions"][0]["events"]["Delivered"]["required"] == ["place"]
    assert workflows["order"]["versions"][0]["events"] == {}

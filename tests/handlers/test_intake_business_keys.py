"""Business keys over the HTTP API and direct invocation: one run under way, others are told which; events by key."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.problems import MEDIA_TYPE
from tests.handlers.aws import Client, Context, Reply, Shape, bus_event, http_event
from tests.handlers.shop import GOOD, Deployment

KEY = "order-123"
EVENT = {"name": "Delivered", "payload": {"place": "door"}, "id": "scan-1"}


def begin(client: Client, *, workflow: str = "parcel", key: object = KEY, idempotency: str = "") -> Reply:
    headers = {"Idempotency-Key": idempotency} if idempotency else {}
    body = {"input": GOOD, "business_key": key}
    return client.request("POST", f"/workflows/{workflow}/runs", body=body, headers=headers)


def test_a_start_whose_key_is_held_is_told_by_which_run(client: Client) -> None:
    first = begin(client)
    second = begin(client)

    assert (first.status, second.status) == (201, 409)
    problem = second.json
    assert second.headers["content-type"] == MEDIA_TYPE
    assert problem["type"] == "urn:onewrite:problem:conflict"
    assert problem["run"] == first.json["run"]
    assert first.json["run"] in problem["detail"]
    assert KEY in problem["detail"]
    assert len(client.get("/runs").json["runs"]) == 1


def test_other_conflicts_name_no_run(client: Client) -> None:
    begin(client, idempotency="k")
    other = begin(client, key="order-124", idempotency="k")

    assert other.status == 409
    assert "run" not in other.json
    assert "business key" in other.json["detail"]


def test_a_start_that_is_repeated_is_answered_with_its_run(client: Client) -> None:
    first, again = begin(client, idempotency="k"), begin(client, idempotency="k")

    assert (first.status, again.status) == (201, 200)
    assert again.json["run"] == first.json["run"]


def test_a_run_shows_its_key_and_a_key_its_run(client: Client) -> None:
    run = begin(client).json["run"]

    assert client.get(f"/runs/{run}").json["business_key"] == KEY
    assert client.get(f"/runs/{run}", ("seq", "0")).json["business_key"] == KEY
    assert client.get(f"/workflows/parcel/keys/{KEY}").json == client.get(f"/runs/{run}").json
    assert "business_key" not in client.get(f"/runs/{client.start({'input': GOOD}).json['run']}").json


@pytest.mark.parametrize(
    "path",
    [
        "/workflows/parcel/keys/order-124",
        f"/workflows/order/keys/{KEY}",
        f"/workflows/nowhere/keys/{KEY}",
        f"/workflows/a%23b/keys/{KEY}",
        f"/workflows/{'w' * 3_000}/keys/{KEY}",
    ],
    ids=["another-key", "another-workflow", "no-workflow", "no-id", "huge"],
)
def test_a_key_that_nobody_holds_is_not_found(client: Client, path: str) -> None:
    begin(client)

    assert client.get(path).status == 404
    assert client.request("POST", f"{path}/events", body=EVENT).status == 404


def test_another_tenants_key_is_not_found_and_can_be_taken(
    client: Client, deployment: Deployment, shape: Shape
) -> None:
    ours = begin(client)
    stranger = Client(deployment.intake, shape, {"tenant": "umbrella"})

    path = f"/workflows/parcel/keys/{KEY}"
    assert stranger.get(path).status == 404
    assert stranger.request("POST", f"{path}/events", body=EVENT).status == 404
    assert begin(stranger).status == 201
    assert client.get(path).json["run"] == ours.json["run"] != stranger.get(path).json["run"]


def test_a_key_is_free_when_its_run_is_over(client: Client, deployment: Deployment) -> None:
    run = begin(client, workflow="order").json["run"]
    deployment.work()

    assert client.get(f"/workflows/order/keys/{KEY}").status == 404
    assert client.get(f"/runs/{run}").json["status"] == "completed"
    assert begin(client, workflow="order").status == 201


def test_an_event_reaches_the_run_that_holds_the_key(client: Client, deployment: Deployment, shape: Shape) -> None:
    run = begin(client).json["run"]
    deployment.work()

    reply = client.request("POST", f"/workflows/parcel/keys/{KEY}/events", body=EVENT)

    assert reply.status == 202
    assert (reply.json["run"], reply.json["id"], reply.json["status"]) == (run, "scan-1", "accepted")
    assert reply.headers["location"] == ("" if shape is http_event else "/prod") + f"/runs/{run}/events/scan-1"
    deployment.work()
    assert client.get(f"/runs/{run}").json["output"] == {"text": "at the door"}


def test_an_event_by_key_is_refused_as_one_by_run_is(client: Client) -> None:
    begin(client)
    path = f"/workflows/parcel/keys/{KEY}/events"

    assert client.request("POST", path, body=EVENT | {"name": "Nothing"}).status == 422
    assert client.request("POST", path, body=EVENT | {"payload": {}}).json["problems"][0]["where"] == "payload.place"


def test_an_event_that_is_sent_again_is_answered_by_the_run_that_took_it_also_when_that_is_over(
    client: Client, deployment: Deployment
) -> None:
    run = begin(client).json["run"]
    deployment.work()
    path = f"/workflows/parcel/keys/{KEY}/events"
    client.request("POST", path, body=EVENT)
    deployment.work()
    assert client.get(f"/workflows/parcel/keys/{KEY}").status == 404

    again = client.request("POST", path, body=EVENT)

    assert (again.status, again.json["run"], again.json["status"]) == (202, run, "applied")
    assert client.request("POST", path, body=EVENT | {"payload": {"place": "roof"}}).status == 409
    assert client.request("POST", path, body=EVENT | {"id": "scan-2"}).status == 404
    assert client.request("POST", path, body={"name": "Delivered", "payload": {"place": "door"}}).status == 404
    second = begin(client).json["run"]
    assert client.request("POST", path, body=EVENT).json["run"] == second


WRONG: dict[str, Any] = {
    "empty": "",
    "too long": "x" * 129,
    "a slash": "a/b",
    "a separator": "a#b",
    "a tilde": "a~b",
    "a space": "a b",
    "dots": "..",
    "not ASCII": "größe",
    "a line": "a\n",
    "a number": 7,
    "a list": ["a"],
    "a flag": True,
}


@pytest.mark.parametrize("key", WRONG.values(), ids=WRONG)
def test_what_is_no_business_key_is_refused_by_field(client: Client, deployment: Deployment, key: object) -> None:
    reply = begin(client, key=key)

    assert reply.status == 422
    assert [each["where"] for each in reply.json["problems"]] == ["business_key"]
    assert deployment.writes == []


def test_none_is_none(client: Client) -> None:
    assert [begin(client, key=None).status for _ in range(2)] == [201, 201]


def test_what_is_no_business_key_in_a_path_is_refused_by_name(client: Client) -> None:
    reply = client.get("/workflows/parcel/keys/-a")

    assert reply.status == 422
    assert [each["where"] for each in reply.json["problems"]] == ["key"]


def test_a_rerun_whose_key_is_held_is_told_by_which_run(client: Client, deployment: Deployment) -> None:
    first = begin(client, workflow="order").json["run"]
    deployment.work()
    second = begin(client, workflow="order").json["run"]

    reply = client.request("POST", f"/runs/{first}/rerun", body={"stage": "ship"})

    assert (reply.status, reply.json["run"]) == (409, second)
    deployment.work()
    assert client.request("POST", f"/runs/{first}/rerun", body={"stage": "ship"}).status == 202


def test_direct_invocations_and_events_of_the_bus_take_a_key() -> None:
    deployment = Deployment()
    asked = {"workflow": "parcel", "input": GOOD, "business_key": KEY}

    def invoke(event: object) -> Any:
        return deployment.intake(event, Context())

    run = invoke({"start": asked})["run"]
    assert invoke({"start": asked})["error"]["run"] == run
    assert run in invoke(bus_event(asked, id="e-1"))["refused"]
    assert invoke({"show_holder": {"workflow": "parcel", "business_key": KEY}})["run"] == run
    sent = invoke({"send_event_to_holder": {"workflow": "parcel", "business_key": KEY, **EVENT}})
    assert (sent["run"], sent["status"]) == (run, "accepted")
    assert invoke({"show_holder": {"workflow": "parcel", "business_key": "a#b"}})["error"]["status"] == 422

"""State machines over the HTTP API: what a run takes as it stands, and of whom; roles come from the authoriser only."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.ports import INBOX, RunRef
from tests.handlers.aws import Client, Context, Shape
from tests.handlers.shop import GOOD, TENANT, Deployment

APPROVE = {"name": "Approve", "payload": {"by": "alice"}, "id": "e-1"}


@pytest.fixture
def run(client: Client, deployment: Deployment) -> str:
    """A run whose machine is in its first state."""
    started: str = client.request("POST", "/workflows/leave/runs", body={"input": GOOD}).json["run"]
    deployment.work()
    return started


def caller(deployment: Deployment, shape: Shape, roles: object) -> Client:
    """Somebody with these roles, as the authoriser gives them."""
    return Client(deployment.intake, shape, {"sub": "alice", "cognito:groups": roles})


def send(client: Client, run: str, body: Any) -> Any:
    return client.request("POST", f"/runs/{run}/events", body=body)


def test_a_run_shows_the_state_that_it_is_in_and_what_it_can_take(client: Client, run: str) -> None:
    assert client.get(f"/runs/{run}").json["state"] == "asked"
    assert client.get(f"/runs/{run}/available-events").json == {
        "events": [
            {"event": "Approve", "roles": ["manager", "owner"], "to": ["seconded"]},
            {"event": "Withdraw", "to": ["withdrawn"]},
        ]
    }


def test_what_a_workflow_waits_for_is_what_a_run_of_it_can_take(client: Client, deployment: Deployment) -> None:
    started = client.request("POST", "/workflows/parcel/runs", body={"input": GOOD}).json["run"]
    assert client.get(f"/runs/{started}/available-events").json == {"events": []}
    deployment.work()
    assert client.get(f"/runs/{started}/available-events").json == {"events": [{"event": "Delivered"}]}
    assert client.get(f"/runs/{'a' * 24}/available-events").status == 404


@pytest.mark.parametrize(
    "roles", [["clerk", "manager"], "clerk,manager", "[clerk manager]", "manager"], ids=["list", "commas", "JWT", "one"]
)
def test_roles_are_those_that_the_authoriser_names(
    deployment: Deployment, shape: Shape, run: str, roles: object
) -> None:
    reply = send(caller(deployment, shape, roles), run, APPROVE)
    assert reply.status == 202
    deployment.work()
    client = Client(deployment.intake, shape)
    assert client.get(f"/runs/{run}").json["state"] == "seconded"
    received = [
        event
        for entry in client.get(f"/runs/{run}/log").json["entries"]
        for event in entry["events"]
        if event["type"] == "EventReceived"
    ]
    assert received[0]["by"] == "api:alice"
    assert "manager" in received[0]["roles"]


@pytest.mark.parametrize("roles", [None, [], "", "clerk", ["manager x"], [7], {"manager": 1}, 7, True], ids=repr)
def test_without_the_role_it_is_forbidden_and_nothing_is_stored(
    deployment: Deployment, shape: Shape, run: str, roles: object
) -> None:
    reply = send(caller(deployment, shape, roles), run, APPROVE)
    assert (reply.status, reply.problem["type"]) == (403, "urn:onewrite:problem:forbidden")
    assert reply.problem["detail"] == "state asked takes event Approve from these roles only: manager, owner"
    assert deployment.play.store.get(RunRef(TENANT, run), f"{INBOX}e-1") is None


def test_a_body_cannot_name_roles(deployment: Deployment, client: Client, run: str) -> None:
    assert send(client, run, APPROVE | {"roles": ["manager"]}).status == 422


def test_an_event_that_the_state_does_not_take_is_refused_with_those_that_it_does(
    deployment: Deployment, shape: Shape, run: str
) -> None:
    owner = caller(deployment, shape, "owner")
    assert send(owner, run, APPROVE).status == 202
    deployment.work()
    reply = send(owner, run, {"name": "Withdraw", "payload": {}})
    assert (reply.status, reply.problem["detail"]) == (409, "state seconded takes no event Withdraw; it takes: Approve")
    assert send(caller(deployment, shape, "manager"), run, APPROVE | {"id": "e-2"}).status == 403
    assert send(owner, run, APPROVE | {"id": "e-3"}).status == 202
    deployment.work()
    shown = owner.get(f"/runs/{run}").json
    assert (shown["status"], shown["state"]) == ("completed", "granted")
    assert owner.get(f"/runs/{run}/available-events").json == {"events": []}
    assert shown["output"]["id"] == "o-1"


def test_the_claim_has_the_name_that_the_deployment_gives_it(shape: Shape) -> None:
    deployment = Deployment(roles_claim="custom:roles")
    client = Client(deployment.intake, shape, {"custom:roles": "owner", "cognito:groups": "clerk"})
    run = client.request("POST", "/workflows/leave/runs", body={"input": GOOD}).json["run"]
    deployment.work()
    assert send(client, run, APPROVE).status == 202


def test_whoever_may_invoke_the_function_vouches_for_the_roles(deployment: Deployment, run: str) -> None:
    def invoke(command: object) -> Any:
        return deployment.intake(command, Context())

    fields = {"run": run, "name": "Approve", "payload": {"by": "alice"}}
    assert invoke({"send_event": fields})["error"]["status"] == 403
    assert invoke({"send_event": fields | {"roles": ["not a role"]}})["error"]["status"] == 422
    assert invoke({"send_event": fields | {"roles": ["manager"]}})["status"] == "accepted"
    assert [each["event"] for each in invoke({"available_events": run})["events"]] == ["Approve", "Withdraw"]


def test_a_machine_is_drawn_with_where_a_run_of_it_is(client: Client, run: str) -> None:
    drawn = client.get("/workflows/leave/diagram").json["mermaid"]
    assert "s1 --> s2 : Approve by manager or owner" in drawn
    assert client.get(f"/runs/{run}/diagram").json["mermaid"].endswith("class s1 here\n")


def test_what_can_be_started_shows_a_machines_stages_and_events(client: Client) -> None:
    listed = {each["id"]: each for each in client.get("/workflows").json["workflows"]}
    (version,) = listed["leave"]["versions"]
    assert version["stages"] == ["charge"]
    assert sorted(version["events"]) == ["Approve", "Withdraw"]


def test_roles_count_for_whoever_holds_a_business_key_too(deployment: Deployment, shape: Shape) -> None:
    client = Client(deployment.intake, shape)
    body = {"input": GOOD, "business_key": "leave-1"}
    run = client.request("POST", "/workflows/leave/runs", body=body).json["run"]
    deployment.work()
    path = "/workflows/leave/keys/leave-1/events"

    refused = client.request("POST", path, body=APPROVE)
    taken = caller(deployment, shape, "manager").request("POST", path, body=APPROVE)

    assert (refused.status, taken.status) == (403, 202)
    fields = {"workflow": "leave", "business_key": "leave-1", "name": "Approve", "payload": {"by": "o"}}
    deployment.work()
    sent = deployment.intake({"send_event_to_holder": fields | {"roles": ["owner"]}}, Context())
    assert sent["status"] == "accepted"
    deployment.work()
    assert client.get(f"/runs/{run}").json["state"] == "granted"

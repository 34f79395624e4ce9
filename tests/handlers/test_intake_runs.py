"""Runs through the HTTP API, from start to result, in both formats of API Gateway."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.handlers.aws import Client, Context, Shape, http_event
from tests.handlers.shop import GOOD, Deployment, shop_is_repaired, started


def test_a_start_creates_a_run_and_says_where_it_is(client: Client, shape: Shape) -> None:
    reply = client.start({"input": GOOD})

    assert reply.status == 201
    run = reply.json["run"]
    assert reply.json == {"run": run, "workflow": "order", "version": 1, "status": "running", "replay": False}
    assert reply.headers["location"] == ("" if shape is http_event else "/prod") + f"/runs/{run}"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"


def test_a_stage_in_the_path_is_part_of_the_location_and_of_no_route(client: Client) -> None:
    reply = client.request("POST", "/workflows/order/runs", body={"input": GOOD}, stage="beta")

    assert reply.status == 201
    assert reply.headers["location"] == f"/beta/runs/{reply.json['run']}"


def test_a_base_path_of_a_custom_domain_is_part_of_the_location_and_of_no_route(client: Client) -> None:
    event = client.shape(
        "POST", "/workflows/order/runs", (), {}, '{"input":{"id":"o-1"}}', encoded=False, authorizer=None, stage="prod"
    )
    mapped = "/shop/workflows/order/runs"
    event["pathParameters"] = {"proxy": "workflows/order/runs"}
    event["requestContext"]["path"] = mapped
    event["path" if "path" in event else "rawPath"] = mapped

    reply = client.send(event)

    assert reply.status == 201, reply.text
    assert reply.headers["location"] == f"/shop/runs/{reply.json['run']}"


def test_the_same_key_and_input_give_the_same_run(client: Client, deployment: Deployment) -> None:
    first = client.start({"input": GOOD}, Idempotency_Key="key, with a comma")
    again = client.start({"input": GOOD}, Idempotency_Key="key, with a comma")

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json | {"replay": True}
    assert again.headers["location"] == first.headers["location"]
    assert len(client.get("/runs").json["runs"]) == 1


def test_a_replay_tells_what_became_of_the_run(client: Client, deployment: Deployment) -> None:
    client.start({"input": GOOD}, Idempotency_Key="k")
    deployment.work()

    assert client.start({"input": GOOD}, Idempotency_Key="k").json["status"] == "completed"


def test_the_same_key_with_other_input_is_a_conflict(client: Client) -> None:
    client.start({"input": GOOD}, Idempotency_Key="k")

    reply = client.start({"input": GOOD | {"id": "o-2"}}, Idempotency_Key="k")

    assert reply.status == 409
    assert "'k'" in reply.problem["detail"]


def test_a_run_is_of_the_latest_version_unless_another_is_asked_for(client: Client) -> None:
    latest = client.start({"input": GOOD}, workflow="split").json
    chosen = client.start({"input": GOOD, "version": 1}, workflow="split").json

    assert (latest["version"], chosen["version"]) == (2, 1)


def test_presets_and_configuration_reach_the_stages(client: Client, deployment: Deployment) -> None:
    preset = client.start({"input": GOOD, "preset": "cautious"}).json["run"]
    given = client.start({"input": GOOD, "preset": "cautious", "config": {"charge": {"limit": 7}}}).json["run"]
    deployment.work()

    assert client.get(f"/runs/{preset}").json["output"]["text"] == "shipped: charged o-1 up to 5"
    assert client.get(f"/runs/{given}").json["output"]["text"] == "shipped: charged o-1 up to 7"


def test_a_run_shows_its_stages_and_its_output_once_it_is_completed(client: Client, deployment: Deployment) -> None:
    run = started(client)
    before = client.get(f"/runs/{run}").json
    deployment.work()
    after = client.get(f"/runs/{run}").json

    assert (before["status"], before["stages"]) == ("running", [])
    assert "output" not in before
    assert (before["run"], before["tenant"], before["workflow"]) == (run, "acme", "order")
    assert after["status"] == "completed"
    assert [stage["stage"] for stage in after["stages"]] == ["charge", "ship"]
    assert after["output"] == {"text": "shipped: charged o-1 up to 100"}


def test_several_outputs_are_a_list(client: Client, deployment: Deployment) -> None:
    run = client.start({"input": GOOD}, workflow="split").json["run"]
    deployment.work()

    outputs = client.get(f"/runs/{run}").json["output"]
    assert [each["text"] for each in outputs] == ["shipped: charged o-1 up to 100", "billed"]


def test_an_output_too_large_for_an_answer_is_left_out_and_said_so(
    client: Client, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.operations.OUTPUT_LIMIT", 10)
    run = started(client)
    deployment.work()

    shown = client.get(f"/runs/{run}").json
    assert "output" not in shown
    assert shown["output_omitted"] > 10


def test_a_cancel_is_accepted_with_a_reason_once(client: Client) -> None:
    run = started(client)

    reply = client.post(f"/runs/{run}/cancel", {"reason": "changed my mind"})
    again = client.post(f"/runs/{run}/cancel", {"reason": "changed my mind"})

    assert (reply.status, reply.json["status"], reply.json["reason"]) == (202, "cancelled", "changed my mind")
    assert again.status == 409
    assert again.problem["type"] == "urn:onewrite:problem:conflict"


def test_a_cancel_needs_no_body(client: Client) -> None:
    assert client.post(f"/runs/{started(client)}/cancel").json["status"] == "cancelled"
    assert client.post(f"/runs/{started(client)}/cancel", {}).json["status"] == "cancelled"


def test_a_run_is_paused_until_it_is_resumed_and_listed_so(client: Client, deployment: Deployment) -> None:
    run = started(client)

    paused = client.post(f"/runs/{run}/pause", {"reason": "the bank is down"})
    again = client.post(f"/runs/{run}/pause")
    deployment.work()
    listed = [each["run"] for each in client.get("/runs", ("status", "paused")).json["runs"]]
    shown = client.get(f"/runs/{run}").json
    resumed = client.post(f"/runs/{run}/resume", {"reason": "up again"})
    deployment.work()

    assert (paused.status, paused.json["status"], paused.json["paused"]["reason"]) == (
        202,
        "paused",
        "the bank is down",
    )
    assert (again.status, "paused already" in again.problem["detail"]) == (409, True)
    assert (listed, shown["status"], shown["stages"]) == ([run], "paused", [])
    assert (resumed.status, resumed.json["status"]) == (202, "running")
    assert "paused" not in resumed.json
    assert client.get(f"/runs/{run}").json["status"] == "completed"
    assert client.post(f"/runs/{run}/resume").status == 409


def test_a_run_is_paused_until_a_time_however_that_is_written(client: Client, deployment: Deployment) -> None:
    then = deployment.play.clock.now() + 3_600_000
    iso = datetime.fromtimestamp(then / 1000, UTC).isoformat()
    for until in (then, str(then), iso):
        reply = client.post(f"/runs/{started(client)}/pause", {"until": until})
        assert (reply.status, reply.json["paused"]["until"]) == (202, then)


def test_a_failed_run_is_retried(client: Client, deployment: Deployment) -> None:
    run = started(client, broken=True)
    deployment.work()
    failed = client.get(f"/runs/{run}").json
    shop_is_repaired[0] = True

    reply = client.post(f"/runs/{run}/retry", {"reason": "the card is fine now"})
    deployment.work()

    assert (failed["status"], failed["error"]["message"]) == ("failed", "the card was declined")
    assert (reply.status, reply.json["status"], reply.json["generation"]) == (202, "running", 1)
    assert client.get(f"/runs/{run}").json["status"] == "completed"


def test_a_run_that_has_not_failed_is_not_retried(client: Client) -> None:
    assert client.post(f"/runs/{started(client)}/retry").status == 409


def test_a_finished_run_is_rerun_from_a_stage(client: Client, deployment: Deployment) -> None:
    run = started(client)
    deployment.work()

    reply = client.post(f"/runs/{run}/rerun", {"stage": "ship", "reason": "lost in the post"})
    deployment.work()

    assert (reply.status, reply.json["status"]) == (202, "running")
    assert client.get(f"/runs/{run}").json["status"] == "completed"
    unknown = client.post(f"/runs/{run}/rerun", {"stage": "fly"})
    assert (unknown.status, "fly" in unknown.problem["detail"]) == (404, True)


def test_dead_letters_are_listed_and_replayed(client: Client, deployment: Deployment) -> None:
    sink = deployment.play.sink
    sink.refuse = lambda _event: "the bus is full"
    run = started(client)
    for _ in range(60):
        deployment.work()
        deployment.play.clock.move(180_000)
        deployment.tick({}, Context(60))
    letters = client.get(f"/runs/{run}/dead-letters").json["dead_letters"]
    refused = client.post(f"/runs/{run}/dead-letters/replay").json
    sink.refuse = lambda _event: None
    replayed = client.post(f"/runs/{run}/dead-letters/replay")

    assert [letter["event"]["event"]["type"] for letter in letters] == ["RunCreated", "RunCompleted"]
    assert {letter["error"] for letter in letters} == {"the bus is full"}
    assert refused == {"published": 0, "clean": False}
    assert (replayed.status, replayed.json) == (200, {"published": 2, "clean": True})
    assert client.get(f"/runs/{run}/dead-letters").json == {"dead_letters": [], "unreadable": []}

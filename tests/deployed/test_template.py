"""template.yaml, deployed as it is: driven by its API, its bus and its schedule, with a function killed on the way."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from hosts.engines.localstack.engine import ENGINE_VERSION
from kernel.ports import Published
from kernel.shell.start import start
from tests.artefact import ROOT
from tests.deployed.conftest import LONGEST, Deployed, example
from tests.deployed.stack import CODE, Stack, client
from tests.engines.processes import until
from tests.examples.test_runs import FAILING, INPUT_FILES
from tests.proof import tell
from tests.shell.invariants import check_over
from workflows.examples import registry
from workflows.examples.outside import carrier, people

pytestmark = pytest.mark.localstack

OVERNIGHT = 26
"""Of the thirty questions for which the provider works on its longest film, those that nobody here has to wait for."""


def test_what_is_deployed_is_the_template_of_the_repository(deployed: Deployed) -> None:
    """But for the line that says where the code is."""
    ours = (ROOT / "template.yaml").read_text().splitlines()
    theirs = deployed.stack.template.splitlines()

    assert [line for line, other in zip(ours, theirs, strict=True) if line != other] == [CODE.rstrip("\n")]


def test_every_shipped_input_ends_as_it_says(deployed: Deployed) -> None:
    by_itself = [each.id for each in registry if not each.definition.events and each.id != "subscription"]
    inputs = [(workflow, name) for workflow, name in INPUT_FILES if workflow in by_itself]
    started = {(workflow, name): deployed.start(workflow, example(workflow, name)) for workflow, name in inputs}
    for _ in range(OVERNIGHT):
        deployed.world.count("provider.asked", started["media", "opera-cycle"])

    for (workflow, name), run in started.items():
        expected = "failed" if name in FAILING else "completed"
        assert deployed.settled(run, LONGEST)["status"] == expected, (workflow, name)

    view = deployed.settled(started["order", "laptop"])
    assert view["output"]["invoice"] == "INV-S-10421"
    undone = deployed.settled(started["order", "antarctica"])
    assert undone["compensation"] == "complete"
    kinds = [effect.kind for effect in deployed.world.effects(run=undone["run"])]
    assert kinds[-2:] == ["invoice.cancelled", "payment.refunded"]


def test_a_carrier_tells_of_a_shipment_early_twice_and_late(deployed: Deployed) -> None:
    consignment = example("shipment", "bicycle")
    run = deployed.start("shipment", consignment)
    assert until(lambda: bool(deployed.world.effects("carrier.booked", run)), 60)
    (booked,) = deployed.world.effects("carrier.booked", run)
    scans = list(carrier.scans(str(booked.details["tracking"]), consignment["service"], consignment["country"]))

    for scan in reversed(scans):
        body = {"name": scan.name, "payload": scan.payload, "id": scan.id}
        assert [deployed.ask("POST", f"/runs/{run}/events", body)[0] for _ in range(2)] == [202, 202]

    assert deployed.settled(run)["status"] == "completed"
    assert len(deployed.world.effects("customer.told", run)) == 1
    assert {deployed.ask("GET", f"/runs/{run}/events/{scan.id}")[2]["status"] for scan in scans} == {"applied"}


def test_an_approval_goes_from_hand_to_hand(deployed: Deployed) -> None:
    """Without an authoriser nobody has a role; whoever may invoke the function vouches for one."""

    def send(roles: tuple[str, ...], **event: Any) -> Any:
        payload = json.dumps({"send_event": {"run": run, "roles": roles, **event}})
        answer = deployed.functions.invoke(FunctionName=deployed.stack["IntakeFunctionName"], Payload=payload)
        return json.load(answer["Payload"])

    invoice = example("approval", "server-room")
    run = deployed.start("approval", invoice)
    for click in people.clicks(invoice["department"]):
        assert until(lambda click=click: click.when in asked(deployed, run), 60)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        body = {"name": click.name, "payload": click.payload, "id": click.id}
        status, _, problem = deployed.ask("POST", f"/runs/{run}/events", body)
        assert (status, problem["type"]) == (403, "urn:onewrite:problem:forbidden")
        _, _, found = deployed.ask("GET", f"/runs/{run}/available-events")
        assert any(each["event"] == click.name and set(click.roles) & set(each["roles"]) for each in found["events"])
        assert send(click.roles, **body)["status"] == "accepted"

    view = deployed.settled(run)
    assert (view["status"], view["state"]) == ("completed", "paid")
    assert "classDef here" in deployed.ask("GET", f"/runs/{run}/diagram")[2]["mermaid"]


def asked(deployed: Deployed, run: str) -> set[str]:
    """The stages that have done what they had to, where the machine is."""
    view = deployed.ask("GET", f"/runs/{run}")[2]
    return {each["stage"] for each in view["stages"] if each["status"] == "completed"}


def test_a_start_that_is_sent_twice_is_one_run(deployed: Deployed) -> None:
    def send(name: str) -> tuple[int, dict[str, str], Any]:
        body = {"input": example("order", name)}
        return deployed.ask("POST", "/workflows/order/runs", body, {"Idempotency-Key": "S-1"})

    (first, headers, started), (second, _, again), (third, _, problem) = send("books"), send("books"), send("phone")

    assert (first, second, third) == (201, 200, 409)
    assert headers["Location"] == f"/live/runs/{started['run']}"
    assert (again["run"], again["replay"]) == (started["run"], True)
    assert problem["type"] == "urn:onewrite:problem:conflict"
    assert deployed.settled(started["run"])["status"] == "completed"
    assert len(deployed.world.effects("payment.charged", started["run"])) == 1


def test_a_run_of_high_priority_is_attended_by_way_of_its_own_queue(deployed: Deployed) -> None:
    body = {"input": example("order", "books"), "priority": "high", "annotations": {"trigger": "by hand"}}

    status, _, started = deployed.ask("POST", "/workflows/order/runs", body)

    assert status == 201
    view = deployed.settled(started["run"])
    assert (view["status"], view["priority"]) == ("completed", "high")
    said = deployed.ask("GET", f"/runs/{started['run']}/annotations")[2]["annotations"]
    assert [(each["key"], each["value"]) for each in said] == [("trigger", "by hand")]


def test_a_run_can_be_cancelled_while_it_waits(deployed: Deployed) -> None:
    run = deployed.start("media", example("media", "opera-cycle"))

    status, _, view = deployed.ask("POST", f"/runs/{run}/cancel", {"reason": "changed my mind"})

    assert (status, view["status"]) == (202, "cancelled")
    assert deployed.ask("POST", f"/runs/{run}/cancel")[0] == 409
    assert until(lambda: [each["type"] for each in deployed.published(run)] == ["RunCreated", "RunCancelled"])


def test_a_failed_run_can_be_retried(deployed: Deployed) -> None:
    run = deployed.start("order", example("order", "card-stolen"))
    assert deployed.settled(run)["status"] == "failed"

    status, _, view = deployed.ask("POST", f"/runs/{run}/retry", {"reason": "found again"})

    assert (status, view["status"], view["generation"]) == (202, "running", 1)
    assert deployed.settled(run)["status"] == "failed"  # still stolen


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/workflows/nothing/runs", {"input": {}}, 404, "not-found"),
        ("POST", "/workflows/order/runs", {"input": {"number": ""}}, 422, "invalid-input"),
        ("POST", "/workflows/order/runs", b"{", 400, "malformed-request"),
        ("POST", "/workflows/order/runs", {"input": {}, "tenant": "globex"}, 422, "invalid-input"),
        ("GET", "/runs/nothing", None, 404, "not-found"),
        ("GET", "/runs?limit=1000", None, 422, "invalid-input"),
        ("GET", "/nothing", None, 404, "not-found"),
        ("DELETE", "/runs", None, 405, "method-not-allowed"),
        ("POST", "/callbacks/nothing", {"output": {}}, 404, "not-found"),
    ],
)
def test_what_cannot_be_is_answered_with_a_problem(
    deployed: Deployed, method: str, path: str, body: object, status: int, kind: str
) -> None:
    found, headers, problem = deployed.ask(method, path, body)

    assert found == problem["status"] == status
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["type"] == f"urn:onewrite:problem:{kind}"


def test_the_api_describes_itself_and_its_workflows(deployed: Deployed) -> None:
    _, _, document = deployed.ask("GET", "/openapi.json")
    _, _, listed = deployed.ask("GET", "/workflows")

    assert document["servers"] == [{"url": "/live"}]
    assert [each["id"] for each in listed["workflows"]] == [each.id for each in registry]
    assert deployed.ask("GET", "/health")[2] == {"status": "ok"}


def test_another_tenants_run_in_the_same_table_does_not_exist_for_callers(deployed: Deployed) -> None:
    """Nothing that a caller says makes them another tenant: without an authoriser all are the default one."""
    theirs = start(
        deployed.env, registry.latest("order"), example("order", "books"), tenant="globex", by="test"
    ).ref.run
    claims = {"Authorization": "Bearer tenant:globex", "X-Tenant": "globex", "tenant": "globex"}

    for path in ("", "/log", "/steps", "/annotations", "/dead-letters"):
        assert deployed.ask("GET", f"/runs/{theirs}{path}", headers=claims)[0] == 404, path
    for verb in ("/cancel", "/retry"):
        assert deployed.ask("POST", f"/runs/{theirs}{verb}", {}, claims)[0] == 404, verb
    assert theirs not in deployed.runs()
    assert deployed.ask("GET", f"/runs/{deployed.killed}", headers=claims)[2]["tenant"] == "acme"


def test_an_event_on_the_incoming_bus_starts_a_run(deployed: Deployed) -> None:
    detail = {"workflow": "order", "input": example("order", "phone"), "key": "from-the-bus"}
    entry = {"Source": "com.example.shop", "DetailType": "onewrite.start", "Detail": json.dumps(detail)}
    before = set(deployed.runs())

    deployed.aws.events.put_events(Entries=[entry])  # type: ignore[list-item]  # the API's own names
    deployed.aws.events.put_events(Entries=[entry])  # type: ignore[list-item]  # the same

    assert until(lambda: len(deployed.runs()) > len(before))
    [run] = set(deployed.runs()) - before
    assert deployed.settled(run)["status"] == "completed"
    assert deployed.log(run)[0] == ("event:com.example.shop", "RunCreated")


def test_the_intake_can_be_invoked_directly(deployed: Deployed) -> None:
    def invoke(command: dict[str, Any]) -> Any:
        name = deployed.stack["IntakeFunctionName"]
        answer = deployed.functions.invoke(FunctionName=name, Payload=json.dumps(command))
        assert "FunctionError" not in answer
        return json.load(answer["Payload"])

    started = invoke({"start": {"workflow": "order", "input": example("order", "books")}})
    shown = invoke({"show": {"run": started["run"], "wait": 20}})
    refused = invoke({"show": "nothing"})

    assert shown["status"] == "completed"
    assert refused["error"]["status"] == 404


def test_a_value_that_is_too_big_for_the_table_is_kept_in_the_bucket(deployed: Deployed) -> None:
    order = example("order", "books")
    order["lines"][0]["name"] = "a very long title " * 25_000

    run = deployed.start("order", order)

    assert deployed.settled(run)["status"] == "completed"
    stored = deployed.aws.s3.list_objects_v2(Bucket=deployed.stack["BlobBucketName"])["Contents"]
    assert len(stored) == 1
    assert stored[0]["Size"] > 450_000


def test_what_happens_to_runs_is_on_the_outgoing_bus(deployed: Deployed) -> None:
    run = deployed.start("order", example("order", "card-declined-once"))
    deployed.settled(run)

    assert until(lambda: [each["type"] for each in deployed.published(run)] == ["RunCreated", "RunCompleted"])
    created = deployed.published(run)[0]
    assert (created["tenant"], created["workflow"], created["id"]) == ("acme", "order", f"{run}#0#0")


@pytest.mark.parametrize("which", ["killed", "forgotten"])
def test_a_run_whose_function_was_killed_in_the_middle_of_a_stage_is_recovered_by_the_tick(
    deployed: Deployed, which: str
) -> None:
    """On its schedule; also the one that nobody has a message about any more."""
    run: str = getattr(deployed, which)

    view = deployed.settled(run, LONGEST)

    assert view["status"] == "completed"
    assert ("tick", "LeaseExpired") in deployed.log(run)
    assert len(deployed.begun(run)) == len(set(deployed.begun(run))) == 2
    for kind in ("payment.charged", "warehouse.packed", "invoice.sent", "carrier.shipped"):
        assert len(deployed.world.effects(kind, run)) == 1, kind


def test_the_schedule_invokes_the_tick_every_minute(deployed: Deployed) -> None:
    configured = deployed.functions.get_function_configuration(FunctionName=deployed.stack["TickFunctionName"])
    rules = deployed.aws.events.list_rules()["Rules"]
    ticks = [line for line in deployed.lines("Tick") if line["message"] == "tick"]

    assert configured["Environment"]["Variables"]["TICK_SECONDS"] == "60"
    assert [rule["ScheduleExpression"] for rule in rules if "ScheduleExpression" in rule] == ["rate(1 minute)"]
    assert sum(line["reaped"] for line in ticks) >= 2
    assert sum(line["failed"] for line in ticks) == 0


def test_at_the_end_every_invariant_holds_for_every_run_and_nothing_was_logged_as_an_error(deployed: Deployed) -> None:
    runs = deployed.runs()

    for run in runs:
        submitted = [
            Published(each["id"], each["type"], each["tenant"], run, each["at"], b"")
            for each in deployed.published(run)
        ]
        check_over(deployed.env, deployed.ref(run), submitted)
    assert deployed.waiting("PokeDeadLetterQueueUrl") == 0
    assert deployed.waiting("PriorityPokeDeadLetterQueueUrl") == 0
    assert deployed.waiting("IntakeDeadLetterQueueUrl") == 0
    for function in ("Intake", "Job", "Tick"):
        assert [line for line in deployed.lines(function) if line["level"] in {"ERROR", "CRITICAL"}] == []
    tell("engines", engine=f"LocalStack {ENGINE_VERSION}: template.yaml deployed, {len(runs)} runs, 2 killed")


def test_another_stack_goes_on_with_the_table_and_the_bucket_of_one_that_is_gone_and_makes_alarms(
    deployed: Deployed, made: Callable[..., Stack]
) -> None:
    kept = {"ExistingTableName": deployed.stack["TableName"], "ExistingBucketName": deployed.stack["BlobBucketName"]}
    heir = made("heir", AlarmTopicArn="arn:aws:sns:us-east-1:000000000000:pager", **kept)

    assert (heir["TableName"], heir["BlobBucketName"]) == tuple(kept.values())
    assert [name for name in deployed.aws.dynamodb.list_tables()["TableNames"] if name.startswith("heir")] == []
    with urllib.request.urlopen(f"{heir.api}/runs/{deployed.killed}") as answer:  # noqa: S310 - http
        assert json.load(answer) == deployed.ask("GET", f"/runs/{deployed.killed}")[2]
    alarms = client("cloudwatch", deployed.engine.endpoint_url).describe_alarms()["MetricAlarms"]
    assert {tuple(each["AlarmActions"]) for each in alarms} == {("arn:aws:sns:us-east-1:000000000000:pager",)}
    assert len(alarms) == 13
    watched = {value["Value"] for each in alarms for value in each["Dimensions"]}
    assert {heir[f"{name}FunctionName"] for name in ("Intake", "Job", "Tick")} < watched

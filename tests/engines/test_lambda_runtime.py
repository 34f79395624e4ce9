"""The three handlers, from the built artefact, under the real Lambda runtime client."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hosts.engines import aws_environment
from hosts.engines.embedded_moto import EmbeddedMoto
from hosts.engines.lambda_runtime import ExecutionEnvironment, Function
from hosts.local.apigateway import Request
from hosts.local.client import FINISHED
from hosts.local.deployment import VARIABLES, deploy
from hosts.local.feeder import Feeder
from hosts.local.functions import InvocationFailed
from hosts.local.gateway import Gateway
from hosts.local.schedule import Schedule
from infra.clients import Clients
from tests import artefact
from tests.engines.conftest import LAYER
from tests.handlers.aws import bus_event, queue_record
from tests.proof import tell
from workflows.examples import INPUTS
from workflows.examples.outside import VARIABLE, World

pytestmark = pytest.mark.moto

HANDLERS = ("intake", "job", "tick")
SECONDS = 60.0
SHORT = 7.0
"""Of a job function that can be waited for until it runs out of time."""
SOON = {"LEASE_GRACE_SECONDS": "1", "LOOK_GRACE_SECONDS": "1", "MAX_SKEW_MS": "0"}
"""With these, what a dead worker leaves is found within seconds."""


@pytest.fixture(scope="module")
def task_root() -> Path:
    return artefact.built()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with EmbeddedMoto.start() as engine:
        yield engine.endpoint_url


class Invocable:
    """A function as the host's gateway, feeder and schedule call it."""

    def __init__(self, environment: ExecutionEnvironment) -> None:
        self.environment = environment
        self.failures: list[Any] = []

    def invoke(self, event: dict[str, Any]) -> Any:
        outcome = self.environment.invoke(event)
        if outcome.error:
            self.failures.append(outcome.json)
            raise InvocationFailed(outcome.body.decode())
        return outcome.json


class Host:
    """A deployment whose functions run under the runtime client; what calls them does so when it is told to."""

    def __init__(
        self, endpoint: str, task_root: Path, runtime: Path, folder: Path, seconds: float, **variables: str
    ) -> None:
        self.clients = Clients(endpoint=endpoint)
        # Short enough for a message of a process that died to come again while a test waits for it.
        deployment = deploy(self.clients, self.clients.dynamodb, visibility=2, name=f"runtime-{uuid.uuid4().hex[:8]}")
        self.queue_url = deployment.queue_url
        self.world = World(folder / "world")
        given = {
            **aws_environment(endpoint),
            "AWS_REGION": deployment.region,
            "AWS_DEFAULT_REGION": deployment.region,
            **VARIABLES,
            **deployment.variables(),
            VARIABLE: str(folder / "world"),
            **SOON,
            **variables,
        }
        self.environments = {
            name: ExecutionEnvironment(
                Function(
                    f"handlers.{name}.handler",
                    task_root,
                    sys.executable,
                    runtime,
                    seconds=seconds,
                    layers=(LAYER,),
                    name=name,
                    variables=given,
                ),
                folder / f"{name}.log",
            )
            for name in HANDLERS
        }
        self.intake, self.job, self.tick = (Invocable(self.environments[name]) for name in HANDLERS)
        self.gateway = Gateway(self.intake, rest=True)
        self.feeder = Feeder(self.clients.sqs, deployment.queue_url, deployment.queue_arn, self.job)
        self.schedule = Schedule(self.tick, deployment.rule_arn, 60)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        headers = [("Content-Type", "application/json")]
        content = b"" if body is None else json.dumps(body).encode()
        request = Request(method=method, path=f"/live{path}", headers=headers, body=content, id="request")
        response = self.gateway.answer(request)
        return response.status, json.loads(response.body)

    def start(self, workflow: str, value: object) -> str:
        status, started = self.ask("POST", f"/workflows/{workflow}/runs", {"input": value})
        assert status == 201, started
        run: str = started["run"]
        return run

    def view(self, run: str) -> Any:
        return self.ask("GET", f"/runs/{run}")[1]

    def settle(self, run: str, *, ticking: bool = False) -> Any:
        """Feed the queue, and let the schedule fire, until a run is over."""
        end = time.monotonic() + 30
        while (view := self.view(run))["status"] not in FINISHED:
            assert time.monotonic() < end, view
            received = self.feeder.poll()
            if ticking:
                self.schedule.fire()
            if not received:
                time.sleep(0.1)
        return view

    def stop(self) -> None:
        self.gateway.stop()
        for environment in self.environments.values():
            environment.stop()
        self.clients.close()


@pytest.fixture
def host(
    endpoint: str, task_root: Path, runtime: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Host]:
    host = Host(endpoint, task_root, runtime, tmp_path, **{"seconds": SECONDS, **getattr(request, "param", {})})
    yield host
    host.stop()


with_mischief = pytest.mark.parametrize(
    "host", [{"seconds": SHORT, "WORKFLOWS": "mischief:registry"}], indirect=True, ids=["mischief"]
)


def example(workflow: str, name: str) -> Any:
    return json.loads((INPUTS / workflow / f"{name}.json").read_text())


def events(host: Host, run: str) -> list[tuple[str, str]]:
    """The log: who committed which event."""
    _, page = host.ask("GET", f"/runs/{run}/log")
    return [(entry["by"], event["type"]) for entry in page["entries"] for event in entry["events"]]


def test_an_order_goes_through_all_three_and_each_keeps_its_process(host: Host) -> None:
    for environment in host.environments.values():
        environment.start()
    warm = {name: environment.pid for name, environment in host.environments.items()}

    orders = [host.start("order", example("order", name)) for name in ("laptop", "books")]
    views = [host.settle(run) for run in orders]
    ticks = [host.schedule.fire() for _ in range(2)]

    assert [view["status"] for view in views] == ["completed", "completed"]
    assert views[0]["output"]["invoice"] == "INV-S-10421"
    assert all(counts["failed"] == 0 for counts in ticks)
    assert {name: environment.pid for name, environment in host.environments.items()} == warm
    assert {environment.starts for environment in host.environments.values()} == {1}
    assert {effect.by for effect in host.world.effects()} == {warm["job"]}
    tell("engines", engine="awslambdaric: the three handlers from the artefact")


def test_what_functions_log_is_a_line_of_json_each(host: Host) -> None:
    host.settle(host.start("order", example("order", "books")))
    host.schedule.fire()
    host.ask("GET", "/runs/no-such-run")

    written = {name: environment.log.read_text().splitlines() for name, environment in host.environments.items()}
    messages = {name: [json.loads(line)["message"] for line in log if line[0] == "{"] for name, log in written.items()}
    assert messages == {"intake": [], "job": ["charged"], "tick": ["tick"]}
    assert all(line.startswith(("INIT_START", "START", "END", "{")) for log in written.values() for line in log)


def test_a_handler_that_raises_is_an_error_in_lambdas_shape_and_lives_on(host: Host) -> None:
    host.environments["job"].start()
    pid = host.environments["job"].pid

    outcome = host.environments["job"].invoke([])

    assert outcome.error
    assert {"errorType", "errorMessage", "requestId"} <= outcome.json.keys()
    assert any("/handlers/job.py" in line for line in outcome.json["stackTrace"])
    assert host.settle(host.start("order", example("order", "books")))["status"] == "completed"
    assert host.environments["job"].pid == pid


@pytest.mark.parametrize("host", [{"DEFAULT_TENANT": ""}], indirect=True, ids=["no tenant"])
def test_an_event_that_lambda_is_to_repeat_is_an_error_of_the_invocation(host: Host) -> None:
    outcome = host.environments["intake"].invoke(bus_event({"workflow": "order", "input": {}}))

    assert outcome.error
    assert outcome.json["errorType"] == "Failure"
    assert "There is no tenant" in outcome.json["errorMessage"]


def test_messages_that_are_not_ours_are_returned_one_by_one(host: Host) -> None:
    answer = host.job.invoke({"Records": [queue_record("not ours", "m-1")]})

    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}


@pytest.mark.parametrize("host", [{"INDEX_SHARDS": "none", "LOOK_GRACE_SECONDS": "soon"}], indirect=True, ids=["bad"])
@pytest.mark.parametrize("name", HANDLERS)
def test_a_function_with_wrong_settings_does_not_start_and_says_all_that_is_wrong(host: Host, name: str) -> None:
    outcome = host.environments[name].invoke({})

    assert outcome.error
    assert outcome.json["errorType"] == "SettingsError"
    assert "INDEX_SHARDS is 'none'" in outcome.json["errorMessage"]
    assert "LOOK_GRACE_SECONDS is 'soon'" in outcome.json["errorMessage"]


@with_mischief
def test_a_process_that_dies_in_a_stage_is_replaced_and_the_run_completes(host: Host) -> None:
    run = host.start("mischief", {"mischief": "exit"})

    view = host.settle(run)

    assert (view["status"], view["output"]) == ("completed", {"attempt": 2})
    assert [failure["errorType"] for failure in host.job.failures] == ["Runtime.ExitError"]
    assert host.environments["job"].starts == 2
    assert ("worker", "LeaseExpired") in events(host, run)
    assert [effect.kind for effect in host.world.effects(run=run)] == ["begun", "tried", "tried", "ended"]


@with_mischief
def test_a_stage_that_outlives_its_invocation_is_cut_off_and_its_run_recovered_by_the_tick(host: Host) -> None:
    run = host.start("mischief", {"mischief": "hang"})
    host.feeder.poll()
    [failure] = host.job.failures
    host.clients.sqs.purge_queue(QueueUrl=host.queue_url)  # its message is lost, too

    view = host.settle(run, ticking=True)

    assert failure["errorType"] == "Sandbox.Timedout"
    assert failure["errorMessage"].endswith("Task timed out after 7.00 seconds")
    assert (view["status"], view["output"]) == ("completed", {"attempt": 2})
    assert host.environments["job"].starts == 2
    assert ("tick", "LeaseExpired") in events(host, run)
    assert [effect.kind for effect in host.world.effects(run=run)] == ["begun", "tried", "tried", "ended"]

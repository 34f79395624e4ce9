"""Runs from request to result through the three real handlers, on moto, without the host's processes and threads."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from hosts.local.apigateway import Request
from hosts.local.client import FINISHED
from hosts.local.deployment import VARIABLES, Deployment, deploy
from hosts.local.feeder import Feeder
from hosts.local.gateway import Gateway
from hosts.local.schedule import Schedule
from hosts.local.worker import LocalContext, make_handler
from infra.clients import Clients
from workflows.examples import INPUTS
from workflows.examples.outside import VARIABLE, World

pytestmark = pytest.mark.moto

ENOUGH = 50
"""Looks at the queue after which a run must be over."""


class Direct:
    """A function whose handler is called right here."""

    def __init__(self, name: str, deployment: Deployment) -> None:
        examples = {"WORKFLOWS": "workflows.examples:registry"}
        self.handle = make_handler(name, VARIABLES | deployment.variables() | examples, None)

    def invoke(self, event: dict[str, Any]) -> Any:
        # Through JSON, as between Lambda and its callers.
        return json.loads(json.dumps(self.handle(json.loads(json.dumps(event)), LocalContext("f", "r", 60))))


class Host:
    """The local host without its processes and threads."""

    def __init__(self, moto: Clients, *, rest: bool) -> None:
        deployment = deploy(moto, moto.dynamodb, visibility=60, name=f"end-to-end-{uuid.uuid4().hex[:8]}")
        self.gateway = Gateway(Direct("intake", deployment), rest=rest)
        self.feeder = Feeder(moto.sqs, deployment.queue_url, deployment.queue_arn, Direct("job", deployment))
        self.schedule = Schedule(Direct("tick", deployment), deployment.rule_arn, 60)
        self.stage = "/live" if rest else ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        named = [("Content-Type", "application/json"), *((k.replace("_", "-"), v) for k, v in headers.items())]
        route, _, query = path.partition("?")
        response = self.gateway.answer(
            Request(
                method=method,
                path=self.stage + route,
                query=query,
                headers=named,
                body=b"" if body is None else json.dumps(body).encode(),
                id="request",
            )
        )
        return response.status, json.loads(response.body)

    def start(self, workflow: str, file: str, **headers: str) -> tuple[int, Any]:
        value = json.loads((INPUTS / workflow / f"{file}.json").read_text())
        return self.ask("POST", f"/workflows/{workflow}/runs", {"input": value}, **headers)

    def settle(self, run: str) -> Any:
        """Feed the queue until a run is over."""
        for _ in range(ENOUGH):
            self.feeder.poll()
            _, view = self.ask("GET", f"/runs/{run}")
            if view["status"] in FINISHED:
                return view
        message = f"run {run} is not over after {ENOUGH} looks at the queue"
        raise AssertionError(message)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "world"))
    return World(tmp_path / "world")


@pytest.fixture(params=[False, True], ids=["http-api", "rest-api"])
def host(request: pytest.FixtureRequest, moto: Clients, world: World) -> Any:
    host = Host(moto, rest=request.param)
    yield host
    host.gateway.stop()


def test_an_order_is_charged_packed_invoiced_and_shipped(host: Host, world: World) -> None:
    status, started = host.start("order", "laptop")
    assert status == 201

    view = host.settle(started["run"])

    assert view["status"] == "completed"
    assert view["output"]["invoice"] == "INV-S-10421"
    kinds = [effect.kind for effect in world.effects(run=started["run"])]
    assert sorted(kinds) == [
        "carrier.shipped",
        "invoice.sent",
        "payment.charged",
        "warehouse.begun",
        "warehouse.packed",
    ]


def test_an_order_that_cannot_be_delivered_is_undone(host: Host, world: World) -> None:
    _, started = host.start("order", "antarctica")

    view = host.settle(started["run"])

    assert (view["status"], view["compensation"]) == ("failed", "complete")
    kinds = [effect.kind for effect in world.effects(run=started["run"])]
    assert kinds[-2:] == ["invoice.cancelled", "payment.refunded"]


def test_a_start_that_is_sent_twice_gives_one_run(host: Host, world: World) -> None:
    first, started = host.start("order", "books", Idempotency_Key="k")
    second, again = host.start("order", "books", Idempotency_Key="k")
    host.settle(started["run"])

    assert (first, second) == (201, 200)
    assert again["run"] == started["run"]
    assert again["replay"] is True
    assert len(world.effects("payment.charged")) == 1


def test_thirteen_steps_take_one_message(host: Host) -> None:
    _, started = host.start("onboarding", "engineer")

    assert host.feeder.poll() == 1

    _, view = host.ask("GET", f"/runs/{started['run']}")
    assert view["status"] == "completed"
    assert host.feeder.poll() == 0


def test_the_tick_finds_nothing_due_and_says_so(host: Host) -> None:
    _, started = host.start("order", "phone")
    host.settle(started["run"])

    counts = host.schedule.fire()

    assert counts["looked"] == 0
    assert counts["failed"] == 0


def test_a_foreign_message_is_returned_to_the_queue_and_the_others_are_not(host: Host, moto: Clients) -> None:
    _, started = host.start("order", "phone")
    [(url, _)] = host.feeder._queues
    moto.sqs.send_message(QueueUrl=url, MessageBody="not ours")

    view = host.settle(started["run"])

    assert view["status"] == "completed"
    attributes = moto.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"

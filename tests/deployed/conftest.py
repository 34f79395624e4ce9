"""The deployed template as its callers and operators see it: one deployment for all tests, and two kills at once."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hosts.local.client import FINISHED
from infra import compose
from infra.clients import Clients
from infra.settings import Settings
from kernel.ports import RunRef
from kernel.shell.environment import Environment
from tests import artefact
from tests.conformance.queues import drain, queue_behind
from tests.deployed.stack import Stack, client, deploy, runtime
from tests.engines.processes import until
from workflows.examples import INPUTS, registry
from workflows.examples.outside import World

if TYPE_CHECKING:
    from hosts.engines.localstack.engine import LocalStack

TENANT = "acme"
LOOK_GRACE = "5"
"""Seconds, of the parameter that says so: with the default, two minutes would pass before the tick looks at a run."""
LONGEST = 150.0
"""Seconds until a run whose worker was killed must be over: its lease, a tick, and a machine that has a lot to do."""


def example(workflow: str, name: str) -> dict[str, Any]:
    """A shipped input."""
    value: dict[str, Any] = json.loads((INPUTS / workflow / f"{name}.json").read_text())
    return value


class Deployed:
    """The stack, with what belongs to it.

    Attributes:
        world: what its stages did outside.
        env: the kernel over its table, to look at runs with.
        aws: clients.
        killed: a run whose worker was killed in the middle of a stage.
        forgotten: another one, of which the queue has lost all messages as well.
    """

    killed: str
    forgotten: str

    def __init__(self, engine: LocalStack, stack: Stack, world: World) -> None:
        self.engine, self.stack, self.world = engine, stack, world
        self.aws = Clients(endpoint=engine.endpoint_url)
        self.functions = client("lambda", engine.endpoint_url)
        settings = Settings(
            workflows="workflows.examples:registry",
            table_name=stack["TableName"],
            queue_url=stack["PokeQueueUrl"],
            priority_queue_url=stack["PriorityPokeQueueUrl"],
            blob_bucket=stack["BlobBucketName"],
            event_bus_name=stack["EventBusName"],
        )
        self.env: Environment = compose.environment(settings, registry, self.aws)
        self._events: dict[str, dict[str, Any]] = {}
        self._bus = queue_behind(self.aws, stack["EventBusName"])

    # --- callers --------------------------------------------------------------------------------------------

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """What the API answers: status, headers and JSON. A body that is bytes is sent as it is."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        request = urllib.request.Request(f"{self.stack.api}{path}", data, sent, method=method)  # noqa: S310 - http
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - http
                return answer.status, dict(answer.headers), json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), json.load(error)

    def start(self, workflow: str, value: object) -> str:
        """Start a run; its id."""
        status, _, started = self.ask("POST", f"/workflows/{workflow}/runs", {"input": value})
        assert status == 201, started
        run: str = started["run"]
        return run

    def settled(self, run: str, seconds: float = 90.0) -> dict[str, Any]:
        """A run once it is over."""
        view: dict[str, Any] = {}

        def over() -> bool:
            view.update(self.ask("GET", f"/runs/{run}?wait=5")[2])
            return view.get("status") in FINISHED

        assert until(over, seconds), view
        return view

    def log(self, run: str) -> list[tuple[str, str]]:
        """Who committed which event."""
        _, _, page = self.ask("GET", f"/runs/{run}/log")
        return [(entry["by"], event["type"]) for entry in page["entries"] for event in entry["events"]]

    def runs(self) -> list[str]:
        """All runs of the tenant, page by page."""
        found: list[str] = []
        cursor = ""
        while True:
            _, _, page = self.ask("GET", f"/runs?limit=20{cursor}")
            found += [each["run"] for each in page["runs"]]
            if page["cursor"] is None:
                return found
            cursor = f"&cursor={page['cursor']}"

    # --- operators and consumers ----------------------------------------------------------------------------

    def published(self, run: str) -> list[dict[str, Any]]:
        """What arrived on the bus about a run, each event once, in the order of their numbers."""
        for body in drain(self.aws.sqs, self._bus):
            detail = json.loads(body)["detail"]
            self._events[detail["id"]] = detail
        mine = [each for each in self._events.values() if each["run"] == run]
        return sorted(mine, key=lambda each: (each["seq"], each["index"]))

    def lines(self, function: str) -> list[dict[str, Any]]:
        """What a function, by the name of its output, has logged as JSON."""
        return [
            json.loads(line)
            for line in self.engine.log_of(self.stack[f"{function}FunctionName"]).splitlines()
            if line.startswith("{")
        ]

    def waiting(self, output: str) -> int:
        """How many messages are in a queue, by the name of its output."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.aws.sqs.get_queue_attributes(QueueUrl=self.stack[output], AttributeNames=names)  # type: ignore[arg-type]  # names of the API
        return sum(int(count) for count in found["Attributes"].values())

    # --- misfortune -----------------------------------------------------------------------------------------

    def kill_while_packing(self, run: str, *, messages: bool = False) -> None:
        """Kill the process that packs an order, as a crash would; with ``messages``, the queue loses all it has."""
        assert until(lambda: self.begun(run)), self.log(run)
        pid = self.begun(run)[0]
        os.kill(pid, signal.SIGSTOP)  # what comes now may take longer than packing does
        if messages:
            self.aws.sqs.purge_queue(QueueUrl=self.stack["PokeQueueUrl"])
        os.kill(pid, signal.SIGKILL)

    def begun(self, run: str) -> list[int]:
        """The processes that have begun to pack an order, in order."""
        return [effect.by for effect in self.world.effects("warehouse.begun", run)]

    def ref(self, run: str) -> RunRef:
        return RunRef(TENANT, run)


@pytest.fixture(scope="module")
def made(localstack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Stack]:
    """Deploys a stack by a name, with parameters."""

    def made(name: str, **parameters: str) -> Stack:
        # Whatever of it `workflows/` still has.
        chosen = {"Workflows": "workflows.examples:registry", "LookGraceSeconds": LOOK_GRACE}
        given = {"ApiType": "rest", "DefaultTenant": TENANT, **chosen, **runtime(), **parameters}
        return deploy(localstack.endpoint_url, artefact.built(), name, given, tmp_path_factory.mktemp("package"))

    return made


@pytest.fixture(scope="module")
def deployed(localstack: LocalStack, outside: Path, made: Callable[..., Stack]) -> Iterator[Deployed]:
    stack = made("onewrite")
    deployed = Deployed(localstack, stack, World(outside))
    with deployed.aws:
        # First of all, since only time brings such runs back: the end of the lease, and the tick after that.
        deployed.forgotten = deployed.start("order", example("order", "grand-piano"))
        deployed.kill_while_packing(deployed.forgotten, messages=True)
        deployed.killed = deployed.start("order", example("order", "grand-piano"))
        deployed.kill_while_packing(deployed.killed)
        yield deployed

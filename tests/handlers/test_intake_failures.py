"""When what is behind the API fails: the right status, a clear text, and nothing of the inside."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from handlers import intake
from kernel.errors import CorruptLog, InfrastructureError, Missing, NewerFormat, Unavailable
from kernel.ports import Commit, RunRef, log_key
from onewrite import Registry
from tests.handlers.aws import Client, Context, Lines, Shape
from tests.handlers.shop import GOOD, TENANT, Deployment, registry

SECRET = "arn:aws:dynamodb:eu-west-1:123456789012:table/onewrite in /var/task/infra/dynamodb/store.py"


class Broken:
    """A store of which every call fails in one way."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> object:
        def fails(*_given: object, **_named: object) -> None:
            raise self.error

        return fails


def broken(error: Exception, shape: Shape) -> tuple[Client, Lines]:
    deployment = Deployment()
    env = replace(deployment.play.env, store=Broken(error))
    lines = Lines()
    return Client(intake.make_handler(env, registry, deployment.settings, lines.logger), shape), lines


FAILURES = {
    "not available": (Unavailable(SECRET), 503, "Idempotency-Key"),
    "missing": (Missing(SECRET), 503, "set up"),
    "not understood": (InfrastructureError(SECRET), 500, "request-1"),
    "a damaged log": (CorruptLog(SECRET), 500, "log of this run"),
    "a log of a newer version": (NewerFormat("run r, commit 1, is written in event format 2"), 500, "format 2"),
    "a mistake of ours": (ZeroDivisionError(SECRET), 500, "request-1"),
    "a recursion": (RecursionError(SECRET), 500, "request-1"),
    "no memory": (MemoryError(SECRET), 500, "request-1"),
}


@pytest.mark.parametrize(("error", "status", "said"), FAILURES.values(), ids=FAILURES)
def test_a_failure_is_told_without_the_inside(shape: Shape, error: Exception, status: int, said: str) -> None:
    client, lines = broken(error, shape)

    for reply in (client.get(f"/runs/{'a' * 24}"), client.start({"input": GOOD}), client.get("/runs")):
        assert reply.status == status, reply.text
        assert said in reply.problem["detail"]
        assert "arn:" not in reply.text
        assert "/var/task" not in reply.text
        assert "Traceback" not in reply.text
        assert ("retry-after" in reply.headers) == isinstance(error, Unavailable)
    # What the caller is not told, the operator is.
    assert len(lines.written) == 3
    assert all(str(error) in json.dumps(line) for line in lines.written)


def test_a_table_that_is_not_there_is_not_healthy(shape: Shape) -> None:
    client, _ = broken(Missing(SECRET), shape)

    reply = client.get("/health")

    assert (reply.status, "arn:" in reply.text) == (503, False)


@pytest.mark.filterwarnings("ignore:POWERTOOLS_DEV")  # that it is on is what is tested
def test_debugging_powertools_shows_callers_nothing(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_DEV", "1")
    client, _ = broken(ZeroDivisionError(SECRET), shape)

    reply = client.get("/runs")

    assert (reply.status, "Traceback" in reply.text) == (500, False)


def test_a_run_of_a_newer_version_says_so(client: Client, deployment: Deployment) -> None:
    run = client.start({"input": GOOD}).json["run"]
    deployment.work()
    ref = RunRef(TENANT, run)
    commit = deployment.play.store.get(ref, log_key(1))
    assert isinstance(commit, Commit)
    deployment.play.store.put(ref, replace(commit, v=9))

    reply = client.get(f"/runs/{run}")

    assert (reply.status, "event format 9" in reply.problem["detail"]) == (500, True)


def test_a_log_with_a_gap_says_so(client: Client, deployment: Deployment) -> None:
    run = client.start({"input": GOOD}).json["run"]
    deployment.work()
    deployment.play.store.delete(RunRef(TENANT, run), log_key(1))

    reply = client.get(f"/runs/{run}")

    assert (reply.status, "damaged" in reply.problem["detail"]) == (500, True)


def test_a_run_of_a_workflow_that_is_not_deployed_is_shown_without_its_output(
    client: Client, deployment: Deployment
) -> None:
    run = client.start({"input": GOOD}).json["run"]
    deployment.work()
    env = replace(deployment.play.env, definitions=Registry())
    later = Client(intake.make_handler(env, Registry(), deployment.settings), client.shape)

    shown = later.get(f"/runs/{run}").json
    assert (shown["status"], "output" in shown) == ("completed", False)
    assert later.get("/runs", ("workflow", "order")).json["runs"][0]["run"] == run
    assert later.post(f"/runs/{run}/rerun", {"stage": "ship"}).status == 409
    assert later.start({"input": GOOD}).status == 404


@pytest.mark.parametrize("missing", ["requestContext", "rawPath", "path", "headers", "body", "queryStringParameters"])
def test_an_event_that_lacks_a_field_gets_an_answer(client: Client, missing: str) -> None:
    event = client.shape("GET", "/health", (), {}, None, encoded=False, authorizer=None, stage="$default")
    event.pop(missing, None)

    answer = client.handler(event, Context())

    assert "statusCode" in answer or "error" in answer

"""Callbacks over HTTP and by direct invocation: the token is the authority, and nothing tells it to anybody else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from handlers import intake
from kernel.testing.play import Play
from onewrite import AwaitCallback, Context, Registry, Retry, Workflow, stage
from tests.handlers import shop
from tests.handlers.aws import Client, Json, Lines, Shape, http_event, rest_event
from tests.handlers.aws import Context as LambdaContext


class Label(BaseModel):
    number: str
    notes: list[str] = []


tokens: list[str] = []


@stage(callback=timedelta(hours=2), callback_heartbeat=timedelta(minutes=10), retry=Retry(2, jitter=0))
def ask_carrier(ctx: Context, order: shop.Order) -> Label | AwaitCallback:
    tokens.append(ctx.callback_token)
    return AwaitCallback()


registry = Registry(Workflow("parcel", input=shop.Order).then(ask_carrier))


class Deployment:
    """An intake without a default tenant, and a run of somebody's that waits."""

    def __init__(self, **changes: Any) -> None:
        tokens.clear()
        self.play = Play(registry=registry)
        self.lines = Lines()
        settings = shop.settings(**{"default_tenant": None, **changes})
        self.intake = intake.make_handler(self.play.env, registry, settings, self.lines.logger)
        self.ref = self.play.start(registry.latest("parcel"), shop.GOOD)
        self.play.step()
        self.token = tokens[0]


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


@pytest.fixture
def client(deployment: Deployment, shape: Shape) -> Client:
    return Client(deployment.intake, shape)


def test_whoever_has_the_token_answers_without_a_tenant(deployment: Deployment, client: Client) -> None:
    path, body = f"/callbacks/{deployment.token}", {"output": {"number": "L-1"}}

    reply, again = client.post(path, body), client.post(path, body)

    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    assert reply.json == again.json == {"run": deployment.ref.run, "stage": "ask_carrier", "status": "completed"}
    ended = deployment.play.ended(deployment.ref)
    assert (ended.status, ended.output) == ("completed", Label(number="L-1"))


def test_an_error_fails_the_attempt(deployment: Deployment, client: Client) -> None:
    body = {"error": {"kind": "OutOfPaper", "message": "no more labels", "retryable": False}}

    reply = client.post(f"/callbacks/{deployment.token}", body)

    assert (reply.status, reply.json["status"]) == (200, "failed")
    error = deployment.play.ended(deployment.ref).view.error
    assert error is not None
    assert (error.category, error.kind, error.message) == ("callback", "OutOfPaper", "no more labels")


def test_a_heartbeat_says_by_when_the_next_one_must_come(deployment: Deployment, client: Client) -> None:
    deployment.play.clock.move(60_000)

    reply = client.post(f"/callbacks/{deployment.token}", {"heartbeat": True, "progress": 0.5})

    assert (reply.status, reply.json["status"]) == (200, "waiting")
    assert reply.json["until"] == deployment.play.clock.now() + 600_000
    assert deployment.play.look(deployment.ref).stages[0].progress == 0.5


def test_what_cannot_be_is_a_problem_of_its_own_status(deployment: Deployment, client: Client) -> None:
    path, good = f"/callbacks/{deployment.token}", {"output": {"number": "L-1"}}

    assert client.post("/callbacks/nothing", good).problem["type"] == "urn:onewrite:problem:not-found"
    wrong = client.post(path, {"output": {"number": 1, "notes": [2]}})
    assert (wrong.status, wrong.places) == (422, ["output.number", "output.notes.0"])
    assert client.post(path, good).status == 200
    assert client.post(path, {"output": {"number": "L-2"}}).problem["status"] == 409
    assert client.get(path).problem["status"] == 405


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"output": {"number": "1"}, "error": {}},
        {"heartbeat": False},
        {"heartbeat": True, "output": None},
        {"progress": 0.5},
        {"output": {"number": "1"}, "progress": 0.5},
        {"heartbeat": True, "progress": "half"},
        {"error": None},
        {"error": {"kind": ""}},
        {"error": {"kind": "two words"}},
        {"error": {"message": "x" * 1_001}},
        {"error": {"retryable": 1}},
        {"output": 1, "tenant": "acme"},
    ],
    ids=json.dumps,
)
def test_a_body_that_says_nothing_or_too_much_is_refused(deployment: Deployment, client: Client, body: Json) -> None:
    reply = client.post(f"/callbacks/{deployment.token}", body)

    assert reply.problem["status"] == 422
    assert reply.places
    assert deployment.play.look(deployment.ref).seq == 2


def test_a_body_that_is_too_large_is_refused(deployment: Deployment, client: Client) -> None:
    limit = deployment.play.env.limits.payload

    reply = client.post(f"/callbacks/{deployment.token}", {"output": "x" * (limit + 200_000)})

    assert reply.problem["status"] == 413


def test_after_its_limit_the_callback_is_gone(deployment: Deployment, client: Client) -> None:
    deployment.play.clock.move(2 * 3_600_000)

    reply = client.post(f"/callbacks/{deployment.token}", {"output": {"number": "L-1"}})

    assert reply.status == 410
    assert reply.problem["type"] == "urn:onewrite:problem:gone"


def test_where_the_runs_code_is_not_deployed_the_request_may_be_repeated(shape: Shape) -> None:
    deployment = Deployment()
    env = replace(deployment.play.env, definitions=shop.registry)
    elsewhere = intake.make_handler(env, shop.registry, shop.settings(), deployment.lines.logger)

    reply = Client(elsewhere, shape).post(f"/callbacks/{deployment.token}", {"output": {"number": "L-1"}})

    assert (reply.problem["status"], reply.headers["retry-after"]) == (503, "5")
    assert "parcel version 1" in reply.problem["detail"]


def test_neither_answers_nor_logs_tell_the_token(deployment: Deployment, client: Client) -> None:
    path = f"/callbacks/{deployment.token}"
    replies = [
        client.post(path, {"output": 3}),
        client.get(path),
        client.post(path, "{"),
        client.post(path, {"output": {"number": "L-1"}}),
        client.post(path, {"output": {"number": "L-2"}}),
    ]
    deployment.play.faults.choose = lambda _call: (_ for _ in ()).throw(RuntimeError("no"))
    replies.append(client.post(path, {"output": {"number": "L-1"}}))

    assert [reply.status for reply in replies] == [422, 405, 400, 200, 409, 500]
    assert replies[0].problem["instance"] == "/callbacks/..."
    secret = deployment.token[40:]
    assert not any(secret in reply.text for reply in replies)
    assert deployment.lines.written
    assert secret not in json.dumps(deployment.lines.written)


def test_the_run_and_its_log_show_no_token(deployment: Deployment, shape: Shape) -> None:
    owner = Client(deployment.intake, shape, {"tenant": "test"})

    for path in ("", "/log", "/steps"):
        reply = owner.get(f"/runs/{deployment.ref.run}{path}")
        assert reply.status == 200
        assert deployment.token not in reply.text


@pytest.mark.parametrize("shape", [http_event, rest_event], ids=["format-2.0", "format-1.0"])
def test_behind_the_mapping_of_a_custom_domain_the_token_is_found(deployment: Deployment, shape: Shape) -> None:
    """The route of callbacks is one of its own, so API Gateway names the token."""
    client = Client(deployment.intake, shape)
    path = f"/v1/callbacks/{deployment.token}"
    event = shape(
        "POST",
        path,
        (),
        {"Content-Type": "application/json"},
        '{"output": {"number": "L-1"}}',
        encoded=False,
        authorizer=None,
        stage="$default",
    )
    event["pathParameters"] = {"token": deployment.token}

    assert client.send(event).status == 200


def test_direct_invocation_answers_too() -> None:
    deployment = Deployment(default_tenant="acme")

    def invoke(**said: object) -> Json:
        given = {"callback": {"token": deployment.token, **said}}
        answer: Json = json.loads(json.dumps(deployment.intake(given, LambdaContext())))
        return answer

    assert invoke(heartbeat=True)["status"] == "waiting"
    assert invoke(output={"number": 1})["error"]["status"] == 422
    assert invoke()["error"]["status"] == 422
    assert invoke(output={"number": "L-1"})["status"] == "completed"
    assert invoke(error={"message": "no"})["error"]["status"] == 409

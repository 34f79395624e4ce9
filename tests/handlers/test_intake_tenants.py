"""Who calls, and what is whose: the tenant comes from the authoriser's claims and from nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.handlers.aws import Client, Context, Json, Shape, http_event, rest_event
from tests.handlers.shop import GOOD, Deployment

AUTHORISERS = {
    "JSON web token, 2.0": (http_event, lambda claims: {"jwt": {"claims": claims, "scopes": ["read"]}}),
    "lambda, 2.0": (http_event, lambda claims: {"lambda": claims}),
    "user pool, 1.0": (rest_event, lambda claims: {"claims": claims}),
    "lambda, 1.0": (rest_event, lambda claims: {"principalId": "user", "integrationLatency": 28, **claims}),
}


@pytest.mark.parametrize(("shape", "authorizer"), AUTHORISERS.values(), ids=AUTHORISERS)
def test_the_tenant_is_the_authorisers(deployment: Deployment, shape: Shape, authorizer: Any) -> None:
    client = Client(deployment.intake, shape)
    client.authorizer = authorizer({"tenant": "umbrella", "sub": "alice"})

    run = client.start({"input": GOOD}).json["run"]

    assert client.get(f"/runs/{run}").json["tenant"] == "umbrella"
    assert client.get(f"/runs/{run}/log").json["entries"][0]["by"] == "api:alice"


def test_the_claim_has_the_name_that_the_deployment_gives_it(shape: Shape) -> None:
    deployment = Deployment(tenant_claim="custom:org", default_tenant=None)
    client = Client(deployment.intake, shape, {"custom:org": "umbrella", "tenant": "other"})

    run = client.start({"input": GOOD}).json["run"]

    assert client.get(f"/runs/{run}").json["tenant"] == "umbrella"


def test_callers_without_the_claim_are_of_the_default_tenant(deployment: Deployment, shape: Shape) -> None:
    for claims in (None, {}, {"sub": "alice"}):
        client = Client(deployment.intake, shape, claims)
        run = client.start({"input": GOOD}).json["run"]
        assert client.get(f"/runs/{run}").json["tenant"] == "acme"


def test_without_a_default_tenant_nothing_is_told_nor_stored(shape: Shape) -> None:
    deployment = Deployment(default_tenant=None)
    client = Client(deployment.intake, shape, {"sub": "alice"})
    run = "a" * 24

    replies = [
        client.start({"input": GOOD}),
        client.get("/runs"),
        client.get(f"/runs/{run}"),
        client.get(f"/runs/{run}/log"),
        client.get(f"/runs/{run}/steps"),
        client.get(f"/runs/{run}/annotations"),
        client.get(f"/runs/{run}/dead-letters"),
        client.post(f"/runs/{run}/cancel"),
        client.post(f"/runs/{run}/pause"),
        client.post(f"/runs/{run}/resume"),
        client.post(f"/runs/{run}/retry"),
        client.post(f"/runs/{run}/rerun", {"stage": "ship"}),
        client.post(f"/runs/{run}/dead-letters/replay"),
        client.get("/workflows"),
    ]

    assert {(reply.status, reply.problem["title"]) for reply in replies} == {(401, "No tenant")}
    assert {reply.headers["www-authenticate"] for reply in replies} == {"Bearer"}
    assert deployment.play.faults.calls == []
    assert client.get("/health").status == 200
    assert client.get("/openapi.json").status == 200


@pytest.mark.parametrize("claimed", ["", "a#b", "a b", "~a", "x" * 129, "a\u0000", "ünï", True, [], {}, 1.5])
def test_a_broken_claim_is_no_tenant_and_never_the_default_one(
    deployment: Deployment, shape: Shape, claimed: object
) -> None:
    client = Client(deployment.intake, shape, {"tenant": claimed})

    assert client.start({"input": GOOD}).status == 401
    assert client.get("/runs").status == 401
    assert deployment.play.faults.calls == []


def test_a_number_is_a_tenant(deployment: Deployment, shape: Shape) -> None:
    client = Client(deployment.intake, shape, {"tenant": 42})

    run = client.start({"input": GOOD}).json["run"]

    assert client.get(f"/runs/{run}").json["tenant"] == "42"


def test_no_body_header_query_or_path_names_the_tenant(deployment: Deployment, shape: Shape) -> None:
    client = Client(deployment.intake, shape, {"tenant": "umbrella"})
    named = {"tenant": "other", "X-Tenant": "other", "TENANT": "other"}

    reply = client.request(
        "POST", "/workflows/order/runs", query=[("tenant", "other")], headers=named, body={"input": GOOD}
    )

    assert client.get(f"/runs/{reply.json['run']}").json["tenant"] == "umbrella"
    assert client.start({"input": GOOD, "tenant": "other"}).status == 422


@pytest.mark.parametrize("default", [None, "acme"])
def test_whoever_invokes_directly_says_for_whom(shape: Shape, default: str | None) -> None:
    deployment = Deployment(default_tenant=default)
    run = Client(deployment.intake, shape, {"tenant": "umbrella"}).start({"input": GOOD}).json["run"]

    shown = deployment.intake({"show": run, "tenant": "umbrella"}, Context())
    listed = deployment.intake({"tenant": "umbrella", "list": {}}, Context())

    assert (shown["tenant"], [each["run"] for each in listed["runs"]]) == ("umbrella", [run])
    for event in ({"show": run}, {"show": run, "tenant": "acme"}):
        assert deployment.intake(event, Context())["error"]["status"] in (401, 404)


@pytest.mark.parametrize("said", ["", "a#b", "~a", True, [], None])
def test_an_invoker_who_names_no_tenants_id_is_refused_and_not_given_the_default_one(
    deployment: Deployment, said: object
) -> None:
    answer = deployment.intake({"list": {}, "tenant": said}, Context())

    assert (answer["error"]["status"], answer["error"]["title"]) == (401, "No tenant")
    assert "field of the event" in answer["error"]["detail"]
    assert deployment.play.faults.calls == []


def test_another_tenants_run_is_not_found_and_left_alone(deployment: Deployment, shape: Shape) -> None:
    owner = Client(deployment.intake, shape, {"tenant": "umbrella"})
    other = Client(deployment.intake, shape, {"tenant": "acme"})
    run = owner.start({"input": GOOD}).json["run"]
    before = (owner.get(f"/runs/{run}").json, deployment.writes)

    replies = [
        other.get(f"/runs/{run}"),
        other.get(f"/runs/{run}", ("seq", "0")),
        other.get(f"/runs/{run}", ("wait", "1")),
        other.get(f"/runs/{run}/log"),
        other.get(f"/runs/{run}/steps"),
        other.get(f"/runs/{run}/annotations"),
        other.get(f"/runs/{run}/dead-letters"),
        other.post(f"/runs/{run}/cancel"),
        other.post(f"/runs/{run}/pause"),
        other.post(f"/runs/{run}/resume"),
        other.post(f"/runs/{run}/retry"),
        other.post(f"/runs/{run}/rerun", {"stage": "ship"}),
        other.post(f"/runs/{run}/dead-letters/replay"),
    ]

    unknown: Json = other.get(f"/runs/{'a' * 24}").problem
    assert {reply.status for reply in replies} == {404}
    # Word for word what is said of a run that never was, so that nobody learns which runs there are.
    assert {reply.problem["detail"].replace(run, "a" * 24) for reply in replies} == {unknown["detail"]}
    assert (owner.get(f"/runs/{run}").json, deployment.writes) == before


def test_lists_hold_the_callers_runs_only(deployment: Deployment, shape: Shape) -> None:
    clients = {tenant: Client(deployment.intake, shape, {"tenant": tenant}) for tenant in ("acme", "acme2", "a")}
    runs = {tenant: client.start({"input": GOOD}).json["run"] for tenant, client in clients.items()}

    listed = {tenant: client.get("/runs").json["runs"] for tenant, client in clients.items()}

    assert {tenant: [each["run"] for each in found] for tenant, found in listed.items()} == {
        tenant: [run] for tenant, run in runs.items()
    }


def test_a_cursor_of_another_tenant_opens_nothing(deployment: Deployment, shape: Shape) -> None:
    owner = Client(deployment.intake, shape, {"tenant": "umbrella"})
    other = Client(deployment.intake, shape, {"tenant": "acme"})
    for _ in range(3):
        owner.start({"input": GOOD})
    cursor = owner.get("/runs", ("limit", "1")).json["cursor"]

    assert other.get("/runs", ("cursor", cursor)).json == {"runs": [], "cursor": None}


def test_the_same_key_is_another_run_for_another_tenant(deployment: Deployment, shape: Shape) -> None:
    first = Client(deployment.intake, shape, {"tenant": "umbrella"}).start({"input": GOOD}, Idempotency_Key="k")
    second = Client(deployment.intake, shape, {"tenant": "acme"}).start({"input": GOOD}, Idempotency_Key="k")

    assert (first.status, second.status) == (201, 201)
    assert first.json["run"] != second.json["run"]


@pytest.mark.parametrize(
    ("subject", "by"),
    [
        ("alice", "api:alice"),
        ("auth0|5f7c", "api:auth0|5f7c"),
        ("x" * 200, "api:" + "x" * 60),
        ("a b\n#é", "api:a_b___"),
    ],
)
def test_the_log_says_who_it_was_in_safe_characters(
    deployment: Deployment, shape: Shape, subject: str, by: str
) -> None:
    client = Client(deployment.intake, shape, {"tenant": "acme", "sub": subject})

    run = client.start({"input": GOOD}).json["run"]
    client.post(f"/runs/{run}/cancel")

    assert [entry["by"] for entry in client.get(f"/runs/{run}/log").json["entries"]] == [by, by]

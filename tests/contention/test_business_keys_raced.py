"""A hundred starts at once with one business key, through the API: one run, and 99 answers that name it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from handlers import intake
from hosts.engines.dynamodb_local import ENGINE_VERSION
from infra.dynamodb.store import DynamoDbStore
from infra.settings import Settings
from kernel.shell.read import list_runs
from kernel.testing.conformance.examples import fresh_token
from onewrite import Context, Registry, Workflow, stage
from tests.contention.attending import environment
from tests.handlers.aws import Client, Reply, http_event
from tests.proof import share, tell

pytestmark = pytest.mark.dynamodb_local

STARTS = 100


class Order(BaseModel):
    number: int


@stage
def ship(ctx: Context, order: Order) -> None:
    """Nobody works here."""


registry = Registry(Workflow("order", input=Order).then(ship))


def test_a_hundred_concurrent_starts_with_one_business_key_make_one_run_and_99_answers_that_name_it(
    store: DynamoDbStore,
) -> None:
    env = replace(environment(store), definitions=registry)
    tenant = f"t{fresh_token()}"
    settings = Settings(workflows="w:r", table_name="t", queue_url="https://q", default_tenant=tenant)
    client = Client(intake.make_handler(env, registry, settings), http_event)
    started: set[str] = set()

    for _ in range(share(3, 30)):
        replies = all_at_once(client)

        assert Counter(reply.status for reply in replies) == {201: 1, 409: STARTS - 1}
        (run,) = {reply.json["run"] for reply in replies}
        started.add(run)
        listed = list_runs(env, tenant, ["order"], limit=1_000)
        assert {entry.ref.run for entry in listed} == started, "nobody else made a run"
        assert client.get("/workflows/order/keys/order-123").json["run"] == run
        # Once it is over, the key is free for the next hundred.
        assert client.request("POST", f"/runs/{run}/cancel").status == 202
        assert client.get("/workflows/order/keys/order-123").status == 404
    tell(
        "engines",
        engine=f"DynamoDB Local {ENGINE_VERSION}: {STARTS} starts at once with one business key",
        runs_started=len(started),
        answers_that_name_them=len(started) * (STARTS - 1),
    )


def all_at_once(client: Client) -> list[Reply]:
    """What a hundred threads were answered that asked for the same at the same moment."""
    gate = Barrier(STARTS)
    once = fresh_token()  # nobody repeats the start of an earlier round

    def begin(number: int) -> Reply:
        body = {"input": {"number": number}, "business_key": "order-123"}
        headers = {"Idempotency-Key": f"{once}-{number}"}
        gate.wait(60)
        while True:  # whoever is told that the store was too busy asks again
            reply = client.request("POST", "/workflows/order/runs", body=body, headers=headers)
            if reply.status != 503:
                return reply

    with ThreadPoolExecutor(STARTS) as pool:
        return list(pool.map(begin, range(STARTS)))

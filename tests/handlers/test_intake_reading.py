"""Reading through the HTTP API: runs as they were, waiting, lists, logs, workflows, health, many callers at once."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from handlers.intake import make_handler
from kernel.ports import Live, RunRef
from kernel.testing.faults import Crash, Fault
from onewrite import Registry
from tests.handlers import shop
from tests.handlers.aws import Client, Shape
from tests.handlers.shop import GOOD, Deployment, old_order, started


def test_a_run_can_be_seen_as_of_a_number_or_a_time(client: Client, deployment: Deployment) -> None:
    run = started(client)
    created = deployment.play.clock.now()
    deployment.play.clock.move(60_000)
    deployment.work()

    assert client.get(f"/runs/{run}", ("seq", "0")).json["status"] == "running"
    assert "output" not in client.get(f"/runs/{run}", ("seq", "1")).json
    assert client.get(f"/runs/{run}", ("at", str(created))).json["seq"] == 0
    assert client.get(f"/runs/{run}", ("at", "2026-01-01T00:00:30Z")).json["seq"] == 0
    assert client.get(f"/runs/{run}", ("at", "2026-01-01T01:00:30+01:00")).json["seq"] == 0
    last = client.get(f"/runs/{run}").json
    assert client.get(f"/runs/{run}", ("seq", str(last["seq"]))).json == last


def test_a_number_that_the_log_does_not_have_is_refused(client: Client) -> None:
    reply = client.get(f"/runs/{started(client)}", ("seq", "99"))

    assert reply.status == 422
    assert "commits 0 to 0" in reply.problem["detail"]


def test_a_time_before_the_run_is_not_found(client: Client) -> None:
    assert client.get(f"/runs/{started(client)}", ("at", "2020-01-01")).status == 404


def test_a_stage_that_runs_is_shown_as_its_last_sign_of_life_left_it(
    client: Client, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(client)
    until = deployment.play.clock.now() + 600_000

    def die() -> None:
        raise Crash

    monkeypatch.setattr(shop, "before_each_stage", die)
    with suppress(Crash):
        deployment.play.step()
    deployment.play.store.put(RunRef(shop.TENANT, run), Live(1, until, 0.5, ttl=9))

    (stage,) = client.get(f"/runs/{run}").json["stages"]

    assert (stage["status"], stage["at"], stage["progress"]) == ("running", until, 0.5)


def test_waiting_ends_when_the_run_is_finished(client: Client, deployment: Deployment) -> None:
    run = started(client)
    begun = deployment.play.clock.now()
    # Whoever waits sleeps; the deployment's clock only moves then. So work is done while the caller waits.
    sleep = deployment.play.clock.sleep

    def works_meanwhile(seconds: float) -> None:
        sleep(seconds)
        deployment.work()

    deployment.play.clock.sleep = works_meanwhile  # type: ignore[method-assign]  # the clock acts while it waits

    reply = client.get(f"/runs/{run}", ("wait", "25"))

    assert (reply.json["status"], reply.json["output"]["text"][:7]) == ("completed", "shipped")
    assert deployment.play.clock.now() - begun < 1_000


def test_waiting_ends_with_the_time_asked_for_and_with_the_invocation(client: Client, deployment: Deployment) -> None:
    run = started(client)
    begun = deployment.play.clock.now()

    assert client.get(f"/runs/{run}", ("wait", "5")).json["status"] == "running"
    waited = deployment.play.clock.now() - begun
    client.seconds = 4
    assert client.get(f"/runs/{run}", ("wait", "25")).json["status"] == "running"

    assert 5_000 <= waited < 8_000
    assert deployment.play.clock.now() - begun - waited <= 4_000


def test_lists_are_newest_first_and_go_on_by_a_cursor(client: Client, deployment: Deployment) -> None:
    runs = []
    for number in range(5):
        runs.append(started(client, id=f"o-{number}"))
        deployment.play.clock.move(1_000)

    pages = []
    query: list[tuple[str, str]] = [("limit", "2")]
    while True:
        page = client.get("/runs", *query).json
        pages.append([each["run"] for each in page["runs"]])
        if page["cursor"] is None:
            break
        query = [("limit", "2"), ("cursor", page["cursor"])]

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [run for page in pages for run in page] == runs[::-1]


def test_lists_can_be_narrowed_by_workflow_status_and_time(client: Client, deployment: Deployment) -> None:
    done = started(client)
    deployment.work()
    deployment.play.clock.move(60_000)
    failed = started(client, broken=True)
    deployment.work()
    deployment.play.clock.move(60_000)
    waiting = client.start({"input": GOOD}, workflow="split").json["run"]

    def listed(*query: tuple[str, str]) -> set[str]:
        reply = client.get("/runs", *query)
        assert reply.status == 200, reply.text
        return {each["run"] for each in reply.json["runs"]}

    assert listed() == {done, failed, waiting}
    assert listed(("workflow", "split")) == {waiting}
    assert listed(("workflow", "split"), ("workflow", "order")) == {done, failed, waiting}
    assert listed(("status", "failed")) == {failed}
    assert listed(("status", "completed,failed")) == {done, failed}
    assert listed(("status", "completed"), ("status", "open")) == {done, waiting}
    assert listed(("since", "2026-01-01T00:01:00Z")) == {failed, waiting}
    assert listed(("since", "2026-01-01T00:01:00"), ("before", "1767225720000")) == {failed}
    assert listed(("before", "2026-01-01T00:00:00Z")) == set()


def test_a_log_is_paged(client: Client, deployment: Deployment) -> None:
    run = started(client)
    deployment.work()

    entries = []
    after: int | None = -1
    while after is not None:
        page = client.get(f"/runs/{run}/log", ("after", str(after)), ("limit", "2")).json
        entries += page["entries"]
        after = page["after"]

    assert [entry["seq"] for entry in entries] == list(range(len(entries)))
    assert entries[0]["by"] == "api:anonymous"
    assert [event["type"] for event in entries[0]["events"]] == ["RunCreated"]
    assert entries[-1]["events"][-1]["type"] == "RunCompleted"


def test_steps_show_the_state_that_each_commit_leaves(client: Client, deployment: Deployment) -> None:
    run = started(client)
    deployment.work()

    first = client.get(f"/runs/{run}/steps", ("limit", "1")).json
    rest = client.get(f"/runs/{run}/steps", ("after", str(first["after"]))).json

    assert [step["seq"] for step in first["steps"]] == [0]
    assert first["steps"][0]["state"]["status"] == "running"
    assert rest["after"] is None
    assert rest["steps"][-1]["state"]["status"] == "completed"
    assert rest["steps"][-1]["events"][-1]["type"] == "RunCompleted"


def test_a_page_ends_before_it_is_too_large(
    client: Client, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.operations.PAGE_LIMIT", 1)
    run = started(client)
    deployment.work()

    page = client.get(f"/runs/{run}/log").json

    assert (len(page["entries"]), page["after"]) == (1, 0)


def test_a_workflow_and_a_run_of_it_are_drawn(client: Client, deployment: Deployment) -> None:
    run = started(client)
    deployment.work()

    drawn = client.get("/workflows/split/diagram", ("version", "1")).json
    of_run = client.get(f"/runs/{run}/diagram").json

    assert (drawn["workflow"], drawn["version"]) == ("split", 1)
    assert 'title: "split, version 1"' in drawn["mermaid"]
    assert client.get("/workflows/split/diagram").json["version"] == 2
    assert f'title: "order, run {run}: completed"' in of_run["mermaid"]
    assert "classDef completed" not in client.get(f"/runs/{run}/diagram", ("seq", "0")).json["mermaid"]
    assert client.get("/workflows/nothing/diagram").status == 404
    assert client.get("/workflows/split/diagram", ("version", "9")).status == 404
    assert client.get(f"/runs/{'0' * 24}/diagram").status == 404


def test_a_run_whose_workflow_is_not_deployed_cannot_be_drawn(deployment: Deployment, shape: Shape) -> None:
    run = started(Client(deployment.intake, shape))
    elsewhere = make_handler(deployment.play.env, Registry(old_order), deployment.settings)

    reply = Client(elsewhere, shape).get(f"/runs/{run}/diagram")

    assert reply.status == 409
    assert "needs order version 1, which this deployment does not have" in reply.problem["detail"]


def test_workflows_tell_what_they_take(client: Client) -> None:
    found = {each["id"]: each for each in client.get("/workflows").json["workflows"]}

    assert found.keys() == {"leave", "order", "parcel", "split"}
    assert (found["split"]["latest"], [each["version"] for each in found["split"]["versions"]]) == (2, [1, 2])
    (version,) = found["order"]["versions"]
    assert (version["stages"], version["presets"]) == (["charge", "ship"], ["cautious"])
    assert version["input"]["properties"]["lines"]["type"] == "array"
    assert len(version["fingerprint"]) == 12


def test_health_asks_the_table(client: Client, deployment: Deployment) -> None:
    assert client.get("/health").json == {"status": "ok"}

    deployment.play.faults.choose = lambda _call: Fault.UNAVAILABLE
    assert client.get("/health").status == 503


def test_requests_at_the_same_time_do_not_meet(shape: Shape) -> None:
    """Powertools keeps the request at hand in a class; a server with threads would mix callers up."""
    deployment = Deployment(default_tenant=None)
    tenants = [f"tenant-{number}" for number in range(4)]
    runs = {
        tenant: Client(deployment.intake, shape, {"tenant": tenant}).start({"input": GOOD}).json["run"]
        for tenant in tenants
    }
    wrong: list[str] = []
    together = threading.Barrier(len(tenants))

    def ask(tenant: str) -> None:
        client = Client(deployment.intake, shape, {"tenant": tenant})
        together.wait()
        for _ in range(30):
            own = client.get(f"/runs/{runs[tenant]}")
            listed = client.get("/runs", ("status", "open"))
            if own.status != 200 or own.json["tenant"] != tenant or len(listed.json["runs"]) != 1:
                wrong.append(f"{tenant}: {own.text} {listed.text}")

    threads = [threading.Thread(target=ask, args=(tenant,)) for tenant in tenants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []

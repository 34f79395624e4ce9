"""Runs that go well: how they are started, how their stages follow one another, and where their values are."""

from __future__ import annotations

from onewrite import Context
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts
from tests.crashes.scenario import FAST, LOST, scenario
from tests.shell.script import Note, gives


@scenario(flows.CHAIN)
def a_chain(world: Deployment, client: Client) -> None:
    """Started, run in one go; the same start once more is the same run."""
    client.start("chain")
    world.until(world.nothing_is_due)
    client.start("chain")


@scenario(flows.CHAIN, platform=LOST)
def started_by_an_event(world: Deployment, client: Client) -> None:
    """EventBridge delivers at least once."""
    client.start_by_event("chain")
    client.start_by_event("chain")


@scenario(flows.LOOSE, platform=FAST)
def not_chained(world: Deployment, client: Client) -> None:
    """Each stage in an invocation of its own; started by direct invocation."""
    client.start_directly("loose")


@scenario(flows.BRANCHES, platform=FAST | {"batch": 1})
def branches(world: Deployment, client: Client) -> None:
    """Two stages side by side, and a join."""
    client.start("branches")


@scenario(flows.CHAIN, platform={"seconds": 150})
def out_of_time(world: Deployment, client: Client) -> None:
    """The third stage does not fit into what is left of the invocation."""
    acts.update(dict.fromkeys("abc", lambda _ctx: world.clock.move(45_000)))
    client.start("chain")


@scenario(flows.CHAIN, inline=100, data=1_000)
def big_values(world: Deployment, client: Client) -> None:
    """The input and an output too big for an event, and an output too big for the store."""
    acts["a"] = gives(Note(text="x" * 500))
    acts["b"] = gives(Note(text="x" * 2_000))
    client.start("chain", "x" * 500)


@scenario(flows.LONG, chain_cap=9)
def with_snapshots(world: Deployment, client: Client) -> None:
    """Commits enough for a snapshot, and a worker that loads it."""
    client.start("long")


@scenario(flows.CHAIN)
def alive_and_reading(world: Deployment, client: Client) -> None:
    """A stage that gives signs of life, asks whether it is cancelled and reads what it depends on."""

    def curious(ctx: Context) -> None:
        ctx.progress(0.5)
        assert not ctx.cancelled
        assert ctx.output(flows.a).text.startswith("a by")

    acts["b"] = curious
    client.start("chain")


@scenario(flows.CHAIN)
def read(world: Deployment, client: Client) -> None:
    """Everything that can be read of a run."""
    run = client.start("chain")
    world.until(world.nothing_is_due)
    assert client.get(f"/runs/{run}")["status"] == "completed"
    assert client.get(f"/runs/{run}", seq=0)["status"] == "running"
    assert client.get(f"/runs/{run}/log")["entries"][0]["events"][0]["type"] == "RunCreated"
    assert client.get(f"/runs/{run}/steps")["steps"][0]["seq"] == 0
    assert client.get(f"/runs/{run}/annotations") == {"annotations": [], "after": None}
    assert [each["run"] for each in client.get("/runs", status="completed")["runs"]] == [run]
    assert client.get(f"/runs/{run}/dead-letters") == {"dead_letters": [], "unreadable": []}
    assert "completed" in client.get(f"/runs/{run}/diagram")["mermaid"]
    assert [each["id"] for each in client.get("/workflows")["workflows"]] == ["chain"]
    assert client.get("/workflows/chain/diagram")["version"] == 1
    assert client.get("/health") == {"status": "ok"}

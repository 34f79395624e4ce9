"""Runs whose pokes are in streams: with workers that poll, die, and are told to stop; and streams that are lost."""

from __future__ import annotations

from kernel.testing.faults import Crash
from onewrite import Context
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts, script
from tests.crashes.polled import Polled
from tests.crashes.scenario import scenario
from tests.shell.script import dies, throws


def polled(world: Deployment) -> Polled:
    """The deployment, as what it is here."""
    assert isinstance(world, Polled)
    return world


@scenario(flows.CHAIN, streams=True)
def polled_chain(world: Deployment, client: Client) -> None:
    """Run in one go."""
    client.start("chain")


@scenario(flows.BRANCHES, streams=True)
def polled_branches(world: Deployment, client: Client) -> None:
    """Two stages side by side, and a join."""
    client.start("branches")


@scenario(flows.CHAIN, streams=True)
def polled_retry(world: Deployment, client: Client) -> None:
    """A stage throws once."""
    acts["b"] = throws(ValueError("again"), 1)
    client.start("chain")


@scenario(flows.WAITS, streams=True)
def polled_events(world: Deployment, client: Client) -> None:
    """Two events: one that is waited for, and one that comes early."""
    run = client.start("waits")
    world.until(lambda: "a" in script.calls)
    client.send(run, "e-1", "first")
    client.send(run, "e-2", "second")
    world.until(world.nothing_is_due)
    assert [client.event(run, id_) for id_ in ("e-1", "e-2")] == ["applied", "applied"]


@scenario(flows.CHAIN, streams=True, platform={"visibility": 70_000})
def a_polling_worker_dies(world: Deployment, client: Client) -> None:
    """In the middle of a stage: another one takes its message over once that has been in hand for too long."""
    acts["b"] = dies(1)
    client.start("chain")


@scenario(flows.CHAIN, streams=True)
def drained(world: Deployment, client: Client) -> None:
    """A worker is told to stop in the middle of a stage, which it hands back; its body ends all the same, too late."""

    def told(ctx: Context) -> None:
        if ctx.attempt == 1:
            polled(world).drain()
            world.go(2)

    acts["b"] = told
    client.start("chain")
    world.until(world.nothing_is_due)
    assert polled(world).stopped[:1] == [(1, 0)] or world.disturbed
    assert world.clock.now() - world.began < 10_000 or world.disturbed, "nobody waits for the lease"


@scenario(flows.CHAIN, streams=True, platform={"prefetch": 2})
def drained_with_more_in_hand(world: Deployment, client: Client) -> None:
    """What it has not come to is given back as it is; the process is gone before the body ends."""

    def told(ctx: Context) -> None:
        if not polled(world).stopped:
            polled(world).drain()
            raise Crash("the process is gone")

    acts["b"] = told
    for number in range(2):
        client.start("chain", key=f"k-{number}")
    world.until(world.nothing_is_due)
    assert polled(world).stopped[:1] == [(1, 1)] or world.disturbed
    assert world.clock.now() - world.began < 10_000 or world.disturbed, "nobody waits for the lease"


@scenario(flows.BRANCHES, streams=True, needs={"claimed": 1})
def emptied(world: Deployment, client: Client) -> None:
    """The streams lose everything in the middle of a stage: what is in hand, and the poke for what stands beside."""
    acts["b"] = lambda _ctx: world.queue.clear()
    client.start("branches")

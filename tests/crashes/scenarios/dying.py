"""Workers that die, freeze, or get something that is none of theirs."""

from __future__ import annotations

from onewrite import Context
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts
from tests.crashes.scenario import LOST, scenario
from tests.shell.script import dies, throws


@scenario(flows.CHAIN, platform=LOST, needs={"reaped": 1, "flushed": 1})
def a_worker_dies(world: Deployment, client: Client) -> None:
    """In the middle of a stage, and its message is lost with it: a tick reaps, another worker settles."""
    acts["b"] = dies(1)
    client.start("chain")


@scenario(flows.CHAIN, platform={"visibility": 70_000})
def a_worker_dies_and_its_message_returns(world: Deployment, client: Client) -> None:
    """The worker that gets the message next meets the lease that has run out."""
    acts["b"] = dies(1)
    client.start("chain")


@scenario(flows.CHAIN, needs={"reaped": 1, "flushed": 1})
def a_worker_outlives_its_lease(world: Deployment, client: Client) -> None:
    """It freezes in the middle of a stage, and comes back when others have long taken over."""
    frozen: list[str] = []

    def freezes(ctx: Context) -> None:
        if not frozen:
            frozen.append(ctx.run_id)
            world.go(200)

    acts["b"] = freezes
    client.start("chain")


@scenario(flows.TWICE, ends="failed", also="failed")
def attempts_used_up(world: Deployment, client: Client) -> None:
    """A stage that may be started twice, and never goes well; whoever dies in it has used up an attempt, too."""
    acts["b"] = throws(ValueError("again"))
    client.start("twice")


@scenario(flows.ONCE, also="failed")
def at_most_once(world: Deployment, client: Client) -> None:
    """A stage that is never started twice: with a worker that dies in it, the run fails."""
    client.start("once")


@scenario(flows.CHAIN, platform={"visibility": 30_000, "receives": 2})
def a_bad_message_among_others(world: Deployment, client: Client) -> None:
    """A batch of three runs and something that is no poke, which ends in the dead-letter queue."""
    world.queue.put("hello")
    for number in range(3):
        client.start("chain", key=f"k-{number}")
    world.settle()
    assert "hello" in world.queue.dead, "the bad message is gone"

"""What is asked of runs that are over: to go on, to publish once more."""

from __future__ import annotations

from kernel.ports import Guard
from kernel.testing.faults import Fault
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts
from tests.crashes.scenario import LOST, scenario
from tests.shell.script import is_under


@scenario(flows.CHAIN)
def retried_by_hand(world: Deployment, client: Client) -> None:
    """A failed run goes on where it failed."""
    acts["b"] = flows.refuses()
    run = client.start("chain")
    world.until(world.nothing_is_due)
    acts.clear()
    client.retry(run)


@scenario(flows.UNDONE, platform=LOST)
def retried_after_being_undone(world: Deployment, client: Client) -> None:
    """What was compensated is done again."""
    acts["c"] = flows.refuses()
    run = client.start("undone")
    world.until(world.nothing_is_due)
    acts.clear()
    client.retry(run)


@scenario(flows.CHAIN, platform=LOST)
def rerun(world: Deployment, client: Client) -> None:
    """A completed run goes on from a stage in its middle."""
    run = client.start("chain")
    world.until(world.nothing_is_due)
    client.rerun(run, "b")


@scenario(flows.CHAIN, needs={"finalised": 1})
def rerun_cut_short(world: Deployment, client: Client) -> None:
    """Whoever reopens the run dies between announcing the commit and making it, and never asks again."""
    run = client.start("chain")
    world.until(world.nothing_is_due)

    world.fate.doom = lambda call: Fault.CRASH_AFTER if is_under(call, Guard.WAKE_IS_NEWER) else None
    client.ask_once({"rerun": {"run": run, "stage": "b"}})
    world.fate.doom = lambda _call: None


@scenario(flows.CHAIN, publish_attempts=2, needs={"dead": 1, "finalised": 1, "flushed": 1})
def dead_letters(world: Deployment, client: Client) -> None:
    """An event that the sink refuses is given up, and replayed once it does not."""
    world.refused = "RunCreated"
    run = client.start("chain")
    world.until(world.nothing_is_due)
    world.refused = ""
    assert [letter["seq"] for letter in client.get(f"/runs/{run}/dead-letters")["dead_letters"]] == [0]
    client.replay_dead_letters(run)

"""Runs that are paused, by whoever asks for it, and go on: because somebody asks for that, or by themselves."""

from __future__ import annotations

from kernel.shell.environment import MINUTE
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts
from tests.crashes.scenario import FAST, LOST, RARELY, scenario
from tests.shell.script import pending


@scenario(flows.CHAIN, tick=RARELY, platform=FAST, longer=5 * MINUTE)
def paused_while_running(world: Deployment, client: Client) -> None:
    """In the middle of a stage, which ends; what follows waits until somebody lets the run go on."""
    acts["b"] = lambda ctx: client.pause(ctx.run_id)
    run = client.start("chain")
    world.until(lambda: world.asleep(run) or world.nothing_is_due())
    acts.clear()
    assert client.get(f"/runs/{run}")["status"] == "paused" or world.disturbed
    assert [each["run"] for each in client.get("/runs", status="paused")["runs"]] == [run] or world.disturbed
    world.go(3_600)
    assert flows.script.calls == ["a", "b"] or world.disturbed
    client.resume(run)


@scenario(flows.CHAIN, tick=RARELY, platform=LOST, needs={"woken": 2}, longer=20 * MINUTE)
def paused_for_a_while(world: Deployment, client: Client) -> None:
    """In the middle of a stage; it sleeps, and goes on by itself."""
    acts["b"] = lambda ctx: client.pause(ctx.run_id, until=world.clock.now() + 20 * MINUTE)
    client.start("chain")


@scenario(flows.TIMERS, platform=LOST)
def paused_for_a_moment(world: Deployment, client: Client) -> None:
    """For less than a timer takes, which fires in its time."""
    acts["a"] = lambda ctx: client.pause(ctx.run_id, until=world.clock.now() + MINUTE // 2)
    client.start("timers")


@scenario(flows.NAPS, tick=RARELY, longer=20 * MINUTE, ends="cancelled")
def cancelled_while_paused(world: Deployment, client: Client) -> None:
    """It is over, and paused no more."""
    acts["check:a"] = pending(1_000)
    run = client.start("naps")
    world.until(lambda: world.asleep(run))
    client.pause(run)
    world.go(3_600)
    client.cancel(run)

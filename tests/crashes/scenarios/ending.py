"""Runs of which a stage fails, or that somebody cancels."""

from __future__ import annotations

from kernel.ports import Guard
from kernel.shell.environment import MINUTE
from kernel.testing.faults import Fault
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts
from tests.crashes.scenario import FAST, LOST, RARELY, scenario
from tests.shell.script import is_under, pending


@scenario(flows.CONDITIONS)
def a_stage_fails_and_one_is_skipped(world: Deployment, client: Client) -> None:
    """A failure that the run goes on from, and a stage that is not wanted."""
    acts["a"] = flows.refuses()
    client.start("conditions")


@scenario(flows.BRANCHES, ends="failed", platform=LOST | {"batch": 1})
def a_branch_fails(world: Deployment, client: Client) -> None:
    """The other one is let finish; what joins them never starts."""
    acts["b"] = flows.refuses()
    client.start("branches")


@scenario(flows.UNDONE, ends="failed")
def undone(world: Deployment, client: Client) -> None:
    """The last stage fails for good: what was completed is compensated."""
    acts["c"] = flows.refuses()
    client.start("undone")


@scenario(flows.UNDONE, platform=LOST, ends="failed")
def undone_in_part(world: Deployment, client: Client) -> None:
    """As before, but one compensation fails for good; the other one runs all the same."""
    acts["c"] = flows.refuses()
    acts["compensate:b"] = flows.refuses()
    client.start("undone")


@scenario(flows.CHAIN, ends="cancelled")
def cancelled_while_running(world: Deployment, client: Client) -> None:
    """In the middle of a stage."""
    acts["b"] = lambda ctx: client.cancel(ctx.run_id)
    client.start("chain")


@scenario(flows.NAPS, tick=RARELY, longer=20 * MINUTE, ends="cancelled")
def cancelled_asleep(world: Deployment, client: Client) -> None:
    """Long before anybody would look at the run."""
    acts["check:a"] = pending(1_000)
    run = client.start("naps")
    world.until(lambda: world.asleep(run))
    client.cancel(run)


@scenario(flows.DREAMS, tick=RARELY, needs={"slept": 1, "woken": 2})
def a_cancel_is_cut_short(world: Deployment, client: Client) -> None:
    """Whoever cancels a sleeping run dies between announcing the commit and making it, and never asks again."""
    run = client.start("dreams")
    world.until(lambda: world.asleep(run) or world.nothing_is_due())
    world.fate.doom = lambda call: Fault.CRASH_AFTER if is_under(call, Guard.WAKE_IS_NEWER) else None
    client.ask_once({"cancel": {"run": run}})
    world.fate.doom = lambda _call: None


@scenario(flows.UNDONE_ON_CANCEL, platform=FAST, ends="cancelled")
def cancelled_and_undone(world: Deployment, client: Client) -> None:
    """In the middle of a stage, of a workflow that says that what is cancelled is compensated."""
    acts["b"] = lambda ctx: client.cancel(ctx.run_id)
    client.start("undone-on-cancel")

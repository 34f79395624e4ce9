"""Runs that wait: for a retry, for what a check asks for, for a deployment, for a deadline."""

from __future__ import annotations

from typing import Any

from kernel.shell.environment import MINUTE
from onewrite import Context
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts
from tests.crashes.scenario import FAST, LOST, RARELY, scenario
from tests.shell.script import pending, throws


@scenario(flows.CHAIN, platform=LOST)
def retried_soon(world: Deployment, client: Client) -> None:
    """A stage throws once."""
    acts["b"] = throws(ValueError("again"), 1)
    client.start("chain")


@scenario(flows.DELAYS, tick=RARELY, longer=20 * MINUTE, needs={"woken": 2})
def retried_after_sleep(world: Deployment, client: Client) -> None:
    """A stage throws once and is tried again after 20 minutes: the run sleeps."""
    acts["b"] = throws(ValueError("again"), 1)
    client.start("delays")


@scenario(flows.TIMERS, platform=FAST)
def a_timer(world: Deployment, client: Client) -> None:
    """A minute's wait between two stages."""
    client.start("timers")


@scenario(flows.SLEEPS, tick=RARELY, longer=20 * MINUTE, needs={"woken": 2})
def a_long_timer(world: Deployment, client: Client) -> None:
    """Twenty minutes' wait between two stages: the run sleeps."""
    client.start("sleeps")


@scenario(flows.POLLS, platform=FAST)
def polled(world: Deployment, client: Client) -> None:
    """A check that is not ready, then throws, then is ready."""

    answers = iter((pending(1), throws(ValueError("again"))))

    def check(ctx: Context) -> Any:
        answer = next(answers, None)
        return answer(ctx) if answer else None

    acts["check:a"] = check
    client.start("polls")


@scenario(flows.NAPS, tick=RARELY, platform=LOST, needs={"woken": 4})
def polled_asleep(world: Deployment, client: Client) -> None:
    """A check every 20 minutes, ready at the second look."""
    acts["check:a"] = pending(1)
    client.start("naps")


@scenario(flows.GIVES_UP, tick=RARELY, ends="failed", needs={"woken": 2})
def polled_in_vain(world: Deployment, client: Client) -> None:
    """The limit of the wait is reached."""
    acts["check:a"] = pending(1_000)
    client.start("gives-up")


@scenario(flows.ENDS, tick=RARELY, ends="failed", needs={"woken": 2})
def past_its_deadline(world: Deployment, client: Client) -> None:
    """Waits for what never comes."""
    acts["check:a"] = pending(1_000)
    client.start("ends")


@scenario(
    flows.ENDS,
    tick=RARELY,
    platform=LOST,
    ends="failed",
    needs={"claimed": 6, "parked": 6, "deadlines": 1, "flushed": 2, "finalised": 1},
)
def past_its_deadline_parked(world: Deployment, client: Client) -> None:
    """No worker ever has the workflow."""
    world.workers_have_it(deployed=False)
    client.start("ends")


@scenario(flows.POLLS, needs={"claimed": 1, "flushed": 1, "parked": 1})
def parked(world: Deployment, client: Client) -> None:
    """The workers do not have the workflow yet that clients can start already; the run waits until they have."""
    world.workers_have_it(deployed=False)
    acts["check:a"] = pending(1)
    run = client.start("polls")
    world.go(30)
    assert client.get(f"/runs/{run}")["status"] == "parked" or world.disturbed
    world.workers_have_it(deployed=True)
    world.until(lambda: "check:a" in flows.script.calls)
    assert client.get(f"/runs/{run}")["status"] == "running"

"""Machines: moved on by work that is done, by events, by time; with work in between; failed, and retried."""

from __future__ import annotations

from onewrite import Context
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts, script
from tests.crashes.scenario import FAST, LOST, RARELY, scenario


@scenario(flows.STEPS)
def moved_by_work(world: Deployment, client: Client) -> None:
    """From state to state, each once its work is done; a loop among them."""
    client.start("steps")


@scenario(flows.REVIEW, platform=FAST)
def moved_by_an_event_awake(world: Deployment, client: Client) -> None:
    """In the middle of the state's work, which is cut off; the event is sent twice."""

    def told(ctx: Context) -> None:
        client.send(ctx.run_id, "e-1", "go")
        client.send(ctx.run_id, "e-1", "go")
        world.go(10)

    acts["a"] = told
    run = client.start("review")
    world.until(world.nothing_is_due)
    assert client.event(run, "e-1") == "applied"


@scenario(flows.REVIEW, tick=RARELY, platform=LOST)
def moved_by_an_event_asleep(world: Deployment, client: Client) -> None:
    """Long before anybody would look at the run; an event within the state came before."""
    run = client.start("review")
    world.until(lambda: world.asleep(run))
    assert [each["event"] for each in client.get(f"/runs/{run}/available-events")["events"]] == ["Note"]
    client.send(run, "e-1", "")
    world.until(lambda: world.taken(run) == 1)
    client.send(run, "e-2", "go")
    world.until(world.nothing_is_due)
    assert [client.event(run, id_) for id_ in ("e-1", "e-2")] == ["applied", "applied"]


@scenario(flows.EXPIRES, platform=FAST)
def moved_by_time(world: Deployment, client: Client) -> None:
    """After a minute in each of two states; what the first runs is cut off."""
    acts["a"] = lambda _ctx: world.go(61)
    client.start("expires")


@scenario(flows.EXPIRES_LATE, tick=RARELY, needs={"woken": 2})
def moved_by_time_asleep(world: Deployment, client: Client) -> None:
    """After twenty minutes, in which the run sleeps."""
    client.start("expires-late")


@scenario(flows.PASSES, inline=40)
def an_event_waits_for_the_next_state(world: Deployment, client: Client) -> None:
    """It comes while the work of a transition is under way, which nothing cuts off; data is kept aside."""

    def told(ctx: Context) -> None:
        client.send(ctx.run_id, "e-2", "on")
        world.go(5)

    acts["w"] = told
    run = client.start("passes")
    client.send(run, "e-1", "go")
    world.until(world.nothing_is_due)
    assert [client.event(run, id_) for id_ in ("e-1", "e-2")] == ["applied", "applied"]


@scenario(flows.PATIENT)
def a_machine_is_retried(world: Deployment, client: Client) -> None:
    """It failed by its state's work; it goes on there, with its timer."""
    acts["a"] = flows.refuses()
    run = client.start("patient")
    world.until(world.nothing_is_due)
    assert script.calls[-1:] == ["a"] or world.disturbed
    acts.clear()
    client.retry(run)

"""External events: for a run that waits, for one that will, for one that waits no longer; sent once, or twice."""

from __future__ import annotations

from kernel.shell.environment import MINUTE
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import script
from tests.crashes.scenario import FAST, LOST, RARELY, scenario


@scenario(flows.WAITS, platform=FAST)
def events_that_are_waited_for(world: Deployment, client: Client) -> None:
    """Two events, one after the other, each when the run waits for it; the first is sent twice."""
    run = client.start("waits")
    world.until(lambda: "a" in script.calls)
    client.send(run, "e-1", "first")
    client.send(run, "e-1", "first")
    world.until(lambda: "b" in script.calls)
    client.send(run, "e-2", "second")
    world.until(world.nothing_is_due)
    assert [client.event(run, id_) for id_ in ("e-1", "e-2")] == ["applied", "applied"]


@scenario(flows.WAITS, platform=LOST)
def events_that_come_early(world: Deployment, client: Client) -> None:
    """Two events before anybody waits for them."""
    run = client.start("waits")
    client.send(run, "e-1", "first")
    client.send(run, "e-2", "second")
    world.until(world.nothing_is_due)
    assert [client.event(run, id_) for id_ in ("e-1", "e-2")] == ["applied", "applied"]


@scenario(flows.WAITS_IN_VAIN, tick=RARELY, longer=20 * MINUTE, ends="failed", needs={"woken": 2})
def an_event_that_never_comes(world: Deployment, client: Client) -> None:
    """Its time is up: the run slept all the while."""
    client.start("waits-in-vain")


@scenario(flows.WAITS, platform=FAST, ends="cancelled")
def an_event_that_comes_too_late(world: Deployment, client: Client) -> None:
    """The run is cancelled when the event is accepted, and not yet applied."""
    run = client.start("waits")
    world.until(lambda: "a" in script.calls)
    client.send(run, "e-1", "first")
    client.cancel(run)
    world.until(world.nothing_is_due)
    assert client.event(run, "e-1") in ("refused", "applied")

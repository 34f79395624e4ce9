"""Runs with a business key: one is under way, another one has to wait for its end; one that goes on holds it again."""

from __future__ import annotations

from kernel.ports import Guard
from kernel.testing.faults import Fault
from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts, script
from tests.crashes.scenario import FAST, LOST, scenario
from tests.shell.script import is_under

KEY = "order-123"


@scenario(flows.CHAIN, platform=FAST)
def one_run_per_key(world: Deployment, client: Client) -> None:
    """Another start is refused in the middle of the first one's run, and is not when that is over."""
    named: list[str] = []
    acts["b"] = lambda _ctx: named.append(client.refused_start("chain", KEY))
    first = client.start("chain", business_key=KEY)
    world.until(world.nothing_is_due)
    acts.clear()
    assert set(named) == {first}, "a start was refused for another run than the one under way"
    assert client.holder("chain", KEY) == "", "keys-are-freed: nobody needs it any more"
    second = client.start("chain", key="k-2", business_key=KEY)
    world.until(world.nothing_is_due)
    assert second != first


@scenario(flows.CHAIN, platform=LOST, needs={"finalised": 1, "flushed": 2})
def a_key_is_taken_over(world: Deployment, client: Client) -> None:
    """Whoever ends the first run dies before it can free the key; the next start does not wait for a tick."""
    first = client.start("chain", business_key=KEY)
    world.fate.doom = lambda call: Fault.CRASH_BEFORE if is_under(call, Guard.KEY_AS_SEEN) else None
    world.until(lambda: world.over(first))
    world.fate.doom = lambda _call: None
    second = client.start("chain", key="k-2", business_key=KEY)
    assert client.holder("chain", KEY) == second or world.disturbed
    world.until(world.nothing_is_due)
    assert client.holder("chain", KEY) == "", "keys-are-freed: nobody needs it any more"


@scenario(flows.CHAIN, platform=FAST)
def rerun_with_a_key(world: Deployment, client: Client) -> None:
    """While the run goes on once more, another start is refused."""
    run = client.start("chain", business_key=KEY)
    world.until(world.nothing_is_due)
    named: list[str] = []
    acts["b"] = lambda _ctx: named.append(client.refused_start("chain", KEY))
    client.rerun(run, "b")
    world.until(world.nothing_is_due)
    assert set(named) == {run}, "a start was refused for another run than the one under way"
    assert client.holder("chain", KEY) == "", "keys-are-freed: nobody needs it any more"


@scenario(flows.CHAIN, platform=FAST)
def rerun_while_another_has_the_key(world: Deployment, client: Client) -> None:
    """It is refused, and changes nothing."""
    first = client.start("chain", business_key=KEY)
    world.until(world.nothing_is_due)
    named: list[str] = []
    acts["b"] = lambda _ctx: named.append(client.refused_rerun(first, "b"))
    second = client.start("chain", key="k-2", business_key=KEY)
    world.until(world.nothing_is_due)
    assert set(named) == {second}, "a rerun was refused for another run than the one under way"


@scenario(flows.WAITS, platform=FAST)
def events_by_key(world: Deployment, client: Client) -> None:
    """Who sends them knows the order, and not the run."""
    run = client.start("waits", business_key=KEY)
    world.until(lambda: "a" in script.calls)
    assert client.send_to_holder("waits", KEY, "e-1", "first") == run
    world.until(lambda: "b" in script.calls)
    assert client.send_to_holder("waits", KEY, "e-2", "second") == run
    world.until(world.nothing_is_due)
    assert [client.event(run, id_) for id_ in ("e-1", "e-2")] == ["applied", "applied"]

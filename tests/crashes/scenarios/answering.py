"""Stages that a third party answers: in time, too soon, twice, with an error, with heartbeats, never."""

from __future__ import annotations

from tests.crashes import flows
from tests.crashes.client import Client
from tests.crashes.deployment import Deployment
from tests.crashes.flows import acts, script
from tests.crashes.scenario import FAST, LOST, RARELY, scenario

MINUTE = 60
LABEL = {"text": "label"}


@scenario(flows.ASKS)
def answered(world: Deployment, client: Client) -> None:
    """While the run sleeps; and the same once more, when all is over."""
    run = client.start("asks")
    world.until(lambda: world.waits(run, "a"))
    token = script.tokens[-1]
    client.callback(token, output=LABEL)
    world.until(world.nothing_is_due)
    client.callback(token, output=LABEL)
    assert client.refused_callback(token, output={"text": "another"}) == 409


@scenario(flows.ASKS, platform=LOST)
def answered_at_once(world: Deployment, client: Client) -> None:
    """Before the stage that asked has returned: what it returns comes too late."""

    acts["a"] = lambda ctx: client.callback(ctx.callback_token, output=LABEL) and None
    client.start("asks")


@scenario(flows.ASKS_SOON, platform=FAST)
def answered_with_an_error(world: Deployment, client: Client) -> None:
    """The attempt fails, another is made, and the token of the first counts no more."""
    run = client.start("asks-soon")
    world.until(lambda: world.waits(run, "a"))
    first = script.tokens[-1]
    client.callback(first, error={"kind": "Broken", "message": "again"})
    world.until(lambda: script.tokens[-1] != first and world.waits(run, "a"))
    assert client.refused_callback(first, output=LABEL) == 409
    client.callback(script.tokens[-1], output=LABEL)


@scenario(flows.ASKS_SOON, platform=FAST)
def answered_after_heartbeats(world: Deployment, client: Client) -> None:
    """Whoever is to answer says twice that they are still at work."""
    run = client.start("asks-soon")
    world.until(lambda: world.waits(run, "a"))
    for progress in (0.3, 0.6):
        world.go(2 * MINUTE)
        client.callback(script.tokens[-1], heartbeat=True, progress=progress)
    client.callback(script.tokens[-1], output=LABEL)


@scenario(flows.ASKS_SOON, platform=FAST)
def answered_by_the_second_who_was_asked(world: Deployment, client: Client) -> None:
    """The first one is silent for too long."""
    run = client.start("asks-soon")
    world.until(lambda: world.waits(run, "a"))
    first = script.tokens[-1]
    world.until(lambda: script.tokens[-1] != first and world.waits(run, "a"))
    assert client.refused_callback(first, output=LABEL) == 410
    client.callback(script.tokens[-1], output=LABEL)


@scenario(flows.ASKS_IN_VAIN, tick=RARELY, ends="failed", needs={"woken": 2})
def never_answered(world: Deployment, client: Client) -> None:
    """The limit passes."""
    client.start("asks-in-vain")
    world.until(world.nothing_is_due)
    assert client.refused_callback(script.tokens[-1], output=LABEL) == 410

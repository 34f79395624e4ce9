"""Simulating a user's own workflows: ``simulate`` for their tests."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kernel.define.registry import AnyWorkflow, Registry
from kernel.define.startable import Startable
from kernel.testing.play import Play
from kernel.testing.simulator.shrink import shrink

if TYPE_CHECKING:
    from kernel.testing.simulator.history import Verdict

CHECKED = "what-the-check-asserts"
"""The name under which it is told that a check does not hold."""


def _nothing() -> None:
    """Nobody has anything to make fresh, or to check."""


def simulate(
    *runs: tuple[AnyWorkflow, object],
    histories: int = 100,
    first: int = 0,
    fresh: Callable[[], object] = _nothing,
    check: Callable[[], object] = _nothing,
) -> None:
    """Play workflows in a world that is out to break them, and look at every invariant all along. Needs ``greenlet``.

    What a stage throws fails the stage, as it would anywhere: it is the engine's promises that are looked at. An
    ``AssertionError`` is another thing: what your stages assert, and what ``check`` asserts of the world that they
    leave behind, shall hold whatever happens.

    What takes days or months is seen through where it has a deadline that long; nobody waits for it.

    Args:
        runs: workflows, each with an input that is a model or a mapping, of at most 8,000 bytes as JSON text.
        histories: how many; each has about seventy faults, and takes some tens of milliseconds.
        first: the seed of the first one. The same seed gives the same history.
        fresh: makes what your stages reach outside as if nothing had happened yet. Called before every history, and
            before each of the some hundred times that one is played again to find the faults that matter.
        check: called at the end of each history that broke nothing so far, when all its runs are over.

    Raises:
        AssertionError: an invariant, or what a stage or ``check`` asserts, does not hold; names it and the seed, and
            shows what happened, without the faults that do not matter. ``first=seed, histories=1`` plays it again.
        InvalidInput: a workflow refuses its input. Nothing was played.
        TypeError: something is no pair of a workflow and an input, or there is none.
        ValueError: there are no histories, or a workflow is not the latest of its versions, so that nobody starts it.
    """
    if histories < 1:
        raise ValueError(f"histories must be at least 1, not {histories}: without one, nothing is looked at")
    _start_each(runs)
    one = partial(_play, runs, fresh, check)
    for seed in range(first, first + histories):
        verdict = one(seed)
        if verdict.invariant:
            raise AssertionError(_told(verdict, shrink(verdict, one), fresh_each_time=fresh is not _nothing))


def _start_each(runs: Sequence[tuple[AnyWorkflow, object]]) -> None:
    """Start each run once in calm: clients of a history go away when they are refused, and nothing would be played."""
    # Only who simulates needs greenlet, which these import.
    from kernel.testing.simulator.deployment import Deployment  # noqa: PLC0415
    from kernel.testing.simulator.stagehand import Stagehand  # noqa: PLC0415
    from kernel.testing.simulator.traffic import Traffic  # noqa: PLC0415
    from kernel.testing.simulator.weather import Weather  # noqa: PLC0415
    from kernel.testing.simulator.world import World  # noqa: PLC0415

    if not runs:
        raise TypeError("nothing to simulate: give (workflow, input), once or more")
    for each in runs:
        if not isinstance(each, tuple) or len(each) != 2 or not isinstance(each[0], Startable):  # noqa: PLR2004 - a pair
            raise TypeError(f"give (workflow, input), not {each!r}")
    flows = list(dict.fromkeys(flow for flow, _ in runs))
    registry = Registry(*flows)
    world = World(0, Weather(0))
    limits = Deployment(world, Traffic(world), Stagehand(world), flows).limits
    calm = Play(registry=registry, limits=limits)
    for flow, given in runs:
        if flow is not registry.latest(flow.id):
            raise ValueError(f"of {flow.id}, only the latest version is started: simulate version {flow.version} apart")
        calm.start(flow, given)


def _play(
    runs: Sequence[tuple[AnyWorkflow, object]],
    fresh: Callable[[], object],
    check: Callable[[], object],
    seed: int,
    *,
    keep: Container[str] | None = None,
    trace: bool = False,
) -> Verdict:
    """A history in a fresh world, and what is to be said of that world at its end."""
    from kernel.testing.simulator.history import play  # noqa: PLC0415 - only who simulates needs greenlet

    fresh()
    verdict = play(seed, keep=keep, trace=trace, further=runs, often=1.0)
    if verdict.invariant:
        return verdict
    try:
        if check() is False:
            raise AssertionError("it is False")  # noqa: TRY301 - as if it had said so itself
    except AssertionError as error:
        message = f"{CHECKED}: {error}"
        shown = [*verdict.trace, f"at the end   <- BREAKS {CHECKED}"] if trace else []
        return replace(verdict, invariant=CHECKED, message=message, trace=shown)
    return verdict


def _told(verdict: Verdict, shrunk: Verdict, *, fresh_each_time: bool) -> str:
    """What a user is told of a history that broke something, and of the same one without what does not matter."""
    if shrunk.invariant != verdict.invariant:
        why = "but not when it is played again, so something outlives a history: let fresh= forget it"
        return f"seed {verdict.seed}: {verdict.message}\n{why}"
    why = f"with {', '.join(shrunk.happened) or 'no faults'}"
    if not shrunk.happened and not fresh_each_time:
        why += ", or by what earlier histories have left behind (fresh= was not given)"
    return "\n".join((f"seed {verdict.seed}: {shrunk.message}", f"{why}:", *shrunk.trace))

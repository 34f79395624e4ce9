"""What the gallery's tests re-enact failures with: lost messages, deaths at every call, restarts, takeovers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import time_ns
from typing import Any

from msgspec.structs import replace

from kernel.core.events import StageStarted
from kernel.ports import RunRef
from kernel.shell.tick import Counts
from kernel.testing.faults import Crash, Fault
from kernel.testing.memory import SeededRandom
from kernel.testing.play import Ended, Play
from onewrite import Registry
from tests.shell import invariants
from tests.shell.script import events

LEASE = 65_000
"""Milliseconds: the default timeout of a stage and the grace of its lease."""
SOON = 7_000
"""Milliseconds after which the first retry of a stage is certainly due."""

Scene = Callable[[], tuple[Play, RunRef]]


def on_engine(play: Play, store: Any) -> Play:
    """The same deployment over a real store, at the time that it is: an engine deletes what has expired by its own."""
    play.clock.move(time_ns() // 1_000_000 - play.clock.now())
    play.store = store
    play.env = replace(play.env, store=play.faults.wrap("store", store))
    play._plain = replace(play._plain, store=store)
    return play


def look(play: Play, times: int = 1) -> Counts:
    """Let so much time pass that every awake run is due, and a tick come by; the last tick's counts."""
    counts = Counts()
    for _ in range(times):
        play.clock.move(play.env.limits.look_grace)
        counts = play.tick()
    return counts


def take_over(play: Play, ref: RunRef, stage: str = "") -> None:
    """Let a lease run out, another worker notice it, and start the stage again once its retry is due."""
    play.clock.move(LEASE + 2 * play.env.limits.max_skew)
    play.attend(ref, stage)
    play.clock.move(SOON)
    play.attend(ref, stage)


def restart(play: Play, *flows: Any) -> None:
    """End every process and start new ones: what was in memory is gone, and chance falls otherwise."""
    random = SeededRandom(int(play.env.random.token(), 16))
    play.env = replace(play.env, definitions=Registry(*flows), random=random)


def each_death(scene: Scene, act: Callable[[Play, RunRef], object]) -> Iterator[tuple[Play, RunRef]]:
    """Play a scene once for each port call that ``act`` makes, and die before it; then once more, dying after it.

    Yields what the dead process leaves behind, its message gone with it.
    """
    for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
        number = 0
        while True:
            play, ref = scene()
            play.faults.at(len(play.faults.calls) + number, fault)
            try:
                act(play, ref)
            except Crash:
                number += 1
            else:
                break
            play.faults.choose = lambda _call: None
            play.queue.clear()
            yield play, ref
        assert number, "nothing was called at all"


def finish(play: Play, ref: RunRef, status: str = "completed", *, days: float = 7) -> Ended:
    """Play a run to its end, which must come in time, see that no invariant is broken, and how it ended."""
    play.play([ref], days=days)
    invariants.check(play, ref)
    ended = play.ended(ref)
    assert ended.status == status, ended.view
    return ended


def attempts(play: Play, ref: RunRef, stage: str = "a") -> list[int]:
    """The attempts at a stage, as the log has them."""
    return [each.attempt for each in events(play, ref, StageStarted) if each.stage == stage]


def published(play: Play, ref: RunRef) -> list[str]:
    """Types of the events that the sink has of a run, each once, as a consumer that knows their ids sees them."""
    return list({event.id: event.type for event in play.sink.events if event.run == ref.run}.values())

"""The judgement on the *due* index: every open run is where a tick finds it, and of several ticks one looks at it."""

from __future__ import annotations

from kernel.core.plan import Idle, plan
from kernel.ports import Guard, Head, HeadUpdate
from kernel.shell import heads
from kernel.shell.environment import Limits
from kernel.testing.simulator.ports import WILD
from kernel.testing.simulator.seen import Seen
from kernel.testing.simulator.world import World

_SHOWS = frozenset({Guard.SLEEP_IS_LATEST, Guard.STATUS_AS_SEEN})
"""Under what the status of a run is shown that goes on."""


class DueIndex:
    """Judges what becomes of the heads' ``due``."""

    def __init__(self, world: World, limits: Limits) -> None:
        """Nothing is due."""
        self._world = world
        self._limits = limits
        # A clock that is off puts what it writes into the index as far off.
        self._slack = WILD if world.weather.wild else limits.max_skew

    def updated(self, seen: Seen, change: HeadUpdate, before: Head, after: Head) -> None:
        """A head was changed."""
        fail, acting = self._world.fail, self._world.acting
        if after.due_seq < before.due_seq:
            fail("no-run-is-forgotten", f"due_seq went back from {before.due_seq} to {after.due_seq}")
        if before.due is None and after.due is not None and after.due_seq <= seen.state.seq:
            fail("one-look-at-a-time", "a finished run is due again, though nobody is about to reopen it")
        if change.guard in _SHOWS and after.due_seq == seen.state.seq and seen.state.asleep is not None:
            self._shown(seen, after)
        if change.guard is Guard.DUE_AS_SEEN:
            if before.due != change.seen_due:
                fail("one-look-at-a-time", f"a tick takes what another has: due is {before.due}, not {change.seen_due}")
            if acting is not None:
                acting.looks_at.add(seen.ref)

    def _shown(self, seen: Seen, head: Head) -> None:
        """Nobody looks at a run that sleeps, so what lists show of it must be right."""
        paused = seen.state.paused is not None
        if not seen.state.status.finished and (head.status == heads.PAUSED) != paused:
            what = "paused" if paused else "not paused"
            self._world.fail("status-is-true", f"a run that sleeps and is {what} is shown as {head.status}")

    def expired(self, head: Head, now: int | None = None) -> bool:
        """Whether a run's retention is over by every clock: now, or at another true time."""
        return (self._world.now if now is None else now) >= head.expires + self._slack

    def maybe_expired(self, head: Head) -> bool:
        """Whether a run's retention is over by some clock."""
        return self._world.now + self._slack >= head.expires

    def read(self, seen: Seen) -> None:
        """Something of a run was read: by a tick only if it has moved ``due`` itself, so that no other looks as well.

        A tick whose claim took effect and whose reply was lost has moved it, too.
        """
        acting = self._world.acting
        if acting is not None and acting.name.startswith("tick") and seen.ref not in acting.looks_at:
            self._world.fail("one-look-at-a-time", f"{acting.name} looks at a run that it has not taken")

    def kept(self, seen: Seen) -> None:
        """Invariant 2, after a write.

        ``due`` is a time of the clock of whoever wrote it, so it may be off by as much as that clock is. Until when a
        run sleeps follows from the times in its log, whoever's they are, so what is said about that is exact.
        """
        head, state, now = seen.head, seen.state, self._world.now
        fail, limits = self._world.fail, self._limits
        near = now + limits.look_grace + self._slack
        due = head.due
        if due is None and self.maybe_expired(head):
            return
        if state.status.finished:
            if due is None and head.status != state.status.value:
                fail("status-is-true", f"a run that is {state.status} is left as {head.status}")
            if due is not None and due > near:
                fail("no-run-is-forgotten", f"finished, and nobody looks for {due - now} ms")
            return
        if due is None:
            fail("no-run-is-forgotten", "an open run left the due index")
        if state.asleep is None:
            if due > near:
                fail("no-run-is-forgotten", f"an awake run is not looked at for {due - now} ms")
            return
        lead = max(2 * limits.tick, limits.look_grace)
        if due > max(near, state.asleep - lead):
            fail("no-run-is-forgotten", f"asleep until {state.asleep}, looked at only at {due}")
        step = plan(state, now, limits.max_skew)
        if isinstance(step, Idle) and state.asleep > step.until + limits.max_skew:
            fail("no-run-is-forgotten", f"asleep until {state.asleep}, but needed at {step.until}")

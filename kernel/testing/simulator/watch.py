"""The watch: sees every write at the moment it takes effect, and says which invariant it breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from zlib import crc32

from msgspec import Struct
from msgspec.json import encode

from kernel.core.codec import decode_snapshot, initial_state
from kernel.core.definition import Definition
from kernel.core.events import RUN_LEVEL, AnyEvent, RunCreated, StageStarted, Value
from kernel.core.evolve import fold
from kernel.core.plan import Idle, plan
from kernel.core.state import State
from kernel.ports import (
    HEAD,
    LOG,
    Commit,
    Data,
    Dead,
    Guard,
    Head,
    HeadUpdate,
    Item,
    Live,
    Published,
    RunRef,
    Snapshot,
    log_key,
)
from kernel.shell import heads
from kernel.shell.environment import Environment, Limits
from kernel.shell.load import creation, events_of, load
from kernel.testing.simulator.traffic import Traffic
from kernel.testing.simulator.witness import EXPECTED_ERRORS, GARBLED, Witness
from kernel.testing.simulator.world import Actor, World

MADE_UP = ("one", "two")
"""Ids of the workflows that the simulator makes up."""
LATEST = 10_000
"""Milliseconds that a timer may be late on top of a tick and the look grace: skew, and calls on the way."""


class Seen(Struct):
    """What the watch knows of a run.

    Attributes:
        head, state: as they are.
        witness: of its log.
        commits: its log.
        wanted: places of the events that are to be published, in order.
        settled: of those, the ones that the sink has taken or that are dead letters.
        submitted: the last place that was submitted for the first time.
    """

    head: Head
    state: State
    witness: Witness
    commits: list[Commit]
    wanted: list[tuple[int, int]]
    settled: set[tuple[int, int]]
    submitted: tuple[int, int] = (-1, -1)


class Watch:
    """Judges what happens to the store and to the sink.

    Attributes:
        runs: what is known of each run.
        states: abstract states that were reached, as digests.
        fetch: gives the text of a recorded value.
    """

    def __init__(
        self, world: World, traffic: Traffic, limits: Limits, definitions: Mapping[tuple[str, int], Definition]
    ) -> None:
        """See nothing yet."""
        self.runs: dict[RunRef, Seen] = {}
        self.states: set[int] = set()
        self.fetch: Callable[[RunRef, Value], bytes] = lambda _ref, _value: b""
        self._world = world
        self._traffic = traffic
        self._limits = limits
        self._definitions = definitions
        self._clocks = not world.weather.wild  # good enough to hold times against them

    # --- the store -------------------------------------------------------------------------------------------------

    def put(self, ref: RunRef, item: Item, existing: Item | None) -> None:
        """An item was written where ``existing`` was."""
        self._tenant(ref)
        match item:
            case Head():
                self._created(ref, item, existing)
            case Commit():
                self._committed(ref, item, existing)
            case Snapshot():
                self._snapshot(ref, item, existing)
            case Data():
                if isinstance(existing, Data) and existing.body != item.body:
                    self._world.fail("recorded-is-immutable", f"{item.key} was overwritten")
            case Live():
                self._alive(ref, item)
            case Dead():
                self.runs[ref].settled.add((item.seq, item.index))
        self._settled(ref)

    def updated(self, ref: RunRef, change: HeadUpdate, before: Head, after: Head) -> None:
        """A head was changed."""
        self._tenant(ref)
        seen, fail = self.runs[ref], self._world.fail
        seen.head = after
        if after.due_seq < before.due_seq:
            fail("no-run-is-forgotten", f"due_seq went back from {before.due_seq} to {after.due_seq}")
        if (after.published, after.published_events) < (before.published, before.published_events):
            fail("cursor-never-goes-back", f"from {before.published} to {after.published}")
        if before.due is None and after.due is not None and after.due_seq <= seen.state.seq:
            fail("one-look-at-a-time", "a finished run is due again, though nobody is about to reopen it")
        if change.guard is Guard.DUE_AS_SEEN and before.due != change.seen_due:
            fail("one-look-at-a-time", f"a tick takes what another has: due is {before.due}, not {change.seen_due}")
        if before.status not in (heads.OPEN, heads.PARKED) and change.guard is Guard.STATUS_AS_SEEN:
            fail("status-is-true", f"a run that is {before.status} is shown as {after.status}")
        unsettled = [place for place in seen.wanted if place[0] <= after.published and place not in seen.settled]
        if unsettled:
            fail("published-at-least-once", f"the cursor passed {unsettled}")
        self._settled(ref)

    def read(self, ref: RunRef) -> None:
        """Something of a run was read."""
        if ref in self.runs:
            self._tenant(ref)

    def _tenant(self, ref: RunRef) -> None:
        acting = self._world.acting
        if acting is not None and acting.touches not in (None, ref):
            self._world.fail("tenants-are-apart", f"{acting.name} is about {acting.touches} and touched {ref}")

    def _created(self, ref: RunRef, head: Head, existing: Item | None) -> None:
        if existing is not None:
            self._world.fail("accepted-is-kept", "a run was created over another one")
        identity, created = creation(ref, head)
        definition = self._definitions[head.workflow, head.version]
        limits = self._limits
        self.runs[ref] = Seen(
            head=head,
            state=initial_state(identity, created),
            witness=Witness(
                definition,
                head.deadline,
                self._world.fail,
                lambda value: self.fetch(ref, value),
                timers=self._clocks,
                latest=LATEST + limits.tick + limits.look_grace if self._traffic.silent else None,
                errors=self._errors(definition),
            ),
            commits=[],
            wanted=self._wanted(0, created),
            settled=set(),
        )

    def _errors(self, definition: Definition) -> frozenset[str] | None:
        """What stages can fail with; a workflow that is not of the simulator's making may say anything."""
        if definition.id not in MADE_UP:
            return None
        return EXPECTED_ERRORS | GARBLED if self._world.weather.rates["garbled"] else EXPECTED_ERRORS

    def _committed(self, ref: RunRef, commit: Commit, existing: Item | None) -> None:
        fail = self._world.fail
        if existing is not None:
            fail("one-commit-per-number", f"commit {commit.seq} was overwritten")
        seen = self.runs.get(ref)
        if seen is None:
            fail("accepted-is-kept", "a commit of a run that is not there")
        if commit.seq != seen.state.seq + 1:
            fail("one-commit-per-number", f"commit {commit.seq} after {seen.state.seq}")
        if commit.at < seen.state.at:
            fail("times-never-decrease", f"{commit.at} after {seen.state.at}")
        acting = self._acting()
        events = events_of(ref, commit)
        for event in events:
            seen.witness.see(commit, event, acting.read_at, acting.began)
            if isinstance(event, StageStarted):
                acting.claims[event.stage] = (commit.seq, acting.read_at + event.lease - commit.at)
        fold(seen.state, commit.seq, commit.at, events)
        seen.commits.append(commit)
        seen.wanted += self._wanted(commit.seq, events)

    def _acting(self) -> Actor:
        acting = self._world.acting
        assert acting is not None  # noqa: S101 - only actors write
        return acting

    def _wanted(self, seq: int, events: tuple[AnyEvent, ...]) -> list[tuple[int, int]]:
        publish = self._limits.publish
        if publish == "none":
            return []
        return [(seq, index) for index, event in enumerate(events) if publish == "all" or isinstance(event, RUN_LEVEL)]

    def _snapshot(self, ref: RunRef, snapshot: Snapshot, existing: Item | None) -> None:
        fail, seen = self._world.fail, self.runs[ref]
        if isinstance(existing, Snapshot) and (existing.seq, existing.fold) >= (snapshot.seq, snapshot.fold):
            fail("snapshots-go-forward", f"snapshot {snapshot.seq} over {existing.seq}")
        _, created = creation(ref, seen.head)
        decoded = decode_snapshot(snapshot.body, created[0]) if isinstance(created[0], RunCreated) else None
        if plain(decoded) != plain(self._folded(ref, seen, snapshot.seq)):
            fail("replay-equals-live", f"the snapshot of {snapshot.seq} is not what the log says")

    def _folded(self, ref: RunRef, seen: Seen, seq: int) -> State:
        """The log up to a commit, folded from its beginning."""
        identity, created = creation(ref, seen.head)
        state = initial_state(identity, created)
        for commit in seen.commits[:seq]:
            fold(state, commit.seq, commit.at, events_of(ref, commit))
        return state

    def _alive(self, ref: RunRef, live: Live) -> None:
        acting = self._acting()
        lasts = live.until - (acting.read_at + acting.offset)
        self.runs[ref].witness.lives[live.seq] = (self._world.now, acting.read_at + lasts)

    def _settled(self, ref: RunRef) -> None:
        """After each write: the run is where somebody will find it, and another abstract state was reached."""
        seen = self.runs.get(ref)
        if seen is not None:
            if self._clocks:
                self._kept(seen)
            self._note(ref, seen)

    def _kept(self, seen: Seen) -> None:
        """Invariant 2, at this moment."""
        head, state, now = seen.head, seen.state, self._world.now
        fail, limits = self._world.fail, self._limits
        near = now + limits.look_grace + limits.max_skew
        due = head.due
        if state.status.finished:
            if due is None and head.status != state.status.value:
                fail("status-is-true", f"a run that is {state.status} is left as {head.status}")
            if due is not None and due > near:
                fail("no-run-is-forgotten", f"finished, and nobody looks for {due - now} ms")
            return
        if now + limits.max_skew >= head.expires:
            return  # its retention is over
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

    def _note(self, ref: RunRef, seen: Seen) -> None:
        head, state = seen.head, seen.state
        due, now = head.due, self._world.now
        abstract = (
            state.status.value,
            head.status,
            sorted({state.stages[id_].status.value for id_ in state.active}),
            state.asleep is not None,
            "gone" if due is None else "past" if due <= now else "ahead",
            (head.due_seq > state.seq) - (0 < head.due_seq < state.seq),
            head.published < state.seq,
            self._traffic.about(ref.run),
        )
        self.states.add(crc32(repr(abstract).encode()))

    # --- the sink --------------------------------------------------------------------------------------------------

    def submitted(self, event: Published, problem: str | None) -> None:
        """An event was submitted to the sink, which took it or did not."""
        fail, seen = self._world.fail, self.runs[RunRef(event.tenant, event.run)]
        run, seq, index = event.id.split("#")
        place = (int(seq), int(index))
        if run != event.run or place not in seen.wanted:
            fail("published-at-least-once", f"{event.id} is not in the log, or not to be published")
        if place > seen.submitted:
            skipped = [each for each in seen.wanted if seen.submitted < each < place and each not in seen.settled]
            if skipped:
                fail("published-in-order", f"{place} before {skipped}")
            seen.submitted = place
        if problem is None:
            seen.settled.add(place)

    # --- the end ---------------------------------------------------------------------------------------------------

    def finish(self, env: Environment, ref: RunRef) -> None:
        """A run is over and left alone: everything that can be said about it then. ``env`` meets no faults."""
        fail, seen = self._world.fail, self.runs[ref]
        head = env.store.get(ref, HEAD)
        if head != seen.head:
            fail("accepted-is-kept", "the head is not what was written")
        if self._world.now >= seen.head.expires and seen.head.due is None and seen.head.published < seen.state.seq:
            return  # its retention was over before it was, or before the sink took what it had to tell
        if not seen.witness.over:
            fail("quiet-at-last", "its log has no end")
        session = load(env.store, ref, seen.head.created)
        if session is None or plain(session.state) != plain(self._folded(ref, seen, seen.state.seq)):
            fail("replay-equals-live", "what is loaded is not what the log says")
        stored = env.store.range(ref, LOG, log_key(9_999_999_999), limit=1_000_000)
        if list(stored) != seen.commits:
            fail("one-commit-per-number", "the log is not what was written")
        error = seen.state.error
        if error is not None and error.kind == "DeadlineExceeded" and seen.witness.at_leisure:
            fail("quiet-at-last", "a run that had time enough ended by its deadline")
        unsettled = [place for place in seen.wanted if place not in seen.settled]
        if unsettled:
            fail("published-at-least-once", f"{unsettled} never were")
        if (head_status := seen.head.status) != seen.state.status.value:
            fail("status-is-true", f"a run that is {seen.state.status} is left as {head_status}")


def plain(state: State | None) -> bytes:
    """All of a state, to be compared: recorded values by their text."""
    return encode(state)

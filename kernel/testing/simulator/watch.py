"""The watch: sees every write at the moment it takes effect, and says which invariant it breaks.

It judges the log, the heads and what else is stored; ``witness`` and ``ending`` judge what a log says, ``due_index``
who finds a run, ``lateness`` when, ``business_keys`` who holds which, ``published`` what the sink is given, and
``last_look`` what is there at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from zlib import crc32

from kernel.core.codec import decode_snapshot, initial_state
from kernel.core.definition import Definition
from kernel.core.events import AnyEvent, EventReceived, RunCreated, RunFailed, StageStarted, Value
from kernel.core.evolve import fold
from kernel.ports import (
    Commit,
    Data,
    Dead,
    Guard,
    Head,
    HeadUpdate,
    Inbox,
    Item,
    Key,
    Live,
    Published,
    RunRef,
    Snapshot,
    business_key,
    keys_of,
    readable,
)
from kernel.shell import heads
from kernel.shell.environment import Environment, Limits
from kernel.shell.load import creation, events_of
from kernel.testing.simulator import last_look
from kernel.testing.simulator.books import Books
from kernel.testing.simulator.business_keys import BusinessKeys
from kernel.testing.simulator.due_index import DueIndex
from kernel.testing.simulator.flows import Flow
from kernel.testing.simulator.last_look import plain
from kernel.testing.simulator.lateness import Lateness
from kernel.testing.simulator.moves import Moves, rules_of
from kernel.testing.simulator.published import Outbox
from kernel.testing.simulator.seen import INPUT, Seen, values_of
from kernel.testing.simulator.traffic import Transport
from kernel.testing.simulator.witness import EXPECTED_ERRORS, GARBLED, Witness
from kernel.testing.simulator.world import Actor, World

GRAPHS, MACHINE = ("one", "two"), "three"
MADE_UP = (*GRAPHS, MACHINE)
"""Ids of the workflows, and of the machine, that the simulator makes up."""


class Watch:
    """Judges what happens to the store and to the sink.

    Attributes:
        runs: what is known of each run.
        states: abstract states that were reached, as digests.
        fetch: gives the text of a recorded value.
        overdue: told of each run that is failed by its deadline.
        keys: judges who holds which business key.
    """

    def __init__(
        self, world: World, traffic: Transport, limits: Limits, builds: Mapping[tuple[str, int], tuple[Flow, ...]]
    ) -> None:
        """See nothing yet."""
        self.runs: dict[RunRef, Seen] = {}
        self.states: set[int] = set()
        self.fetch: Callable[[RunRef, Value], bytes] = lambda _ref, _value: b""
        self.overdue: Callable[[RunRef], None] = lambda _ref: None
        self._world = world
        self._traffic = traffic
        self._limits = limits
        self._builds = {key: tuple(flow.definition for flow in flows) for key, flows in builds.items()}
        self._rules = {key: rules_of(flows[0], told=key[0] in MADE_UP) for key, flows in builds.items()}
        self._timers = not world.weather.wild  # clocks are good enough to hold times against them
        self._due = DueIndex(world, limits)
        self.keys = BusinessKeys(world, self.runs, self._due)
        self._lateness = Lateness(world, limits) if traffic.silent else None

    # --- the store -------------------------------------------------------------------------------------------------

    def put(self, ref: RunRef, item: Item, existing: Item | None) -> None:  # noqa: C901 - one case for each kind of item
        """An item was written where ``existing`` was."""
        self._tenant(ref)
        if isinstance(item, Commit) and self.gone(ref):
            self._outlived(ref, item)
        if ref in self.runs and self.runs[ref].crumbling:
            return  # there is no log any more that it could be part of
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
            case Inbox():
                self._inbox(ref, item, existing)
            case Key():
                self.keys.put(ref.tenant, item, existing)
            case Dead():
                self.runs[ref].outbox.settled.add((item.seq, item.index))
        self._settled(ref)

    def _inbox(self, ref: RunRef, item: Inbox, existing: Item | None) -> None:
        """An external event was accepted, looked at by a tick, or settled."""
        seen, fail = self.runs[ref], self._world.fail
        books = seen.witness.books
        if isinstance(existing, Inbox) and existing.due is None:
            fail("applied-once", f"{item.id} is settled again")
        if isinstance(existing, Inbox) and (existing.name, existing.digest) != (item.name, item.digest):
            fail("accepted-is-kept", f"{item.id} is another event now")
        seen.inbox[item.id] = item
        if item.due is not None:
            books.waiting.setdefault(item.id, self._world.now)
            return
        books.waiting.pop(item.id, None)
        if (item.id in books.received) is bool(item.refused):
            fail(
                "applied-once", f"{item.id} is {'refused, though' if item.refused else 'settled, but was not'} applied"
            )
        if item.refused and isinstance(existing, Inbox):
            self._refused(seen, existing, item.refused)

    def _refused(self, seen: Seen, item: Inbox, why: str) -> None:
        """A machine takes an event or does not, by what it declares; unless nobody could read it."""
        moves = seen.witness.books.moves
        if moves is None or self._due.maybe_expired(seen.head) or self._world.weather.counts["garbled"]:
            return
        if " threw " in why and moves.rules.told:
            return  # it would have led to what its functions, or those of its stages, cannot tell
        if not moves.refusable(item, self._acting().began):
            self._world.fail("transitions-fit", f"{item.id} is refused, which {moves.ahead} takes: {why}")

    def visit(self, ref: RunRef, seq: int) -> int:
        """How often a machine's state or transition had been left by a commit; of anything else, never."""
        moves = self.runs[ref].witness.books.moves
        return 0 if moves is None else moves.visit(seq)

    def updated(self, ref: RunRef, change: HeadUpdate, before: Head, after: Head) -> None:
        """A head was changed."""
        self._tenant(ref)
        seen, fail = self.runs[ref], self._world.fail
        seen.head = after
        if before.status not in heads.GOES_ON and change.guard is Guard.STATUS_AS_SEEN:
            fail("status-is-true", f"a run that is {before.status} is shown as {after.status}")
        self._due.updated(seen, change, before, after)
        if (after.published, after.published_events) < (before.published, before.published_events):
            fail("cursor-never-goes-back", f"from {before.published} to {after.published}")
        if seen.crumbling:
            return
        if unsettled := seen.outbox.unsettled(after.published):
            fail("published-at-least-once", f"the cursor passed {unsettled}")
        self._settled(ref)

    def crumbled(self, ref: RunRef) -> None:
        """Something of a run vanished, whose retention is over."""
        self.runs[ref].crumbling = True

    def gone(self, ref: RunRef) -> bool:
        """Whether a run's retention is over by every clock, so that there is no such run for anybody."""
        return ref in self.runs and self._due.expired(self.runs[ref].head)

    def read(self, ref: RunRef) -> None:
        """Something of a run was read."""
        if ref in self.runs:
            if not self._shares_a_key(ref):
                self._tenant(ref)
            self._due.read(self.runs[ref])

    def _shares_a_key(self, ref: RunRef) -> bool:
        """Whether a run has the business key of the one that the actor is about: who wants it asks who holds it."""
        touches = self._world.acting.touches if self._world.acting else None
        mine, theirs = self.runs.get(touches) if touches else None, self.runs[ref]
        return mine is not None and self.keys.same(mine, theirs)

    def _tenant(self, ref: RunRef) -> None:
        acting = self._world.acting
        touches = acting.touches if acting else None
        if acting is not None and touches is not None and ref not in (touches, keys_of(touches.tenant)):
            self._world.fail("tenants-are-apart", f"{acting.name} is about {acting.touches} and touched {ref}")

    def _created(self, ref: RunRef, head: Head, existing: Item | None) -> None:
        if existing is not None:
            self._world.fail("accepted-is-kept", "a run was created over another one")
        identity, created = creation(ref, head)
        builds = self._builds[head.workflow, head.version]
        fail = self._world.fail
        books = Books(builds, fail, self._world.now, head.deadline, stages={}, lives={}, done=[])
        recorded: dict[tuple[str, int], tuple[Value, bytes]] = {}
        self.runs[ref] = seen = Seen(
            ref=ref,
            head=head,
            state=initial_state(identity, created),
            witness=Witness(
                books,
                lambda stage, seq: recorded[stage, seq][1],
                timers=self._timers,
                errors=self._errors(builds[0]),
            ),
            commits=[],
            outbox=Outbox(self._limits.publish, fail),
            recorded=recorded,
        )
        self._record(seen, 0, created)
        self.keys.begins(seen)
        if rules := self._rules[head.workflow, head.version]:
            moves = Moves(rules, books, lambda value: self.fetch(ref, value), lambda: self._world.now)
            moves.input = recorded[INPUT, 0][1]
            books.moves = moves

    def _errors(self, definition: Definition) -> frozenset[str] | None:
        """What stages can fail with; a workflow that is not of the simulator's making may say anything."""
        if definition.id not in MADE_UP:
            return None
        return EXPECTED_ERRORS | GARBLED if self._world.weather.rates["garbled"] else EXPECTED_ERRORS

    def _record(self, seen: Seen, seq: int, events: tuple[AnyEvent, ...]) -> None:
        """Keep what was recorded, to be compared in the end, and what is to be published."""
        seen.outbox.committed(seq, events)
        for name, value in (each for event in events for each in values_of(event)):
            seen.recorded[name, seq] = (value, self.fetch(seen.ref, value))

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
        if self._lateness is not None:
            self._lateness.judge(seen.witness.books)
        acting = self._acting()
        self._signed(acting, commit)
        handing = acting.process.name if acting.process and acting.hands_back else ""
        events = events_of(ref, commit)
        self._record(seen, commit.seq, events)
        for event in events:
            if isinstance(event, EventReceived) and event.event not in seen.witness.books.waiting:
                fail("applied-once", f"{event.event} is applied, which was never accepted, or is settled")
            seen.witness.see(commit, event, acting.read_at, acting.began, handing)
            if isinstance(event, StageStarted):
                self._begun(acting, event)
                acting.claims[event.stage] = (commit.seq, acting.read_at + event.lease - commit.at)
            elif isinstance(event, RunFailed) and event.error.kind == "DeadlineExceeded":
                self.overdue(ref)
        seen.witness.seen()
        fold(seen.state, commit.seq, commit.at, events)
        seen.commits.append(commit)
        self.keys.committed(seen, events)

    def _signed(self, acting: Actor, commit: Commit) -> None:
        """A worker that is a process of its own says so in all that it commits: else it could hand nothing back."""
        if acting.process is not None and commit.by != acting.process.name:
            self._world.fail("commits-tell-their-worker", f"{commit.by} is what {acting.process.name} calls itself")

    def _begun(self, acting: Actor, event: StageStarted) -> None:
        """Of a worker that was told to stop, a thread begins no more than what it was just about to."""
        told = acting.process.told_at if acting.process is not None else None
        if told is None or acting.read_at <= told:
            return
        acting.late += 1
        if acting.late > 1:
            self._world.fail(
                "who-stops-begins-nothing", f"{event.stage} begins {acting.read_at - told} ms after its worker was told"
            )

    def handed_back(self, ref: RunRef, stage: str, claim: int, since: int) -> None:
        """A worker has handed back an attempt, and all that it has done since true time ``since`` went well.

        Somebody goes on with the stage, or has a message that says so, long before the lease would have been over.
        """
        seen, weather = self.runs[ref], self._world.weather
        books = seen.witness.books
        known = books.of(stage)
        left = books.over or books.paused is not None or seen.head.status == heads.PARKED or seen.crumbling
        if (known.status, known.claim) != ("expired", claim) or left or self._due.maybe_expired(seen.head):
            return
        if weather.since(since) or weather.counts["outage"] or weather.wild:
            return
        process = self._world.acting.process if self._world.acting is not None else None
        at_it = any(actor.touches == ref and actor.process is not process for actor in self._world.actors)
        if not at_it and not any(message.poke.stage == stage for message in self._traffic.about(ref.run)):
            self._world.fail(
                "timers-are-hardly-late",
                f"{stage} was handed back {self._world.now - since} ms ago, and nobody was told",
            )

    def _outlived(self, ref: RunRef, commit: Commit) -> None:
        """Only who has looked at a run before its retention was over can still take it for one."""
        began, head = self._acting().began, self.runs[ref].head
        if self._due.expired(head, began):
            self._world.fail(
                "gone-is-gone", f"{commit.key} was written by somebody who came after the end of retention"
            )

    def _acting(self) -> Actor:
        acting = self._world.acting
        assert acting is not None  # noqa: S101 - only actors write
        return acting

    def _snapshot(self, ref: RunRef, snapshot: Snapshot, existing: Item | None) -> None:
        fail, seen = self._world.fail, self.runs[ref]
        if isinstance(existing, Snapshot) and (existing.seq, existing.fold) >= (snapshot.seq, snapshot.fold):
            fail("snapshots-go-forward", f"snapshot {snapshot.seq} over {existing.seq}")
        _, created = creation(ref, seen.head)
        decoded = decode_snapshot(snapshot.body, created[0]) if isinstance(created[0], RunCreated) else None
        if plain(decoded) != plain(seen.folded(snapshot.seq)):
            fail("replay-equals-live", f"the snapshot of {snapshot.seq} is not what the log says")

    def _alive(self, ref: RunRef, live: Live) -> None:
        acting = self._acting()
        lasts = live.until - (acting.read_at + acting.offset)
        self.runs[ref].witness.books.lives[live.seq] = (self._world.now, acting.read_at + lasts)

    def _settled(self, ref: RunRef) -> None:
        """After each write: the run is where somebody will find it, and another abstract state was reached."""
        seen = self.runs.get(ref)
        if seen is not None:
            self._due.kept(seen)
            self._note(ref, seen)

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
            bool(self._traffic.about(ref.run)),
        )
        self.states.add(crc32(repr(abstract).encode()))

    # --- the sink, the clock and the end ---------------------------------------------------------------------------

    def submitted(self, event: Published, problem: str | None) -> None:
        """An event was submitted to the sink, which took it or did not."""
        self.runs[RunRef(event.tenant, event.run)].outbox.submitted(event, problem)

    def time_passed(self) -> None:
        """A tick begins: nothing has waited too long for it."""
        if self._lateness is not None:
            for seen in self.runs.values():
                self._lateness.judge(seen.witness.books)

    def finish(self, env: Environment, ref: RunRef) -> None:
        """A run is over and left alone. ``env`` meets no faults."""
        seen = self.runs[ref]
        last_look.judge(self._world, env, seen)
        if seen.head.business_key and not self._due.maybe_expired(seen.head):
            key = env.store.get(keys_of(ref.tenant), business_key(seen.head.workflow, seen.head.business_key))
            self.keys.left(seen, readable(key))

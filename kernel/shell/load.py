"""Loading a run: snapshot, head and the newest commits by one descending read, folded into a ``Session``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kernel.core.codec import decode_events, decode_snapshot, initial_state
from kernel.core.definition import DATA, EVENT, RUN_INPUT, Given, MissingValue, recorded
from kernel.core.events import (
    AnyEvent,
    EventReceived,
    RunCreated,
    StageCompleted,
    StageSuspended,
    StateEntered,
    TransitionStarted,
    TransitionTaken,
    Value,
)
from kernel.core.evolve import FOLD_VERSION, fold
from kernel.core.state import Identity, State
from kernel.errors import CorruptLog, LogError, NotFound
from kernel.ports import (
    LOG,
    SNAPSHOT,
    Commit,
    Found,
    Head,
    Live,
    RunRef,
    Snapshot,
    Store,
    Unreadable,
    log_key,
    readable,
)
from kernel.shell.environment import Environment
from kernel.shell.insist import insist
from kernel.shell.logs import log
from kernel.shell.values import fetch

PAGE = 20
"""Items of the first read. A snapshot is at most 16 commits old in most runs, so one read is enough."""
MORE = 200
"""Items of each further read."""


SPARE = 3_600
"""Seconds that what belongs to a run outlives its retention."""


def ttl_of(expires: int) -> int:
    """When the store may delete what belongs to a run that ``expires`` then: an hour later, in seconds.

    So that whoever looked at the run just before, or by a clock that is late, finds all of it.
    """
    return -(-expires // 1000) + SPARE


class Session:
    """A run as one worker, tick or request sees it: its head and state, and what of its log is at hand.

    Attributes:
        ref: which run.
        head: its head as last seen.
        state: its state as of the last commit known.
        recent: events of the commits at hand, by number.
        times: when each of those was made, in milliseconds.
        snapshot_seq: number that the latest known snapshot covers; 0 without one.
        snapshot_size: its size in bytes.
    """

    __slots__ = (
        "_damaged",
        "_offered",
        "_values",
        "head",
        "recent",
        "ref",
        "snapshot_seq",
        "snapshot_size",
        "state",
        "times",
    )

    def __init__(self, ref: RunRef, head: Head, state: State, recent: dict[int, tuple[AnyEvent, ...]]) -> None:
        """Hold what was loaded."""
        self.ref = ref
        self.head = head
        self.state = state
        self.recent = recent
        self.times = {0: head.created}
        self.snapshot_seq = 0
        self.snapshot_size = 0
        self._values: dict[tuple[str, int], bytes] = {}
        self._offered: dict[str, bytes] = {}
        self._damaged: dict[tuple[str, int], LogError] = {}

    @property
    def identity(self) -> Identity:
        """What never changes about the run."""
        return self.state.identity

    @property
    def ttl(self) -> int:
        """When the store may delete what belongs to the run, in seconds; its head lives a week longer."""
        return ttl_of(self.head.expires)

    def offer(self, stage: str, text: bytes) -> None:
        """Have the output of ``stage`` at hand for the commit that is about to record it."""
        self._offered[stage] = text

    def withdraw(self, stage: str) -> None:
        """No commit will record what was offered."""
        self._offered.pop(stage, None)

    def settle(self) -> None:
        """The commit landed: what was offered is now recorded by it."""
        for stage, text in self._offered.items():
            self._values[stage, self.state.seq] = text
        self._offered.clear()

    def recall(self, stage: str, seq: int) -> bytes:
        """The output of ``stage`` in commit ``seq``, if it is at hand.

        Raises:
            MissingValue: it has to be fetched first, by ``provide``.
            LogError: it cannot be read, as ``provide`` has found out.
        """
        if damaged := self._damaged.get((stage, seq)):
            raise damaged
        known = self._values.get((stage, seq))
        if known is None and seq == self.state.seq + 1:
            # What a wait gives is what its event carries, of which a commit receives but one.
            received = (text for name, text in self._offered.items() if name.startswith(EVENT))
            known = self._offered.get(stage) or next(received, None)
        if known is None:
            raise MissingValue(stage, seq)
        return known

    def provide(self, env: Environment, stage: str, seq: int, until: float) -> None:
        """Have the output of ``stage`` in commit ``seq`` at hand for ``recall``, or what is wrong with it."""
        assert seq <= self.state.seq, (stage, seq)  # noqa: S101 - what is being decided is at hand, or offered
        try:
            self.output(env, stage, seq, until)
        except LogError as error:
            self._damaged[stage, seq] = error

    def value(self, env: Environment, stage: str, until: float | None = None) -> Given:
        """The recorded outcome of a finished stage, fetched if need be, until the monotonic time ``until``.

        Raises:
            NotUpstream: the stage has no outcome.
            InfrastructureError: it could not be read.
        """
        found = recorded(self.state, stage)
        return self.output(env, stage, found, until) if isinstance(found, int) else found

    def output(self, env: Environment, stage: str, seq: int, until: float | None = None) -> bytes:
        """The output of ``stage`` in commit ``seq``, fetched if need be."""
        known = self._values.get((stage, seq))
        if known is None:
            known = self._values[stage, seq] = self._fetch(env, stage, seq, StageCompleted, until)
        return known

    def check_state(self, env: Environment, stage: str) -> bytes:
        """What a suspended stage left for its check."""
        return self._fetch(env, stage, self.state.stages[stage].seq, StageSuspended, None)

    def _fetch(
        self,
        env: Environment,
        stage: str,
        seq: int,
        kind: type[StageCompleted | StageSuspended],
        until: float | None,
    ) -> bytes:
        with unless_gone(env, self):
            if stage == RUN_INPUT:
                return fetch(env, self.ref, self.input, until)
            events = self.events(env, seq, until)
            if stage == DATA:
                return fetch(env, self.ref, self._data(events, seq), until)
            event = next((each for each in events if isinstance(each, kind) and each.stage == stage), None)
            if event is None:  # the outcome of a wait is what an event carries, of which a commit receives but one
                received = next((each for each in events if isinstance(each, EventReceived)), None)
                if received is not None:
                    return fetch(env, self.ref, received.payload, until)
                message = f"run {self.ref.run}: commit {seq} holds no outcome of {stage}"
                raise CorruptLog(message)
            kept = event.output if isinstance(event, StageCompleted) else event.state
            if kept is None:
                message = f"run {self.ref.run}: {stage} waits for a callback, and left nothing for a check"
                raise CorruptLog(message)
            return fetch(env, self.ref, kept, until)

    def _data(self, events: Sequence[AnyEvent], seq: int) -> Value:
        """A machine's data, of which a commit may hold several: the last counts."""
        moved = StateEntered | TransitionStarted | TransitionTaken
        given = [each.data for each in events if isinstance(each, moved) and each.data is not None]
        if not given:
            message = f"run {self.ref.run}: commit {seq} holds no data of a machine"
            raise CorruptLog(message)
        return given[-1]

    @property
    def input(self) -> Value:
        """The run's input, as recorded."""
        if self.state.input is None:
            message = f"run {self.ref.run}: its creation event holds no input"
            raise CorruptLog(message)
        return self.state.input

    def events(self, env: Environment, seq: int, until: float | None = None) -> tuple[AnyEvent, ...]:
        """The events of a commit, read if they are not at hand."""
        known = self.recent.get(seq)
        if known is None:
            with unless_gone(env, self):
                item = readable(insist(env, lambda: env.store.get(self.ref, log_key(seq)), until))
                if not isinstance(item, Commit):
                    message = f"run {self.ref.run}: commit {seq} is missing"
                    raise CorruptLog(message)
                self.times[seq] = item.at
                known = self.recent[seq] = events_of(self.ref, item)
        return known


def events_of(ref: RunRef, commit: Commit) -> tuple[AnyEvent, ...]:
    """The events of a commit, decoded."""
    return decode_events(commit.v, commit.events, f"run {ref.run}, commit {commit.seq},")


def creation(ref: RunRef, head: Head) -> tuple[Identity, tuple[AnyEvent, ...]]:
    """What the head tells: the run's identity, and the events of commit 0."""
    identity = Identity(
        tenant=ref.tenant,
        run=ref.run,
        workflow=head.workflow,
        version=head.version,
        fingerprint=head.fingerprint,
        created=head.created,
        deadline=head.deadline,
        expires=head.expires,
        business_key=head.business_key,
    )
    return identity, decode_events(head.v, head.events, f"run {ref.run}, commit 0,")


def load(store: Store, ref: RunRef, now: Callable[[], int]) -> Session | None:
    """Load a run as it is; None if there is no such run, or its retention is over by ``now``, in milliseconds.

    Once its retention is over, the store may have deleted any part of it, so none of it counts.

    Raises:
        LogError: its log cannot be read.
    """
    items = store.range(ref, LOG, SNAPSHOT, limit=PAGE, descending=True)
    head = next((item for item in items if isinstance(item, Head)), None)
    if head is None:
        _newest(ref, items)  # tells if it is there, but cannot be read
        return None
    if now() >= head.expires:
        return None
    try:
        return _read(store, ref, head, items)
    except LogError:
        if now() >= head.expires:  # it was not when the reading began
            return None
        raise


def _read(store: Store, ref: RunRef, head: Head, items: Sequence[Found]) -> Session:
    """The run of which these are the newest items."""
    snapshot, commits = _newest(ref, items)
    identity, created = creation(ref, head)
    state = _from_snapshot(ref, snapshot, created) or initial_state(identity, created)
    base = state.seq
    full = len(items) == PAGE
    while full and commits and commits[-1].seq > base + 1:
        older = store.range(ref, log_key(base + 1), log_key(commits[-1].seq - 1), limit=MORE, descending=True)
        commits.extend(item for item in map(readable, older) if isinstance(item, Commit))
        full = len(older) == MORE
    session = Session(ref, head, state, {0: created})
    if snapshot and base:
        session.snapshot_seq, session.snapshot_size = snapshot.seq, len(snapshot.body)
    for commit in reversed(commits):
        _append(session, commit)
    return session


def _newest(ref: RunRef, items: Sequence[Found]) -> tuple[Snapshot | None, list[Commit]]:
    """The snapshot and the newest commits, latest first."""
    snapshot: Snapshot | None = None
    commits: list[Commit] = []
    for item in items:
        match item:
            case Commit():
                commits.append(item)
            case Snapshot() if item.fold == FOLD_VERSION:
                snapshot = item
            case Unreadable(key=key) if key == SNAPSHOT:
                _ignore(ref, item.error)
            case _:
                readable(item)
    return snapshot, commits


def _from_snapshot(ref: RunRef, snapshot: Snapshot | None, created: tuple[AnyEvent, ...]) -> State | None:
    """The state that a snapshot holds; None without one, or with one that cannot be read: the log tells all of it."""
    if snapshot is None or not isinstance(created[0], RunCreated):
        return None
    try:
        return decode_snapshot(snapshot.body, created[0])
    except Exception as error:  # noqa: BLE001 - a snapshot may be thrown away, whatever is wrong with it
        _ignore(ref, error)
        return None


def _ignore(ref: RunRef, error: Exception) -> None:
    log.warning("snapshot ignored", extra={"run": ref.run, "error": str(error)})


def _append(session: Session, commit: Commit) -> None:
    if commit.seq <= session.state.seq:
        return
    if commit.seq != session.state.seq + 1:
        message = f"run {session.ref.run}: commit {session.state.seq + 1} is missing before {commit.seq}"
        raise CorruptLog(message)
    session.times[commit.seq] = commit.at
    events = session.recent[commit.seq] = events_of(session.ref, commit)
    fold(session.state, commit.seq, commit.at, events)


def catch_up(env: Environment, session: Session) -> None:
    """Fold the commits that others have made since."""
    with unless_gone(env, session):
        for commit in commits_after(env.store, session.ref, session.state.seq):
            _append(session, commit)


@contextmanager
def unless_gone(env: Environment, session: Session) -> Iterator[None]:
    """What cannot be read of a run whose retention has ended meanwhile is gone, not damaged.

    Raises:
        NotFound: it is.
    """
    try:
        yield
    except LogError as error:
        if env.clock.now() < session.head.expires:
            raise
        message = f"run {session.ref.run} is gone: its retention is over"
        raise NotFound(message) from error


def sign_of_life(env: Environment, session: Session, stage: str) -> Live | None:
    """The last that the attempt which runs a stage let us know."""
    item = insist(env, lambda: env.store.get(session.ref, Live(session.state.stages[stage].seq, 0, None, 0).key))
    return item if isinstance(item, Live) else None


def commits_after(store: Store, ref: RunRef, seq: int, page: int = MORE) -> Iterator[Commit]:
    """The commits after number ``seq``, in order and without gaps, consistently read, page by page.

    Raises:
        LogError: one is missing, or cannot be read.
    """
    while True:
        items = store.range(ref, log_key(seq + 1), log_key(9_999_999_999), limit=page)
        for item in (item for item in map(readable, items) if isinstance(item, Commit)):
            if item.seq != seq + 1:
                message = f"run {ref.run}: commit {seq + 1} is missing before {item.seq}"
                raise CorruptLog(message)
            yield item
            seq = item.seq
        if len(items) < page:
            return

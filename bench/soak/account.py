"""A run as the audit sees it: what is stored of it, what was accepted of it, and what its stages did outside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct, field

from bench.soak.effects import Effect, digest
from kernel.core import codec
from kernel.core.definition import Definition
from kernel.core.events import AnyEvent, StageCompleted
from kernel.core.evolve import fold
from kernel.core.state import State
from kernel.errors import OnewriteError
from kernel.ports import Head, RunRef
from kernel.shell import read
from kernel.shell.environment import Environment
from kernel.shell.load import commits_after, events_of, load
from kernel.shell.values import fetch

Kind = Literal["lost", "doubled", "stuck", "broken"]
"""What can be found: something accepted or recorded is gone; something happened twice or changed; a run is not over;
another promise does not hold.
"""
KINDS: tuple[Kind, ...] = ("lost", "doubled", "stuck", "broken")


class Finding(Struct, frozen=True):
    """Something that must not be.

    Attributes:
        kind: what.
        run: id of the run.
        text: in words.
    """

    kind: Kind
    run: str
    text: str


class Asked(Struct, frozen=True):
    """What was accepted of a run besides its start.

    Attributes:
        created: how many answers said that they had created it.
        cancels, reopens: how many commands were accepted.
    """

    created: int = 1
    cancels: int = 0
    reopens: int = 0


class Entry(Struct, frozen=True):
    """A commit.

    Attributes:
        seq, at, token, by: as stored.
        events: decoded.
        results: digests of the outputs that it records, by stage.
        over: the run is finished as of this commit.
    """

    seq: int
    at: int
    token: str
    events: tuple[AnyEvent, ...]
    results: dict[str, str] = {}
    over: bool = False
    by: str = ""


class Account(Struct):
    """Everything about one run.

    Attributes:
        ref: which run.
        asked: what was accepted.
        effects: what its stages did, in order of time.
        stopped: names of the workers that were told to stop, which may hand back what they have begun.
        head, definition: None if it is gone.
        log: its commits from number 1, as they are stored, in order.
        state: the fold, as a worker would load it.
        replayed: the fold of the log alone, if the state came from a snapshot.
        unreadable: why it cannot be read, if it cannot.
    """

    ref: RunRef
    asked: Asked = Asked()
    effects: Sequence[Effect] = ()
    stopped: frozenset[str] = frozenset()
    head: Head | None = None
    definition: Definition | None = None
    log: list[Entry] = field(default_factory=list)
    state: State | None = None
    replayed: State | None = None
    unreadable: str = ""

    def found(self, kind: Kind, text: str) -> Finding:
        """A finding about this run."""
        return Finding(kind, self.ref.run, text)

    @property
    def events(self) -> Iterator[tuple[Entry, AnyEvent]]:
        """All events, in order, each with its commit."""
        return ((entry, event) for entry in self.log for event in entry.events)


def account_of(
    env: Environment,
    ref: RunRef,
    asked: Asked,
    effects: Sequence[Effect],
    stopped: frozenset[str] = frozenset(),
) -> Account:
    """Read a run with everything about it. What cannot be read is noted, not raised."""
    account = Account(ref, asked, effects, stopped)
    try:
        _read(env, account)
    except OnewriteError as error:
        account.unreadable = str(error)
    return account


def _read(env: Environment, account: Account) -> None:
    session = load(env.store, account.ref, lambda: 0)
    if session is None:
        return
    account.head, account.state = session.head, session.state
    head = session.head
    account.definition = env.definitions.find(head.workflow, head.version, head.fingerprint)
    if session.snapshot_seq:
        account.replayed = read.replay(env, session)
    state = codec.initial_state(session.identity, session.recent[0])
    for commit in commits_after(env.store, account.ref, 0):
        events = events_of(account.ref, commit)
        fold(state, commit.seq, commit.at, events)
        results = {
            event.stage: digest(json.loads(fetch(env, account.ref, event.output)))
            for event in events
            if isinstance(event, StageCompleted)
        }
        account.log.append(
            Entry(commit.seq, commit.at, commit.token, events, results, state.status.finished, commit.by)
        )


def by_run(effects: Sequence[Effect]) -> Mapping[str, list[Effect]]:
    """Effects by the run that they belong to."""
    found: dict[str, list[Effect]] = {}
    for effect in effects:
        found.setdefault(effect.run, []).append(effect)
    return found

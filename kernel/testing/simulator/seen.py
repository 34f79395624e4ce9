"""What the watch has seen of one run."""

from __future__ import annotations

from msgspec import Struct

from kernel.core.codec import initial_state
from kernel.core.definition import DATA, EVENT
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
from kernel.core.evolve import fold
from kernel.core.state import State
from kernel.ports import Commit, Head, Inbox, RunRef
from kernel.shell.load import creation, events_of
from kernel.testing.simulator.published import Outbox
from kernel.testing.simulator.witness import Witness

INPUT, CONFIG = "input", "config"
"""How the recorded values of commit 0 are named here; no stage is named so."""


class Seen(Struct):
    """What the watch knows of a run.

    Attributes:
        ref: which.
        head, state: as they are.
        witness: of its log.
        commits: its log.
        outbox: what of it is to be published, and was.
        recorded: every value that its log refers to, and its text when it was committed, by the name of what it is an
            outcome of and the number of the commit.
        inbox: external events that were accepted, by id.
        crumbling: its retention is over, and the store has begun to delete it.
    """

    ref: RunRef
    head: Head
    state: State
    witness: Witness
    commits: list[Commit]
    outbox: Outbox
    recorded: dict[tuple[str, int], tuple[Value, bytes]]
    inbox: dict[str, Inbox] = {}
    crumbling: bool = False

    def folded(self, seq: int) -> State:
        """The log up to a commit, folded from its beginning."""
        identity, created = creation(self.ref, self.head)
        state = initial_state(identity, created)
        for commit in self.commits[:seq]:
            fold(state, commit.seq, commit.at, events_of(self.ref, commit))
        return state


def values_of(event: AnyEvent) -> list[tuple[str, Value]]:
    """The values that an event records, each with the name of what it is an outcome of."""
    match event:
        case RunCreated():
            return [(INPUT, event.input), *([(CONFIG, event.config)] if event.config is not None else [])]
        case StageCompleted():
            return [(event.stage, event.output)]
        case EventReceived():
            return [(EVENT + event.event, event.payload)]
        case StateEntered() | TransitionStarted() | TransitionTaken():
            return [] if event.data is None else [(DATA, event.data)]
        case StageSuspended():
            return [] if event.state is None else [(event.stage, event.state)]
        case _:
            return []

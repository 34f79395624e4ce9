"""The invariants of DESIGN, checked on a run that is over: what every harness asks after everything it did."""

from __future__ import annotations

from kernel.core import codec
from kernel.core.events import (
    RUN_LEVEL,
    Closed,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
    StageCompleted,
    StageStarted,
)
from kernel.ports import HEAD, LOG, SNAPSHOT, Commit, Head, RunRef
from kernel.shell import read
from kernel.shell.load import load
from kernel.testing.play import Play


def check(play: Play, ref: RunRef) -> None:
    """Every invariant that can be seen on a finished run's items, by name."""
    play.faults.choose = lambda _call: None  # looking is not part of what is tested
    items = play.store.range(ref, LOG, SNAPSHOT, limit=1_000_000)
    head = play.store.get(ref, HEAD)
    assert isinstance(head, Head), "accepted-is-kept: the run is gone"
    commits = [item for item in items if isinstance(item, Commit)]
    numbers = [commit.seq for commit in commits]
    assert numbers == list(range(1, len(numbers) + 1)), f"one-commit-per-number: {numbers}"
    assert len({commit.token for commit in commits}) == len(commits), "one-commit-per-number: a token came twice"
    times = [head.created, *(commit.at for commit in commits)]
    assert times == sorted(times), f"times decrease along the log: {times}"

    session = load(play.store, ref)
    assert session is not None
    assert session.state.status.finished, "quiet-at-last: the run is not over"
    replayed = read.replay(play.env, session)
    # Recorded values are compared by their text: Raw compares by identity.
    live, again = codec.encode_snapshot(session.state), codec.encode_snapshot(replayed)
    assert live == again, "replay-equals-live"
    assert head.due is None, "no-run-is-forgotten: a finished run is still in the due index"
    assert head.status == session.state.status.value, f"the head says {head.status}"
    assert head.published == session.state.seq, "published-at-least-once: the cursor is behind"

    _check_events(play, ref, commits)
    _check_published(play, ref, commits)


def _check_events(play: Play, ref: RunRef, commits: list[Commit]) -> None:
    session = load(play.store, ref)
    assert session is not None
    definition = play.env.definitions.find(session.head.workflow, session.head.version, session.head.fingerprint)
    assert definition is not None
    starts: dict[str, int] = {}
    completed: set[str] = set()
    over = False
    for commit in commits:
        for event in codec.decode_events(commit.v, commit.events, "test"):
            if isinstance(event, RunReopened):
                over = False
                for stage in event.reset:
                    starts.pop(stage, None)
                    completed.discard(stage)
            assert not over or isinstance(event, Closed), f"cancel-wins-whole: {event} after the end"
            if isinstance(event, StageStarted):
                starts[event.stage] = starts.get(event.stage, 0) + 1
                allowed = definition.stages[event.stage].retry.attempts
                assert starts[event.stage] <= allowed, f"attempts-are-bounded: {event.stage}"
                needs = [] if ":" in event.stage else definition.program.needs(event.stage)
                assert completed.issuperset(needs), f"order-holds: {event.stage} before {needs}"
            if isinstance(event, StageCompleted):
                assert event.stage not in completed, f"recorded-is-immutable: {event.stage} twice"
                completed.add(event.stage)
            over = over or isinstance(event, RunCompleted | RunFailed | RunCancelled)
    assert over, "quiet-at-last: no end in the log"


def _check_published(play: Play, ref: RunRef, commits: list[Commit]) -> None:
    due = [(0, 0)] + [
        (commit.seq, index)
        for commit in commits
        for index, event in enumerate(codec.decode_events(commit.v, commit.events, "test"))
        if isinstance(event, RUN_LEVEL)
    ]
    seen: list[tuple[int, int]] = []
    for event in play.sink.events:
        if event.run == ref.run:
            _, seq, index = event.id.split("#")
            place = (int(seq), int(index))
            if place not in seen:
                seen.append(place)
    assert seen == due, f"published-at-least-once, in order of first submission: {seen} instead of {due}"

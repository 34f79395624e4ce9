"""The judgement at the end: what can be said of a run once it is over and left alone."""

from __future__ import annotations

from msgspec.json import encode

from kernel.core.definition import DATA, EVENT, RUN_INPUT
from kernel.core.state import StageStatus, State
from kernel.errors import LogError
from kernel.ports import HEAD, LOG, log_key
from kernel.shell import read
from kernel.shell.environment import Environment
from kernel.shell.load import Session, load
from kernel.shell.values import fetch
from kernel.testing.simulator.seen import INPUT, Seen
from kernel.testing.simulator.world import World


def judge(world: World, env: Environment, seen: Seen) -> None:
    """Everything that can be said of a run that is over. ``env`` meets no faults."""
    fail = world.fail
    head = env.store.get(seen.ref, HEAD)
    if head != seen.head:
        fail("accepted-is-kept", "the head is not what was written")
    expired = world.now >= seen.head.expires
    if expired and load(env.store, seen.ref, lambda: world.now) is not None:
        fail("gone-is-gone", "its retention is over, and it is there")
    final = (seen.head.status, seen.head.published) == (seen.state.status.value, seen.state.seq)
    if seen.crumbling or (expired and seen.head.due is None and not final):
        return  # its retention was over before it was, or before the sink took what it had to tell
    books = seen.witness.books
    if not books.over:
        fail("quiet-at-last", "its log has no end")
    session = load(env.store, seen.ref, lambda: seen.head.created)
    if session is None or plain(session.state) != plain(seen.folded(seen.state.seq)):
        fail("replay-equals-live", "what is loaded is not what the log says")
    stored = env.store.range(seen.ref, LOG, log_key(9_999_999_999), limit=1_000_000)
    if list(stored) != seen.commits:
        fail("one-commit-per-number", "the log is not what was written")
    if books.waiting:
        fail("accepted-is-kept", f"{', '.join(books.waiting)} were accepted, and nobody has said what became of them")
    _end(world, seen)
    try:
        _values(world, env, seen, session)
    except LogError as broken:
        fail("recorded-is-immutable", repr(broken))


def _end(world: World, seen: Seen) -> None:
    """It ended as it should, and everybody knows."""
    error = seen.state.error
    if error is not None and error.kind == "DeadlineExceeded" and seen.witness.books.at_leisure:
        world.fail("quiet-at-last", "a run that had time enough ended by its deadline")
    if unsettled := seen.outbox.unsettled():
        world.fail("published-at-least-once", f"{unsettled} never were")
    if (status := seen.head.status) != seen.state.status.value:
        world.fail("status-is-true", f"a run that is {seen.state.status} is left as {status}")


def _values(world: World, env: Environment, seen: Seen, session: Session) -> None:
    """Every value that was recorded is what it was, however it is asked for."""
    for (name, seq), (value, text) in seen.recorded.items():
        if fetch(env, seen.ref, value) != text:
            world.fail("recorded-is-immutable", f"what commit {seq} records of {name} is not what it was")
    books, texts = seen.witness.books, _outcomes(seen, session)
    for name, text in texts.items():
        if session.value(env, name) != text:
            world.fail("recorded-is-immutable", f"what is read as {name or 'the input'} is not what was recorded")
    if seen.state.status.value == "completed":
        expected = tuple(texts.get(id_, b"null") for id_ in books.definition.program.outcome())
        if read.result(env, session, books.definition) != expected:
            world.fail("recorded-is-immutable", "the result of the run is not what the log says")


def _outcomes(seen: Seen, session: Session) -> dict[str, bytes]:
    """What is to be read as the input, and as the outcome of each stage and wait."""
    books, texts = seen.witness.books, {RUN_INPUT: seen.recorded[INPUT, 0][1]}
    for id_, stage in session.state.stages.items():
        if stage.status is not StageStatus.COMPLETED:
            continue
        if id_ in books.definition.code:
            texts[id_] = seen.recorded[id_, stage.seq][1]
        elif (
            books.moves is None and id_ in books.taken
        ):  # what a wait gives is what its event carries; a timer gives nothing
            texts[id_] = seen.recorded[EVENT + books.taken[id_], stage.seq][1]
    if books.moves is not None and books.moves.state:
        texts[DATA] = books.moves.text
    return texts


def plain(state: State | None) -> bytes:
    """All of a state, to be compared: recorded values by their text."""
    return encode(state)

"""Snapshots (S2): a bounded tail at a small constant share of the cost; any can be dropped, none is ever needed."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from math import ceil

import pytest
from msgspec.structs import replace

from kernel.core.codec import encode_snapshot
from kernel.core.evolve import FOLD_VERSION
from kernel.errors import CorruptLog
from kernel.ports import HEAD, SNAPSHOT, Guard, RunRef, Snapshot, log_key
from kernel.shell import read
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from onewrite import Context
from tests.shell.script import Flow, Note, Script, calls, commits_of, line, session_of, state_of, unreadable


def sequence(script: Script, count: int, *, chain: bool = True) -> Flow:
    """So many stages in a row."""
    return line(*(script.stage(f"s{number}") for number in range(count)), chain=chain)


def taken(play: Play) -> list[Snapshot]:
    """Snapshots that were written, in order."""
    puts = [call.arguments[1] for call in play.faults.calls if (call.port, call.method) == ("store", "put")]
    return [item for item in puts if isinstance(item, Snapshot)]


def halfway(script: Script, count: int = 40) -> tuple[Play, RunRef, Flow]:
    """A run that has a snapshot and goes on."""
    play = Play(flow := sequence(script, count, chain=False))
    ref = play.start(flow, Note())
    for _ in range(count - 10):
        play.step()
    assert play.store.get(ref, SNAPSHOT) is not None
    return play, ref, flow


@pytest.mark.parametrize("count", [1, 12, 15])
def test_a_short_run_never_pays_for_one(script: Script, count: int) -> None:
    play = Play(flow := sequence(script, count))
    ref = play.run(flow, Note()).ref
    assert len(commits_of(play, ref)) <= 16
    assert taken(play) == []


def test_the_tail_is_bounded_by_sixteen_commits_or_eight_for_each_kilobyte(script: Script) -> None:
    names = (sha256(bytes(number)).hexdigest()[:40] for number in range(400))  # hard to compress, as people's are not
    play = Play(flow := line(*(script.stage(f"s{name}") for name in names)))
    play.run(flow, Note())
    snapshots = taken(play)
    assert len(snapshots[-1].body) > 3 * 1_024, "large enough to matter"
    for before, after in pairwise(snapshots):
        kilobytes = ceil(len(after.body) / 1_024)
        assert max(16, 8 * kilobytes) <= after.seq - before.seq <= max(16, 8 * (kilobytes + 1))


def test_a_run_loads_the_same_with_and_without_one(script: Script) -> None:
    play, ref, _ = halfway(script)
    with_it = state_of(play, ref)
    play.store.delete(ref, SNAPSHOT)
    without = state_of(play, ref)
    assert encode_snapshot(with_it) == encode_snapshot(without)
    assert with_it.seq == without.seq


@pytest.mark.parametrize("what", ["dropped", "damaged", "newer fold", "older fold"])
def test_a_run_goes_on_when_its_snapshot_is_gone_damaged_or_of_another_fold(script: Script, what: str) -> None:
    play, ref, _ = halfway(script)
    kept = play.store.get(ref, SNAPSHOT)
    assert isinstance(kept, Snapshot)
    play.store.delete(ref, SNAPSHOT)
    if what == "damaged":
        play.store.put(ref, replace(kept, body=b"in a shape that nobody here can read"))
    elif what != "dropped":
        other = state_of(play, ref)
        other.stages.clear()
        fold = FOLD_VERSION + {"newer fold": 1, "older fold": -1}[what]
        play.store.put(ref, replace(kept, fold=fold, body=encode_snapshot(other)))
    play.play([ref])
    assert play.ended(ref).status == "completed"
    assert script.calls == [f"s{number}" for number in range(40)]


def test_a_newer_fold_replaces_a_snapshot_of_an_older_one_at_the_same_commit(script: Script) -> None:
    play, ref, _ = halfway(script)
    kept = play.store.get(ref, SNAPSHOT)
    assert isinstance(kept, Snapshot)
    newer, older = replace(kept, fold=kept.fold + 1), replace(kept, fold=kept.fold - 1)
    assert play.store.put(ref, older, Guard.SNAPSHOT_FORWARD) is not None
    assert play.store.put(ref, newer, Guard.SNAPSHOT_FORWARD) is None
    assert play.store.put(ref, kept, Guard.SNAPSHOT_FORWARD) is not None


def test_a_run_with_nothing_newer_than_its_snapshot_can_be_read(script: Script) -> None:
    """AlgaPSA: replay crashes when nothing is newer than the snapshot."""
    play, ref, _ = halfway(script)
    state = state_of(play, ref)
    play.store.put(ref, Snapshot(state.seq, FOLD_VERSION, encode_snapshot(state), 0))
    shown = read.show(play.env, ref)
    assert shown.seq == state.seq
    assert session_of(play, ref).snapshot_seq == state.seq
    play.play([ref])
    assert play.ended(ref).status == "completed"


def test_a_snapshot_that_cannot_be_written_fails_nothing(script: Script) -> None:
    def choose(call: Call) -> Fault | None:
        snapshot = call.method == "put" and isinstance(call.arguments[1], Snapshot)
        return Fault.UNAVAILABLE if snapshot else None

    play = Play(flow := sequence(script, 40))
    play.faults.choose = choose
    ended = play.run(flow, Note())
    assert ended.status == "completed"
    assert len(script.calls) == 40


def test_a_long_log_is_read_to_its_begin_where_there_is_no_snapshot(script: Script) -> None:
    play, ref, _ = halfway(script, 320)
    with_it = encode_snapshot(state_of(play, ref))
    assert len(commits_of(play, ref)) > 600
    play.store.delete(ref, SNAPSHOT)
    assert encode_snapshot(state_of(play, ref)) == with_it


@pytest.mark.parametrize("seq", [1, 30, 45, 59])
def test_a_gap_in_the_log_is_noticed(script: Script, seq: int) -> None:
    play, ref, _ = halfway(script)
    play.store.delete(ref, SNAPSHOT)
    play.store.delete(ref, log_key(seq))
    with pytest.raises(CorruptLog, match=f"commit {seq} is missing before {seq + 1}"):
        play.attend(ref)


def test_a_snapshot_that_cannot_be_read_is_ignored(script: Script) -> None:
    play, ref, _ = halfway(script)
    with_it = encode_snapshot(state_of(play, ref))
    unreadable(play, ref, SNAPSHOT)
    assert encode_snapshot(state_of(play, ref)) == with_it


@pytest.mark.parametrize("key", [HEAD, log_key(1), log_key(45), log_key(59)])
def test_a_run_of_which_anything_else_cannot_be_read_is_left_alone(script: Script, key: str) -> None:
    play, ref, _ = halfway(script)
    play.store.delete(ref, SNAPSHOT)
    unreadable(play, ref, key)
    calls = len(script.calls)
    with pytest.raises(CorruptLog, match=f"item {key} cannot be read"):
        play.attend(ref)
    assert len(script.calls) == calls


def test_a_load_of_a_long_run_is_one_read(script: Script) -> None:
    play, ref, _ = halfway(script, 400)
    before = calls(play, "range")
    play.attend(ref, "nothing")
    assert calls(play, "range") - before <= 2


def test_outputs_of_before_the_snapshot_are_still_there(script: Script) -> None:
    seen: list[Note] = []

    def look(ctx: Context) -> None:
        seen.append(ctx.output(first))

    first = script.stage("first", lambda _ctx: Note(text="long ago"))
    between = (script.stage(f"s{number}") for number in range(40))
    play = Play(flow := line(first, *between, script.stage("last", look), chain=False))
    play.run(flow, Note())
    assert seen == [Note(text="long ago")]

"""Reading (R10, R12, S1): runs as they are and were, their logs by page, lists without loss or repeats, and waiting."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.core.events import RunCompleted, RunCreated, StageCompleted, StageStarted
from kernel.errors import InvalidInput, NotFound
from kernel.ports import SNAPSHOT, Listed, RunRef
from kernel.shell import read
from kernel.shell.environment import Limits
from kernel.testing.faults import Call
from kernel.testing.play import Play
from onewrite import Context, PermanentError
from tests.shell.flows import Order, steps
from tests.shell.script import (
    MINUTE,
    Note,
    Script,
    commits_of,
    fork,
    line,
    pending,
    session_of,
    throws,
    work,
)

SHARDS = 3


def played(script: Script) -> tuple[Play, RunRef, int]:
    """Three stages that each take a minute, and when they began."""

    def act(_ctx: Context) -> None:
        play.clock.move(MINUTE)

    flow = line(*(script.stage(id_, act) for id_ in "abc"))
    play = Play(flow)
    begun = play.clock.now()
    ref = play.start(flow, Note())
    play.step(seconds=3_000)
    return play, ref, begun


# --- as it is, and as it was ------------------------------------------------------------------------------------------


def test_a_run_is_shown_with_its_stages_in_order(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.job("c", pending(9))))
    ref = play.start(flow, Note())
    work(play)
    shown = read.show(play.env, ref)
    assert [(each.stage, each.status, each.attempt) for each in shown.stages] == [
        ("a", "completed", 1),
        ("b", "completed", 1),
        ("c", "suspended", 1),
    ]
    assert (shown.run, shown.tenant, shown.workflow, shown.version) == (ref.run, "test", "flow", 1)
    assert shown.stages[2].at == play.clock.now() + MINUTE


def test_a_run_is_shown_as_of_any_commit(script: Script) -> None:
    play, ref, _ = played(script)
    done = [
        [each.stage for each in read.show(play.env, ref, seq=seq).stages if each.status == "completed"]
        for seq in range(5)
    ]
    assert done == [[], [], ["a"], ["a", "b"], ["a", "b", "c"]]
    assert [read.show(play.env, ref, seq=seq).status for seq in (0, 3, 4)] == ["running", "running", "completed"]


def test_a_run_is_shown_as_of_any_time(script: Script) -> None:
    play, ref, begun = played(script)
    seqs = [read.show(play.env, ref, at=begun + minutes * MINUTE).seq for minutes in (0, 1, 2, 3, 99)]
    assert seqs == [1, 2, 3, 4, 4]
    assert read.show(play.env, ref, at=begun + MINUTE - 1).seq == 1


@pytest.mark.parametrize("seq", [-1, 5, 10**12])
def test_a_commit_that_is_not_there_is_refused_by_saying_which_are(script: Script, seq: int) -> None:
    play, ref, _ = played(script)
    with pytest.raises(InvalidInput, match="commits 0 to 4"):
        read.show(play.env, ref, seq=seq)


def test_a_time_before_the_run_is_not_found(script: Script) -> None:
    play, ref, begun = played(script)
    with pytest.raises(NotFound, match="created after that time"):
        read.show(play.env, ref, at=begun - 1)


@pytest.mark.parametrize("seq", [0, 1, 16, 17, 18, 30, 41])
def test_replay_gives_the_same_with_and_without_a_snapshot(seq: int) -> None:
    """AlgaPSA: replay loses what came between the replay and the snapshot's time stamp."""
    play = Play(steps[40, True])
    ref = play.run(steps[40, True], Order()).ref
    assert play.store.get(ref, SNAPSHOT) is not None
    with_it = read.show(play.env, ref, seq=seq)
    play.store.delete(ref, SNAPSHOT)
    assert read.show(play.env, ref, seq=seq) == with_it
    assert with_it.seq == seq


def test_every_step_of_the_fold_can_be_looked_at(script: Script) -> None:
    play, ref, _ = played(script)
    seen = [(state.seq, len(events)) for events, state in read.steps(play.env, session_of(play, ref))]
    assert seen == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 2)]
    states = [state for _, state in read.steps(play.env, session_of(play, ref))]
    assert states[-1] == session_of(play, ref).state
    assert not states[0].stages, "each step has a state of its own"


# --- the log ----------------------------------------------------------------------------------------------------------


def test_the_log_begins_with_the_creation_and_tells_who_did_what_when(script: Script) -> None:
    play, ref, begun = played(script)
    entries = read.log_page(play.env, ref)
    assert [(entry.seq, entry.by) for entry in entries] == [(0, "test"), *((seq, "worker") for seq in range(1, 5))]
    assert [entry.at - begun for entry in entries] == [0, 0, MINUTE, 2 * MINUTE, 3 * MINUTE]
    kinds = [[type(event) for event in entry.events] for entry in entries]
    assert (kinds[0], kinds[1], kinds[4]) == ([RunCreated], [StageStarted], [StageCompleted, RunCompleted])


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_of_a_log_put_together_are_the_log(limit: int) -> None:
    play = Play(steps[12, True])
    ref = play.run(steps[12, True], Order()).ref
    seqs: list[int] = []
    while page := read.log_page(play.env, ref, after=seqs[-1] if seqs else -1, limit=limit):
        assert len(page) <= limit
        seqs.extend(entry.seq for entry in page)
    assert seqs == list(range(len(commits_of(play, ref)) + 1))


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_waiting_for_what_is_reached_already_returns_at_once(script: Script) -> None:
    """luno/workflow: waiting for a status that was already reached hangs."""
    play = Play(flow := line(script.stage("a")))
    ref = play.run(flow, Note()).ref
    before = play.clock.now()
    shown = read.wait_for(play.env, ref, timeout=60)
    assert shown is not None
    assert (shown.status, play.clock.now()) == ("completed", before)


def works_meanwhile(play: Play, after: int) -> None:
    """Let workers do their part once the waiting one has looked so many times."""
    looks = [0]

    def choose(call: Call) -> None:
        looks[0] += call.method == "range"
        if looks[0] == after:
            play.faults.choose = lambda _call: None
            work(play)

    play.faults.choose = choose


def test_waiting_returns_once_the_run_is_over(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    works_meanwhile(play, after=5)
    shown = read.wait_for(play.env, ref, timeout=60)
    assert shown is not None
    assert shown.status == "completed"


def test_waiting_ends_when_its_time_is_up_and_not_later(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    before = play.clock.now()
    assert read.wait_for(play.env, ref, timeout=5) is None
    assert 5_000 <= play.clock.now() - before <= 5_100


def test_waiting_without_time_looks_once(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    assert read.wait_for(play.env, ref, timeout=0) is None


def test_waiting_for_a_status_that_never_comes_ends_with_the_run(script: Script) -> None:
    play = Play(flow := line(script.stage("a", throws(PermanentError("no")))))
    ref = play.run(flow, Note()).ref
    shown = read.wait_for(play.env, ref, timeout=60, until=frozenset({"completed"}))
    assert shown is not None
    assert shown.status == "failed"


def test_waiting_for_a_status_before_the_end_returns_with_it(script: Script) -> None:
    flow = line(script.stage("a", compensate=script.undo()), script.stage("b", throws(PermanentError("no"))))
    play = Play(flow)
    ref = play.start(flow, Note())
    play.step(seconds=61)
    seen = read.wait_for(play.env, ref, timeout=1, until=frozenset({"running", "compensating"}))
    assert seen is not None


def test_waiting_for_a_run_that_is_not_there_is_not_found(script: Script) -> None:
    with pytest.raises(NotFound):
        read.wait_for(Play(line(script.stage("a"))).env, RunRef("test", "0" * 24), timeout=60)


# --- lists ------------------------------------------------------------------------------------------------------------


def populated(script: Script, count: int = 40) -> tuple[Play, Any, list[RunRef]]:
    """Runs over several shards, some of which were created in the same millisecond, newest first."""
    play = Play(flow := line(script.stage("a")), line(script.stage("z"), id="other"), limits=Limits(shards=SHARDS))
    refs: list[RunRef] = []
    for number in range(count):
        refs.append(play.start(flow, Note()))
        play.clock.move(1_000 if number % 3 else 0)
    return play, flow, refs


def newest_first(listed: list[Listed]) -> bool:
    order = [(entry.created, entry.ref.run) for entry in listed]
    return order == sorted(order, reverse=True)


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_of_a_list_put_together_hold_every_run_once_newest_first(script: Script, limit: int) -> None:
    play, _, refs = populated(script)
    seen: list[Listed] = []
    cursor: tuple[int, str] | None = None
    while page := read.list_runs(play.env, "test", ["flow"], cursor=cursor, limit=limit):
        assert len(page) <= limit
        seen.extend(page)
        cursor = (page[-1].created, page[-1].ref.run)
    assert newest_first(seen)
    assert len(seen) == len(refs)
    assert {entry.ref for entry in seen} == set(refs)


def test_a_list_can_be_of_one_status(script: Script) -> None:
    play, _, refs = populated(script, 6)
    play.cancel(refs[0])
    play.play([refs[1]])
    assert [entry.ref for entry in read.list_runs(play.env, "test", ["flow"], statuses=["cancelled"])] == [refs[0]]
    assert [entry.ref for entry in read.list_runs(play.env, "test", ["flow"], statuses=["completed"])] == [refs[1]]
    both = read.list_runs(play.env, "test", ["flow"], statuses=["cancelled", "completed"])
    assert {entry.ref for entry in both} == {refs[0], refs[1]}


def test_a_list_can_be_of_a_time(script: Script) -> None:
    play, _, _ = populated(script)
    everything = read.list_runs(play.env, "test", ["flow"], limit=100)
    since, before = everything[20].created, everything[5].created
    wanted = [entry for entry in everything if since <= entry.created < before]
    assert read.list_runs(play.env, "test", ["flow"], since=since, before=before, limit=100) == wanted


def test_a_list_can_be_of_several_workflows(script: Script) -> None:
    play, _, refs = populated(script, 3)
    other = play.start(line(script.stage("z"), id="other"), Note())
    assert read.list_runs(play.env, "test", ["flow", "other"])[0].ref == other
    assert {entry.ref for entry in read.list_runs(play.env, "test", ["flow"])} == set(refs)
    assert read.list_runs(play.env, "test", ["nope"]) == []

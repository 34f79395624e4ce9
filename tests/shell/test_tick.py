"""The tick (DESIGN 5): finds what was lost, reaps what died, and lets no run starve another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from kernel.core.events import LeaseExpired
from kernel.core.state import StageStatus
from kernel.ports import HEAD, Due, Guard
from kernel.shell import heads
from kernel.shell.environment import Limits
from kernel.shell.tick import Counts, tick
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Retry
from tests.shell.script import (
    HOUR,
    SECOND,
    Note,
    Script,
    dies,
    events,
    fork,
    head_of,
    is_commit_of,
    is_under,
    items_of,
    line,
    once,
    once_before,
    pending,
    poke,
    stage_of,
    state_of,
    throws,
    work,
)

TEN = timedelta(minutes=10)


def due_later(play: Play) -> None:
    """Let the time come at which a run that nobody looked at is due."""
    play.clock.move(play.env.limits.look_grace)


def nonzero(counts: Counts) -> dict[str, int]:
    """What a tick did, in short."""
    return {name: getattr(counts, name) for name in counts.__struct_fields__ if getattr(counts, name)}


# --- what was lost ----------------------------------------------------------------------------------------------------


def test_a_run_whose_first_message_was_lost_is_found(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    play.queue.clear()
    play.clock.move(play.env.limits.look_grace - 1)
    assert nonzero(play.tick()) == {}
    play.clock.move(1)
    assert nonzero(play.tick()) == {"looked": 1, "claimed": 1, "flushed": 1}
    work(play)
    assert play.ended(ref).status == "completed"


LOST: dict[str, tuple[Callable[[Script], Any], str]] = {
    "a branch": (lambda s: fork(s.stage("a"), s.stage("b"), s.stage("c")), "claimed"),
    "a retry": (lambda s: line(s.stage("a", throws(ValueError(), 1), retry=Retry(2))), "timers"),
    "a check": (lambda s: line(s.job("a", pending(0))), "suspended"),
    "a worker": (lambda s: line(s.stage("a", dies(1))), "reaped"),
}


@pytest.mark.parametrize("lost", LOST)
def test_what_nobody_comes_for_is_found_and_poked_for(script: Script, lost: str) -> None:
    make, kind = LOST[lost]
    play = Play(flow := make(script))
    ref = play.start(flow, Note())
    with suppress(Crash):
        play.step()
    play.queue.clear()
    due_later(play)
    assert nonzero(play.tick())[kind] == 1
    assert play.queue.waiting
    play.play([ref], days=1)
    assert play.ended(ref).status == "completed"


def test_a_stage_that_was_reaped_is_poked_for_until_a_worker_comes(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note())
    work(play)
    for kind in ("reaped", "claimed", "claimed"):
        play.queue.clear()
        due_later(play)
        assert nonzero(play.tick())[kind] == 1
        assert play.queue.waiting == [poke(ref, "a")]


WAITING: dict[str, Callable[[Script], Any]] = {
    "a retry": lambda s: line(s.stage("a", throws(ValueError(), 1), retry=Retry(2, first=TEN, cap=TEN, jitter=0.0))),
    "a check": lambda s: line(s.job("a", pending(0), every=TEN)),
}


@pytest.mark.parametrize("waiting", WAITING)
def test_what_is_not_due_is_not_poked_for(script: Script, waiting: str) -> None:
    play = Play(flow := WAITING[waiting](script))
    play.start(flow, Note())
    play.step()
    play.queue.clear()
    due_later(play)
    assert nonzero(play.tick()) == {"looked": 1}
    assert not play.queue.waiting


def test_the_tick_runs_no_user_code(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1)), script.job("b", pending(1))))
    play.start(flow, Note())
    work(play)
    before = list(script.calls)
    for _ in range(10):
        play.queue.clear()
        due_later(play)
        play.tick()
    assert script.calls == before


def test_a_stage_whose_lease_goes_on_is_left_alone(script: Script) -> None:
    def during(_ctx: object) -> None:
        play.clock.move(play.env.limits.look_grace)
        assert nonzero(play.tick()) == {"looked": 1, "flushed": 1}

    play = Play(flow := line(script.stage("a", during, timeout=timedelta(minutes=4))))
    ref = play.start(flow, Note())
    play.step()
    assert not events(play, ref, LeaseExpired)
    assert play.ended(ref).status == "completed"


def test_leases_are_not_reaped_within_the_skew_of_clocks(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1))), limits=Limits(look_grace=SECOND))
    ref = play.start(flow, Note())
    with suppress(Crash):
        play.step()
    lease = stage_of(play, ref, "a").at
    play.clock.move(lease + play.env.limits.max_skew - 1 - play.clock.now())
    assert play.tick().reaped == 0
    play.clock.move(play.env.limits.look_grace)
    assert play.tick().reaped == 1
    assert stage_of(play, ref, "a").status is StageStatus.EXPIRED


def test_an_awake_run_is_looked_at_again_within_the_grace(script: Script) -> None:
    """Invariant 2."""
    play = Play(flow := line(script.job("a", pending(99))))
    ref = play.start(flow, Note())
    play.step()
    for _ in range(20):
        due_later(play)
        play.tick()
        due = head_of(play, ref).due
        assert due is not None
        assert due <= play.clock.now() + play.env.limits.look_grace


def test_a_run_that_crashed_on_its_way_out_is_finalised(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_under(call, Guard.FINALISE_IS_LATEST), Fault.CRASH_BEFORE)
    work(play)
    play.queue.clear()
    due_later(play)
    assert play.tick().finalised == 1
    head = head_of(play, ref)
    assert (head.status, head.due, head.published) == ("completed", None, state_of(play, ref).seq)


# --- several ticks, and stale entries ---------------------------------------------------------------------------------


def test_two_ticks_at_once_do_not_do_the_same_work(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    play.start(flow, Note())
    play.queue.clear()
    due_later(play)
    seen: list[Counts] = []
    once_before(play, lambda call: is_under(call, Guard.DUE_AS_SEEN), lambda: seen.append(play.tick()))
    late = play.tick()
    assert (seen[0].claimed, nonzero(late)) == (1, {"skipped": 1})
    assert len(play.queue.waiting) == 1


def test_a_claim_whose_reply_was_lost_is_known_again(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    play.start(flow, Note())
    due_later(play)
    once(play, lambda call: is_under(call, Guard.DUE_AS_SEEN), Fault.LOST_REPLY)
    assert play.tick().looked == 1


def test_runs_that_have_waited_longest_come_first_whatever_their_shard(script: Script) -> None:
    """A tick may end before all are looked at; a crowded shard must not starve the others."""
    play = Play(flow := line(script.stage("a")))
    runs = []
    for _ in range(60):
        runs.append(play.start(flow, Note()))
        play.clock.move(SECOND)
    shards = [heads.shard_of(ref.run, play.env.limits.shards) for ref in runs[:30]]
    assert len(set(shards)) == play.env.limits.shards
    play.queue.clear()
    play.clock.move(HOUR)
    tick(play.env, play.clock.monotonic() + 50, runs=30)
    assert [poke.run for poke in play.queue.waiting] == [ref.run for ref in runs[:30]]


def test_a_head_that_was_not_read_is_not_taken_for_one_whose_retention_is_over(script: Script) -> None:
    """A key whose old run has just vanished may have been started anew: its head must not leave the index."""
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    play.queue.clear()
    due_later(play)
    read, play.store.range = play.store.range, lambda *_arguments, **_named: []  # type: ignore[method-assign]
    assert nonzero(play.tick()) == {"skipped": 1}
    play.store.range = read  # type: ignore[method-assign]
    assert head_of(play, ref).due is not None
    play.play([ref])
    assert play.ended(ref).status == "completed"


def test_a_shard_that_cannot_be_read_keeps_no_tick_from_the_others(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    refs = [play.start(flow, Note()) for _ in range(40)]
    play.queue.clear()
    due_later(play)
    read = play.store.due

    def due(shard: str, until: int, limit: int) -> Any:
        if shard == heads.due_shard(0):
            raise RuntimeError("whatever")
        return read(shard, until, limit)

    play.store.due = due  # type: ignore[method-assign]  # what is wrong with it is nothing that a port promises
    others = [ref for ref in refs if heads.shard_of(ref.run, play.env.limits.shards)]
    assert 0 < len(others) < 40
    counts = play.tick()
    assert (counts.looked, counts.claimed, counts.failed) == (len(others), len(others), 1)


def test_two_reapers_reap_once(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note())
    work(play)
    due_later(play)
    once_before(play, lambda call: is_commit_of(call, "LeaseExpired"), lambda: play.attend(ref))
    counts = play.tick()
    assert (counts.reaped, counts.skipped) == (0, 1)
    assert len(events(play, ref, LeaseExpired)) == 1


@pytest.mark.parametrize("what", ["moved", "finished", "gone", "expired"])
def test_stale_entries_of_the_index_do_no_harm(script: Script, what: str) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    old = head_of(play, ref).due
    assert old is not None
    if what == "moved":
        due_later(play)
        play.tick()
    if what == "finished":
        work(play)
    if what == "gone":
        play.store.delete(ref, HEAD)
    if what == "expired":
        play.clock.move(head_of(play, ref).expires - play.clock.now() + SECOND)
    before = items_of(play, ref)
    stale = {heads.due_shard(heads.shard_of(ref.run, play.env.limits.shards)): [Due(ref, old)]}
    play.store.due = lambda shard, _until, _limit: stale.get(shard, [])  # type: ignore[method-assign, assignment]
    counts = play.tick()
    assert nonzero(counts) == {"skipped": 1}
    if what == "expired":  # it is taken once, out of the index, and left alone
        assert [item.key for item in items_of(play, ref)] == ["~head"]
        assert head_of(play, ref).due is None
    else:
        assert items_of(play, ref) == before


def test_a_tick_with_nothing_due_does_nothing(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    play.run(flow, Note())
    play.start(flow, Note())
    play.faults.calls.clear()
    assert nonzero(play.tick()) == {}
    assert {call.method for call in play.faults.calls} == {"due"}

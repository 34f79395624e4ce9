"""Workers that are told to stop: no further stage is begun, and what is under way can be handed back."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from kernel.core.events import LeaseExpired, StageCompleted, StageStarted
from kernel.core.state import StageStatus
from kernel.errors import Unavailable
from kernel.ports import HIGH, Poke, RunRef
from kernel.shell.attend import attend
from kernel.shell.hand_back import hand_back
from kernel.shell.load import events_of
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Context, Retry
from tests.shell.script import MINUTE, Note, Script, commits_of, dies, events, fork, line, stage_of, work

ME, OTHER = "worker:me", "worker:other"


def attended(play: Play, poke: Poke, by: str = ME) -> None:
    """One look by a worker of this name, which may die of it."""
    with suppress(Crash):
        attend(play.env, poke, play.clock.monotonic() + 300, by=by)


def handed(play: Play, ref: RunRef, by: str = ME) -> list[str]:
    return hand_back(play.env, ref, by, play.clock.monotonic() + 5)


# --- no further stage -------------------------------------------------------------------------------------------------


def test_a_worker_that_stops_ends_its_stage_and_leaves_the_next_to_others_at_once(script: Script) -> None:
    stopping = False

    def told_to_stop(_ctx: Context) -> None:
        nonlocal stopping
        stopping = True

    play = Play(flow := line(script.stage("a", told_to_stop), script.stage("b")))
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None

    attend(play.env, poke, play.clock.monotonic() + 300, by=ME, stopping=lambda: stopping)

    assert script.calls == ["a"]
    assert [each.stage for each in events(play, ref, StageCompleted)] == ["a"]
    assert play.queue.waiting == [Poke(ref.tenant, ref.run, "b")], "the next one is poked for"
    assert stage_of(play, ref, "b").status is StageStatus.SCHEDULED, "and nobody holds it"
    work(play)
    assert play.ended(ref).status == "completed"


def test_a_worker_that_stops_before_it_has_begun_begins_nothing(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None

    seen = attend(play.env, poke, play.clock.monotonic() + 300, by=ME, stopping=lambda: True)

    assert (seen.stages, script.calls) == (0, [])
    assert play.queue.waiting, "somebody else is poked"
    work(play)
    assert play.ended(ref).status == "completed"


# --- handing back -----------------------------------------------------------------------------------------------------


def test_what_is_handed_back_goes_on_elsewhere_long_before_its_lease_is_over(script: Script) -> None:
    flow = line(script.stage("a", dies(1)), script.stage("b"))
    play = Play(flow)
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None
    attended(play, poke)
    lease = stage_of(play, ref, "a").at

    assert handed(play, ref) == ["a"]

    play.play([ref])
    assert play.ended(ref).status == "completed"
    assert [each.attempt for each in events(play, ref, StageStarted) if each.stage == "a"] == [1, 2]
    assert play.clock.now() < lease


def test_the_poke_for_what_is_handed_back_is_of_the_runs_class(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note(), priority="high")
    poke = play.queue.receive()
    assert poke is not None
    attended(play, poke)

    handed(play, ref)

    assert play.queue.waiting == [Poke(ref.tenant, ref.run, "a", priority=HIGH)]


def test_only_what_is_ones_own_is_handed_back(script: Script) -> None:
    flow = fork(script.stage("first"), script.stage("b", dies(1)), script.stage("c", dies(1)))
    play = Play(flow)
    ref = play.start(flow, Note())
    for by in (ME, OTHER):
        poke = play.queue.receive()
        assert poke is not None
        attended(play, poke, by)
    mine, others = (stages_begun(play, ref, by)[-1] for by in (ME, OTHER))

    assert handed(play, ref) == [mine]

    assert stage_of(play, ref, mine).status is StageStatus.EXPIRED
    assert stage_of(play, ref, others).status is StageStatus.RUNNING


def stages_begun(play: Play, ref: RunRef, by: str) -> list[str]:
    """The stages that a worker of this name has claimed, in order."""
    return [
        event.stage
        for commit in commits_of(play, ref)
        if commit.by == by
        for event in events_of(ref, commit)
        if isinstance(event, StageStarted)
    ]


def test_who_was_handed_back_cannot_commit_any_more(script: Script) -> None:
    """A body that goes on although it was told to stop: its attempt is stale."""

    def handed_meanwhile(ctx: Context) -> None:
        if ctx.attempt == 1:
            assert handed(play, ref) == ["a"]

    play = Play(flow := line(script.stage("a", handed_meanwhile)))
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None

    attended(play, poke)

    assert events(play, ref, StageCompleted) == []
    assert len(events(play, ref, LeaseExpired)) == 1
    play.play([ref])
    assert play.ended(ref).status == "completed"


def test_a_result_that_came_first_stays(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    work(play)

    assert handed(play, ref) == []
    assert play.ended(ref).status == "completed"


def test_handing_back_counts_as_an_attempt_so_that_attempts_stay_bounded(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(), retry=Retry(2))))
    ref = play.start(flow, Note())
    for _ in range(20):
        attended(play, Poke(ref.tenant, ref.run, "a"))
        handed(play, ref)
        play.clock.move(MINUTE)
    ended = play.ended(ref)
    assert (ended.status, len(script.calls)) == ("failed", 2)
    assert ended.view.error is not None
    assert ended.view.error.kind == "LeaseLost"


def test_what_is_at_most_once_fails_instead_of_being_started_again(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(), at_most_once=True)))
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None
    attended(play, poke)

    handed(play, ref)

    play.play([ref])
    assert (play.ended(ref).status, script.calls) == ("failed", ["a"])


def test_handing_back_twice_or_with_a_lost_reply_hands_back_once(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None
    attended(play, poke)

    assert (handed(play, ref), handed(play, ref)) == (["a"], [])
    assert len(events(play, ref, LeaseExpired)) == 1


def test_a_run_that_is_gone_or_over_has_nothing_to_hand_back(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    assert handed(play, RunRef("test", "no-such-run")) == []
    ended = play.run(flow, Note())
    assert handed(play, ended.ref) == []


def test_without_the_store_nothing_is_handed_back_and_the_lease_finds_it(script: Script) -> None:
    play = Play(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None
    attended(play, poke)
    play.faults.choose = lambda _call: Fault.UNAVAILABLE

    with pytest.raises(Unavailable):
        handed(play, ref)

    play.faults.choose = lambda _call: None
    play.play([ref])
    assert play.ended(ref).status == "completed"


@pytest.mark.parametrize("by_itself", [False, True])
def test_what_was_handed_back_in_a_pause_goes_on_as_soon_as_the_run_does(script: Script, *, by_itself: bool) -> None:
    play = Play(flow := line(script.stage("a", dies(1))))
    ref = play.start(flow, Note())
    poke = play.queue.receive()
    assert poke is not None
    attended(play, poke)
    play.pause(ref, lasts=timedelta(seconds=30) if by_itself else None)
    assert handed(play, ref) == ["a"]
    play.clock.move(31_500)
    if not by_itself:
        play.resume(ref)

    work(play)

    assert play.look(ref).status == "running"
    assert stage_of(play, ref, "a").status is StageStatus.RETRYING

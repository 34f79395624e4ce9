"""Claims and commits (DESIGN 3, 4): lost and late replies, conflicts; a body runs once, when its claim is sure."""

from __future__ import annotations

from contextlib import suppress

import pytest
from msgspec.structs import replace

from kernel.core.events import StageStarted
from kernel.errors import Unavailable
from kernel.ports import RunRef
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from onewrite import Retry
from tests.shell.script import (
    Note,
    Script,
    commits_of,
    events,
    fork,
    is_commit_of,
    line,
    once,
    once_before,
    poke,
)


def test_the_stage_that_a_poke_names_is_run_first(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c"), chain=False))
    ref = play.start(flow, Note())
    play.step()
    play.attend(ref, "c")
    assert script.calls == ["a", "c"]


@pytest.mark.parametrize("event", ["StageStarted", "StageCompleted"])
def test_a_commit_whose_reply_was_lost_is_known_again_and_not_repeated(script: Script, event: str) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_commit_of(call, event), Fault.LOST_REPLY)
    play.play([ref])
    assert script.calls == ["a", "b"]
    assert [(each.stage, each.attempt) for each in events(play, ref, StageStarted)] == [("a", 1), ("b", 1)]


def test_a_result_is_kept_through_an_outage_that_ends_while_there_is_time(script: Script) -> None:
    """What the body did is not done again."""
    play = Play(flow := line(script.stage("a", retry=Retry(1))))
    ref = play.start(flow, Note())
    ends = play.clock.now() + 100_000

    def choose(call: Call) -> Fault | None:
        return Fault.UNAVAILABLE if is_commit_of(call, "StageCompleted") and play.clock.now() < ends else None

    play.faults.choose = choose
    play.step(seconds=300)
    assert play.ended(ref).status == "completed"
    assert script.calls == ["a"]


def test_a_commit_of_unknown_outcome_is_never_decided_again_once_time_is_up(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    tokens: set[str] = set()

    def choose(call: Call) -> Fault | None:
        if not is_commit_of(call, "StageCompleted"):
            return None
        tokens.add(call.arguments[1].token)
        return Fault.UNAVAILABLE

    play.faults.choose = choose
    with suppress(Unavailable):
        play.step(seconds=100)
    assert len(tokens) == 1, "the same put was retried, and nothing else"
    assert len(commits_of(play, ref)) == 1


def test_a_token_belongs_to_one_commit_even_when_it_is_decided_again(script: Script) -> None:
    """A token that was reused after a refusal could not tell one's own record from another's."""
    flow = fork(script.stage("a"), script.stage("b"), script.stage("c"))
    play = Play(flow)
    ref = play.start(flow, Note())
    once_before(
        play,
        lambda call: is_commit_of(call, "StageCompleted") and len(script.calls) == 2,
        lambda: play.attend(ref, "c"),
    )
    play.play([ref])
    tokens = [commit.token for commit in commits_of(play, ref)]
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize(("late", "seconds"), [(66_000, 300), (45_000, 100)], ids=["lease", "invocation"])
@pytest.mark.parametrize("stage", ["a", "b"])
def test_a_claim_whose_reply_came_too_late_is_dropped_before_its_body_begins(
    script: Script, stage: str, late: int, seconds: float
) -> None:
    """Others may have taken the stage over by then, or the invocation may end before the body."""
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())

    def slow(call: Call) -> None:
        if is_commit_of(call, "StageStarted", stage):
            play.faults.choose = lambda _call: None
            play.clock.move(late)

    play.faults.choose = slow
    play.step(seconds=seconds)
    assert stage not in script.calls
    play.play([ref])
    assert script.calls == ["a", "b"]
    assert [each.attempt for each in events(play, ref, StageStarted) if each.stage == stage] == [1, 2]


def test_two_workers_that_claim_a_stage_at_once_run_it_once(script: Script) -> None:
    play = Play(flow := line(script.stage("a"), chain=False))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageStarted"), lambda: play.attend(ref))
    play.play([ref])
    assert script.calls == ["a"]


def taken(play: Play, ref: RunRef) -> None:
    """Let somebody else have the next number of the log."""
    last = commits_of(play, ref)[-1]
    play.store.put(ref, replace(last, seq=last.seq + 1, token=f"t{last.seq}", events=b'[{"type":"Closed"}]'))


def test_a_commit_that_is_decided_again_chains_by_the_time_that_is_left_then(script: Script) -> None:
    def others() -> None:
        taken(play, ref)
        play.clock.move(45_000)

    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    once_before(play, lambda call: is_commit_of(call, "StageCompleted", "a"), others)
    play.step(seconds=100)
    assert script.calls == ["a"]
    assert poke(ref, "b") in play.queue.waiting


def test_a_commit_that_never_finds_a_place_gives_up_when_its_time_is_over(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    ends = play.clock.monotonic() + 100

    def choose(call: Call) -> None:
        assert call.number < 5_000, "it never gives up"
        if is_commit_of(call, "StageCompleted"):
            taken(play, ref)

    play.faults.choose = choose
    with pytest.raises(Unavailable, match="so busy"):
        play.step(seconds=100)
    assert ends <= play.clock.monotonic() <= ends + 2

"""Pokes and claims (DESIGN 4): early, late, doubled and lost ones; commits whose reply was lost."""

from __future__ import annotations

from contextlib import suppress

import pytest

from kernel.core.events import StageStarted
from kernel.errors import Unavailable
from kernel.ports import Poke
from kernel.shell.attend import Outcome, attend
from kernel.testing.faults import Call, Fault
from kernel.testing.play import Play
from onewrite import Context
from tests.shell.script import (
    MINUTE,
    Note,
    Script,
    commits_of,
    events,
    fork,
    is_commit_of,
    line,
    once,
    once_before,
)


def test_the_stage_that_a_poke_names_is_run_first(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c"), chain=False))
    ref = play.start(flow, Note())
    play.step()
    play.attend(ref, "c")
    assert script.calls == ["a", "c"]


@pytest.mark.parametrize("ref", ["0" * 24, "no-such-run", "a#b", ""], ids=str)
def test_a_poke_for_a_run_that_is_gone_is_done_with(script: Script, ref: str) -> None:
    play = Play(line(script.stage("a")))
    seen = attend(play.env, Poke("test", ref), play.clock.monotonic() + 300)
    assert seen.outcome is Outcome.GONE
    assert not play.queue.waiting


def test_a_poke_that_comes_early_is_sent_again_for_the_rest_rounded_up(script: Script) -> None:
    play = Play(flow := line(script.stage("a")))
    ref = play.start(flow, Note())
    play.queue.clear()
    at = play.clock.now() + 1_500
    early = Poke(ref.tenant, ref.run, "a", at)
    assert attend(play.env, early, play.clock.monotonic() + 300).outcome is Outcome.EARLY
    assert script.calls == []
    assert (play.queue.waiting, play.queue.next_at) == ([early], play.clock.now() + 2_000)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_doubled_messages_do_no_work_twice(script: Script, times: int) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c")).then(script.join("d")))
    ref = play.start(flow, Note())

    def choose(call: Call) -> None:
        if call.method == "send":
            play.faults.choose = lambda _call: None
            for _ in range(times):
                play.queue.send(call.arguments[0])
            play.faults.choose = choose

    play.faults.choose = choose
    play.play([ref])
    assert sorted(script.calls) == ["a", "b", "c", "d"]


def test_a_poke_that_meets_a_live_lease_leaves_one_for_its_end(script: Script) -> None:
    def another(_ctx: Context) -> None:
        play.queue.clear()
        play.attend(ref)
        left.extend((sent.at, sent.stage) for sent in play.queue.waiting)

    left: list[tuple[int, str]] = []
    play = Play(flow := line(script.stage("a", another)))
    ref = play.start(flow, Note())
    begun = play.clock.now()
    play.play([ref])
    assert script.calls == ["a"]
    limits = play.env.limits
    assert left == [(begun + MINUTE + limits.lease_grace + limits.max_skew, "")]


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["StageStarted", "StageCompleted"])
def test_a_commit_whose_reply_was_lost_is_known_again_and_not_repeated(script: Script, event: str) -> None:
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())
    once(play, lambda call: is_commit_of(call, event), Fault.LOST_REPLY)
    play.play([ref])
    assert script.calls == ["a", "b"]
    assert [(each.stage, each.attempt) for each in events(play, ref, StageStarted)] == [("a", 1), ("b", 1)]


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


@pytest.mark.parametrize("stage", ["a", "b"])
def test_a_claim_that_expired_before_its_body_began_is_dropped(script: Script, stage: str) -> None:
    """The reply took so long that others may have taken the stage over."""
    play = Play(flow := line(script.stage("a"), script.stage("b")))
    ref = play.start(flow, Note())

    def slow(call: Call) -> None:
        if is_commit_of(call, "StageStarted", stage):
            play.faults.choose = lambda _call: None
            play.clock.move(66_000)

    play.faults.choose = slow
    play.step(seconds=100)
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

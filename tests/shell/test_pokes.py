"""Pokes and claims (DESIGN 4): early, late, doubled and lost ones; commits whose reply was lost."""

from __future__ import annotations

import pytest

from kernel.ports import Poke, RunRef
from kernel.shell.attend import Outcome, attend
from kernel.shell.environment import Limits
from kernel.testing.faults import Call
from kernel.testing.play import Play
from onewrite import Context
from tests.shell.script import (
    MINUTE,
    Note,
    Script,
    fork,
    line,
    poke,
)


def test_the_stage_that_a_poke_names_is_run_first(script: Script) -> None:
    play = Play(flow := fork(script.stage("a"), script.stage("b"), script.stage("c"), chain=False))
    ref = play.start(flow, Note())
    play.step()
    play.attend(ref, "c")
    assert script.calls == ["a", "c"]


def scattered(script: Script, limits: Limits | None = None, *, chain: bool = True) -> tuple[Play, RunRef]:
    """Three stages are ready, and every message for them was lost."""

    def slow(_ctx: Context) -> None:
        play.clock.move(250_000)

    branches = (script.stage(id_) for id_ in "bcd")
    play = Play(flow := fork(script.stage("a", slow), *branches, chain=chain), limits=limits)
    ref = play.start(flow, Note())
    play.step()
    play.queue.clear()
    assert script.calls == ["a"]
    return play, ref


def test_a_poke_that_names_no_stage_is_for_all_that_are_ready(script: Script) -> None:
    play, ref = scattered(script)
    play.attend(ref)
    assert script.calls == ["a", "b", "c", "d"]


def test_a_poke_that_names_a_stage_leaves_the_others_to_theirs(script: Script) -> None:
    play, ref = scattered(script)
    play.attend(ref, "c")
    assert script.calls == ["a", "c"]


@pytest.mark.parametrize("stage", ["a", "compensate:a", "nonsense"])
def test_a_poke_that_names_a_stage_nobody_waits_for_is_for_all_that_are_ready(script: Script, stage: str) -> None:
    """One that came late or was doubled: there may be no other left for those that are ready."""
    play, ref = scattered(script)
    play.attend(ref, stage)
    assert script.calls == ["a", "b", "c", "d"]


def test_without_chaining_a_worker_runs_one_of_the_stages_that_are_ready(script: Script) -> None:
    play, ref = scattered(script, chain=False)
    play.attend(ref)
    assert script.calls == ["a", "b"]


def test_a_worker_that_runs_several_ready_stages_stops_at_the_cap_and_pokes_for_the_next(script: Script) -> None:
    play, ref = scattered(script, Limits(chain_cap=2))
    play.attend(ref)
    assert script.calls == ["a", "b", "c"]
    assert poke(ref, "d") in play.queue.waiting


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

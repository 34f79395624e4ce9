"""A bounded share of the simulator's histories; that a seed is a history; and that shrinking shrinks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.histories import play
from kernel.testing.faults import Crash
from kernel.testing.simulator.breaks import BREAKS
from kernel.testing.simulator.shrink import shrink, smallest
from kernel.testing.simulator.weather import KINDS, Weather
from kernel.testing.simulator.world import Actor, Process, World
from onewrite import Context, Workflow, stage
from onewrite.testing import simulate
from tests.shell.flows import Note, Order, order
from tests.simulator.guards import BY_SEED

HISTORIES = 120
TOLD = ("is told to stop", "has handed back", "queue.keep", "all messages are gone", "messages not given back")
"""What workers over streams meet with, as it stands in traces."""


@pytest.mark.parametrize("block", range(4))
def test_no_history_breaks_an_invariant(block: int) -> None:
    broken = [
        f"seed {verdict.seed}: {verdict.message}"
        for seed in range(1_000_000 + block * HISTORIES, 1_000_000 + (block + 1) * HISTORIES)
        if (verdict := play(seed)).invariant
    ]

    assert not broken, "python -m bench.simulate --seed N replays it"


def test_every_kind_of_fault_strikes_within_a_few_histories() -> None:
    struck: set[str] = set()
    for seed in range(200):
        struck |= play(seed).faults.keys()
        if len(struck) == len(KINDS):
            break

    assert struck == set(KINDS)


@pytest.mark.parametrize("seed", [7, 17], ids=["sqs", "streams"])
def test_a_seed_gives_the_same_history_to_the_byte_in_any_process(seed: int) -> None:
    here = play(seed, trace=True).trace
    command = [sys.executable, "-m", "bench.simulate", "--seed", str(seed)]

    for hashing in ("1", "2"):
        done = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hashing}, stdout=subprocess.PIPE, text=True, check=True
        )
        assert done.stdout.splitlines()[:-1] == here


def test_a_third_of_the_histories_has_its_messages_in_streams() -> None:
    over = [seed for seed in range(60) if play(seed, keep=()).streams]

    assert 15 <= len(over) <= 20
    assert {seed % 3 for seed in over} == {2}


def test_workers_over_streams_are_told_to_stop_and_hand_back_what_they_have_under_way() -> None:
    told: set[str] = set()
    for seed in range(2, 120, 3):
        for line in play(seed, trace=True).trace:
            told |= {what for what in TOLD if what in line}
        if told == set(TOLD):
            break

    assert told == set(TOLD)


def test_a_process_dies_with_all_its_threads() -> None:
    world = World(0, Weather(0, keep=()))
    process, did = Process("worker:1"), list[str]()

    def dies(actor: Actor) -> None:
        world.pause(actor, 10)
        raise Crash("here")

    def goes_on(actor: Actor) -> None:
        world.pause(actor, 20)
        did.append(actor.name)

    for work, kind, of in ((dies, "slot", process), (goes_on, "keeper", process), (goes_on, "tick", None)):
        world.spawn(kind, work, process=of)
    while world.actors:
        if not world.turn():
            world.now += 1

    assert (did, process.over, process.threads) == (["tick-1"], True, [])


def test_without_its_faults_a_history_is_another_one_and_breaks_nothing() -> None:
    verdict = play(3, keep=())

    assert not verdict.invariant
    assert not verdict.happened


def test_a_history_that_breaks_an_invariant_is_shrunk_to_the_faults_that_matter() -> None:
    guard, seed = BY_SEED["cursor-as-seen"]
    with guard.without():
        found = play(seed)
        shrunk = shrink(found, play, attempts=80)

        assert shrunk.invariant == found.invariant
        assert len(shrunk.happened) < len(found.happened)
        assert shrunk.trace


def test_a_users_own_workflow_is_simulated() -> None:
    simulate((order, Order()), histories=10)


def test_what_a_users_stage_asserts_is_looked_at() -> None:
    @stage
    def sceptic(ctx: Context, order: Order) -> Note:
        assert ctx.attempt < 2, "once is enough"
        raise ValueError("again")

    with pytest.raises(AssertionError, match="what-stages-assert: sceptic: once is enough"):
        simulate((Workflow("sceptical", input=Order).then(sceptic), Order()), histories=20)


def test_what_breaks_in_a_users_own_workflow_is_told_with_its_seed_and_a_trace() -> None:
    with BREAKS["commit-is-next"].without(), pytest.raises(AssertionError, match=r"seed \d+: .*\n.*\n") as caught:
        simulate((order, Order()), histories=50)

    assert "if commit-is-next   <- BREAKS one-commit-per-number" in str(caught.value).splitlines()[-1]


def test_the_smallest_part_that_still_breaks_is_found() -> None:
    whole = [f"fault {number}" for number in range(40)]
    needed = {"fault 3", "fault 17", "fault 31"}

    assert smallest(whole, lambda kept: needed <= kept, attempts=500) == needed

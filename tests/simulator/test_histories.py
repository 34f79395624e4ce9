"""A bounded share of the simulator's histories; that a seed is a history; and that shrinking shrinks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.histories import play
from kernel.testing.simulator.breaks import BREAKS
from kernel.testing.simulator.shrink import shrink, smallest
from kernel.testing.simulator.weather import KINDS
from onewrite import Context, Workflow, stage
from onewrite.testing import simulate
from tests.shell.flows import Note, Order, order
from tests.simulator.guards import BY_SEED

HISTORIES = 120


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


def test_a_seed_gives_the_same_history_to_the_byte_in_any_process() -> None:
    seed = 7
    here = play(seed, trace=True).trace
    command = [sys.executable, "-m", "bench.simulate", "--seed", str(seed)]

    for hashing in ("1", "2"):
        done = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": hashing}, stdout=subprocess.PIPE, text=True, check=True
        )
        assert done.stdout.splitlines()[:-1] == here


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

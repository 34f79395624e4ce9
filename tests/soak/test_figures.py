"""What a soak of workers comes to: kills, stops and losses added up from what was seen of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bench.soak.account import Account, Entry, Finding
from bench.soak.chaos import Kill, Killer, Rates
from bench.soak.driver import Accepted, Callers, Pace
from bench.soak.effects import BEGAN, Effect
from bench.soak.figures import figures_of
from bench.soak.losses import Loss
from bench.soak.plan import Figures, Tally
from bench.soak.trials import Toll
from bench.soak.workers import Told
from hosts.local.host import LocalHost, Options
from kernel.core.events import StageStarted
from kernel.ports import RunRef
from kernel.testing.memory import MemoryStore

LOG = [Entry(1, 1_000, "t1", (StageStarted("a", 1, 5_000),)), Entry(2, 4_000, "t2", ())]
BODY = Effect(BEGAN, "r", "a", 1, 1, 5, 1_200)


def figures(toll: Toll, kills: Sequence[Kill] = (), stops: Sequence[Kill] = ()) -> Figures:
    api: Any = None
    callers = Callers(api, MemoryStore(), "soak", Random(1), Pace())
    callers.accepted["r"] = Accepted(RunRef("soak", "r"), "line")
    killer = Killer(Random(1), Rates(), [], Path())
    killer.kills, killer.stops = [*kills], [*stops]
    accounts = {"r": Account(RunRef("soak", "r"), log=LOG)}
    findings = [Finding("broken", "", text) for text in toll.wrong]
    return figures_of((300.0, 5.0), callers, killer, toll, accounts, [BODY], findings)


def stopped(*, clean: bool, seconds: float = 0.2, stages: int = 0, messages: int = 0) -> Told:
    told = {"clean": clean, "seconds": seconds, "handed_back": stages, "given_back": messages}
    return Told("worker:here-7-abc", runs=True, stopped=told)


def test_kills_of_workers_are_told_by_what_they_hit() -> None:
    kills = [Kill("worker", 5, 1_500, busy=True), Kill("worker", 6, 1_600, busy=True), Kill("intake", 8, 1_700, True)]

    found = figures(Toll(held={5: ("r",), 6: ()}, leaders=frozenset({6})), kills)

    assert found.kills == {"intake": 1, "worker": 2}
    assert (found.kills_in_a_stage, found.bodies_killed) == (1, 1)
    assert (found.kills_in_a_tick, found.kills_holding_messages) == (1, 1)
    assert found.recovery_of_runs.maximum == 2.5


def test_stops_are_told_with_what_was_handed_back() -> None:
    told = [stopped(clean=True), stopped(clean=False, seconds=1.5, stages=2, messages=3), Told("killed meanwhile")]

    found = figures(Toll(stopped=told), stops=[Kill("worker", pid, 0, busy=True) for pid in (5, 6, 7)])

    assert (found.stops, found.stops_clean, found.slowest_stop) == (3, 1, 1.5)
    assert (found.stages_handed_back, found.messages_given_back) == (2, 3)
    assert found.kills == {}


def test_losses_are_told_with_the_messages_that_vanished_and_how_long_their_runs_waited() -> None:
    losses = [Loss("restart", 1_500, 10.3, ("r", "r")), Loss("flush", 2_000, 0.0, ("r",)), Loss("restart", 5_000, 0.2)]

    found = figures(Toll(losses=losses))

    assert (found.restarts, found.flushes, found.longest_away) == (2, 1, 10.3)
    assert found.messages_vanished == 3
    assert (found.recovery_after_loss.count, found.recovery_after_loss.maximum) == (2, 2.5)
    assert found.tally == Tally(runs=1, restarts=2, flushes=1)


def test_what_workers_say_is_wrong_is_counted_as_broken() -> None:
    assert figures(Toll(wrong=["worker 7 ended by itself"])).broken == 1


@pytest.mark.moto
def test_a_host_that_attends_nothing_has_neither_jobs_nor_ticks() -> None:
    with LocalHost(Options(attends=False)) as host:
        assert (len(host.intake.pids), host.job.pids, host.tick.pids) == (1, [], [])
        assert host.variables["TABLE_NAME"] == host.deployment.table

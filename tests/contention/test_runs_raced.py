"""Whole runs, attended by four processes of eight threads at once, and by ticks: every promise holds in their logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak.account import Account, Asked, account_of, by_run
from bench.soak.audit import audit
from bench.soak.effects import effects_in
from bench.soak.workflows import Job, registry
from hosts.engines.dynamodb_local import ENGINE_VERSION
from infra.dynamodb.store import DynamoDbStore
from kernel.shell.start import start
from tests.contention.attending import Done, Runs, attend_all, environment
from tests.contention.crew import PROCESSES, THREADS, Crew
from tests.proof import share, tell

pytestmark = pytest.mark.dynamodb_local

WORKFLOWS = ("fan", "booking", "once", "march", "wait")
"""Parallel branches, compensation, at most once, unchained stages with snapshots, a suspended stage."""


def test_guard_of_commits_keeps_runs_whole_that_everybody_attends(
    crew: Crew, store: DynamoDbStore, effects: Path
) -> None:
    env = environment(store)
    accounts: list[Account] = []
    done: list[Done] = []

    # A handful at a time, so that the threads get into each other's way.
    for seed in range(share(1, 12)):
        refs = tuple(
            start(env, registry.latest(workflow), Job(seed=seed), tenant="crew", by="test").ref
            for workflow in WORKFLOWS
        )
        done += crew.race(attend_all, Runs(refs, seconds=60))
        known = by_run(effects_in(effects))
        accounts += [account_of(env, ref, Asked(), known.get(ref.run, ())) for ref in refs]

    assert [finding for account in accounts for finding in audit(account)] == []
    conflicts = sum(each.conflicts for each in done)
    assert conflicts > len(accounts), "they never met"
    assert sum(each.ticks for each in done) >= PROCESSES
    assert len({effect.pid for account in accounts for effect in account.effects}) > 1
    tell(
        "engines",
        engine=f"DynamoDB Local {ENGINE_VERSION}: {PROCESSES} processes of {THREADS} threads on the same runs",
        runs_raced=len(accounts),
        commits_refused=conflicts,
        commits_made=sum(len(account.log) for account in accounts),
    )

"""A short soak on DynamoDB Local: processes killed, messages lost and doubled, and every run accounted for."""

from __future__ import annotations

import shutil

import pytest

from bench.soak.chaos import Rates
from bench.soak.driver import Pace
from bench.soak.plan import Plan, Result, Tally
from bench.soak.soak import Soak
from hosts.engines import EngineMissing
from hosts.engines.dynamodb_local import ENGINE_VERSION
from kernel.ports import Guard
from tests.conftest import absent
from tests.proof import share, tell

pytestmark = pytest.mark.dynamodb_local

BOUNDED = Plan(
    seconds=60,
    brief=True,
    least=Tally(runs=30, kills=4, lost=3, doubled=3),
    workers=3,
    rates=Rates(kill_every=0.6, lost=0.2, doubled=0.25),
    pace=Pace(per_second=15, open=40),
)
"""So much, however long that takes on a machine that is busy with something else as well."""
FULL = Plan(seconds=90, least=Tally(runs=80, kills=15, lost=10, doubled=10))
"""Beside the soak over Redis two processors come to some 150 runs in that time."""
BOUNDED_REDIS = Plan(
    seconds=90,
    transport="redis",
    brief=True,
    least=Tally(runs=30, kills=4, stops=1, restarts=2, flushes=1),
    workers=3,
    rates=Rates(kill_every=1.5, restart_every=4.0, away=1.0, flush_at=6.0),
    pace=Pace(per_second=10, open=40),
    patience=180.0,
)
"""The same over Redis; workers take a while to start, and one in five is told to stop instead of being killed."""
FULL_REDIS = Plan.lasting(1.5, "redis", None, 1)


def soaked(plan: Plan) -> Result:
    try:
        return Soak(plan, lambda _text: None, lambda _soak: None).run()
    except EngineMissing as error:
        absent("DynamoDB Local" if plan.transport == "sqs" else "DynamoDB Local, or Redis,", error)


def test_every_accepted_run_is_accounted_for_whatever_is_killed_lost_or_doubled() -> None:
    result = soaked(share(BOUNDED, FULL))

    figures = result.figures
    tell(
        "soak",
        engine=f"DynamoDB Local {ENGINE_VERSION}: the local host under kill -9",
        runs=figures.runs,
        kills=sum(figures.kills.values()),
        lost=figures.lost,
        doubled=figures.doubled,
        stuck=figures.stuck,
    )
    assert list(result.findings) == [], result.folder
    assert result.lacks == []
    assert figures.completed > 0


@pytest.mark.redis
def test_every_accepted_run_is_accounted_for_when_workers_are_killed_and_redis_loses_all_messages() -> None:
    result = soaked(share(BOUNDED_REDIS, FULL_REDIS))

    figures = result.figures
    tell(
        "soak",
        engine="Redis: workers under kill -9 and SIGTERM, all messages lost again and again",
        runs=figures.runs,
        kills=sum(figures.kills.values()),
        lost=figures.lost,
        doubled=figures.doubled,
        stuck=figures.stuck,
    )
    assert list(result.findings) == [], result.folder
    assert result.lacks == []
    assert figures.completed > 0
    assert figures.messages_vanished > 0
    assert figures.recovery_after_loss.count > 0


if share(bounded=False, full=True):  # each takes half a minute, and the audit has tests of its own

    @pytest.mark.parametrize("guard", [Guard.COMMIT_IS_NEXT, Guard.RUN_IS_NEW])
    def test_without_a_guard_the_soak_finds_something(guard: Guard) -> None:
        variables = {"WORKFLOWS": "tests.soak.unguarded:registry", "SOAK_WITHOUT": guard.value}

        # Two workers have to meet at a run, so they are sent to the same ones.
        result = soaked(Plan(seconds=20, patience=15, rates=Rates(doubled=0.7), variables=variables))

        assert {finding.kind for finding in result.findings} & {"doubled", "lost", "broken"}
        assert result.folder is not None
        shutil.rmtree(result.folder)  # kept for people, who have nothing to look for here

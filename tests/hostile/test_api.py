"""The whole API in a storm: no failure, no answer outside its document, and every accepted run in order."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from hosts.local.deployment import VARIABLES
from hosts.local.host import LocalHost, Options
from infra import compose
from infra.settings import Settings
from kernel.core.events import RUN_LEVEL
from kernel.ports import HEAD, Head, Published, RunRef
from kernel.shell.environment import Environment
from kernel.shell.heads import PAUSED
from kernel.shell.pause import resume
from kernel.shell.read import find_head, list_runs, log_page
from tests.hostile.deployed import registry
from tests.hostile.hooks import TENANTS
from tests.hostile.storm import Answer, accepted, memory_host, storm
from tests.proof import share, tell
from tests.shell.invariants import check, check_over

STORM = {"WORKFLOWS": "tests.hostile.deployed:registry", "DEFAULT_TENANT": "", "LOG_LEVEL": "ERROR"}
"""The local host's settings in a storm."""


@pytest.mark.parametrize("rest", [False, True], ids=["http-api", "rest-api"])
def test_the_api_in_memory_answers_a_storm_as_documented(tmp_path: Path, *, rest: bool) -> None:
    with memory_host(rest=rest) as host:
        answers = storm(host.url, tmp_path, examples=share(16, 600))

    runs = accepted(answers)
    assert all_listed(host.play.env) == runs, "each accepted start has its run, and nothing else has one"
    host.play.play(runs)
    for ref in runs:
        check(host.play, ref)
    account(answers)


@pytest.mark.moto
def test_the_local_host_answers_a_storm_as_documented(tmp_path: Path) -> None:
    with LocalHost(Options(variables=STORM)) as host:
        answers = storm(host.url, tmp_path, examples=share(6, 100))
        env = compose.environment(Settings.from_env(VARIABLES | host.deployment.variables()), registry, host.aws)
        runs = accepted(answers)
        settle(env, runs)

        assert all_listed(env) == runs, "each accepted start has its run, and nothing else has one"
        for ref in runs:
            check_over(env, ref, submitted(env, ref))
    account(answers)


def all_listed(env: Environment) -> set[RunRef]:
    """All runs that there are."""
    return {
        entry.ref
        for tenant in TENANTS
        for entry in list_runs(env, tenant, [each.id for each in registry], limit=100_000)
    }


def settle(env: Environment, runs: set[RunRef]) -> None:
    """Wait until the runs are over: nothing of them is slower than a few seconds, once the paused ones go on."""
    end = time.monotonic() + 120
    waiting = list(runs)
    for ref in runs:
        if find_head(env, ref).status == PAUSED:
            resume(env, ref, by="test")
    while waiting := [ref for ref in waiting if not is_over(env, ref)]:
        assert time.monotonic() < end, f"not over: {waiting}"
        time.sleep(0.2)


def is_over(env: Environment, ref: RunRef) -> bool:
    head = env.store.get(ref, HEAD)
    return isinstance(head, Head) and head.due is None


def submitted(env: Environment, ref: RunRef) -> list[Published]:
    """What the bus was given, taken on trust: the cursor of the head says so, and moto's bus cannot be asked."""
    return [
        Published(f"{ref.run}#{entry.seq}#{index}", type(event).__name__, ref.tenant, ref.run, entry.at, b"")
        for entry in log_page(env, ref, limit=100_000)
        for index, event in enumerate(entry.events)
        if isinstance(event, RUN_LEVEL)
    ]


def account(answers: list[Answer]) -> None:
    """The storm has reached what it was to reach; and its figures."""
    statuses = Counter(each.status for each in answers)
    assert statuses.keys() >= {200, 201, 202, 401, 404, 405, 409, 415, 422}
    assert {each.method for each in answers if each.status < 300} == {"GET", "POST"}
    failures = sum(count for status, count in statuses.items() if status >= 500)
    assert failures == 0
    tell("hostile", requests=len(answers), server_errors=failures, starts=len(accepted(answers)))

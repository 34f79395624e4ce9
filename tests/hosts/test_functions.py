"""Functions as processes: an event at a time, killed like the system kills, and none left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hosts.engines import aws_environment
from hosts.local.deployment import VARIABLES, deploy
from hosts.local.functions import Function, InvocationFailed, ProcessDied, TimedOut
from hosts.local.metering import Ledger
from infra.clients import Clients
from kernel.ports import RunRef
from workflows.examples import INPUTS
from workflows.examples.outside import VARIABLE, World

pytestmark = pytest.mark.moto

Make = Callable[..., Function]


@pytest.fixture
def make(moto: Clients, endpoint: str, tmp_path: Path) -> Iterator[Make]:
    deployment = deploy(moto, moto.dynamodb, visibility=60, name="functions")
    variables = {
        **aws_environment(endpoint),
        "AWS_REGION": deployment.region,
        "AWS_DEFAULT_REGION": deployment.region,
        **VARIABLES,
        **deployment.variables(),
        "WORKFLOWS": "workflows.examples:registry",
        VARIABLE: str(tmp_path / "world"),
    }
    functions: list[Function] = []

    def make(name: str, *, seconds: float = 30, ledger: Ledger | None = None, **changed: str) -> Function:
        function = Function(name, variables | changed, seconds=seconds, limit=2, log=tmp_path / "log", ledger=ledger)
        functions.append(function)
        return function

    yield make
    for function in functions:
        function.stop()


def start(intake: Function, workflow: str, file: str) -> str:
    """Start a run by direct invocation; gives its id."""
    text = (INPUTS / workflow / f"{file}.json").read_text()
    event = {
        "version": "2.0",
        "rawPath": f"/workflows/{workflow}/runs",
        "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": f"/workflows/{workflow}/runs"}, "stage": "$default"},
        "body": f'{{"input": {text}}}',
        "isBase64Encoded": False,
    }
    answer = intake.invoke(event)
    assert answer["statusCode"] == 201, answer
    return str(answer["headers"]["Location"].rpartition("/")[2])


def poke(run: str) -> dict[str, Any]:
    return {"Records": [{"messageId": "m", "body": f'{{"tenant": "local", "run": "{run}"}}'}]}


def test_an_instance_is_kept_for_the_next_event(make: Make) -> None:
    tick = make("tick")

    assert tick.invoke({})["looked"] == tick.invoke({})["looked"] == 0
    assert len(tick.pids) == 1


def test_what_runs_cost_is_told_to_the_ledger(make: Make) -> None:
    ledger = Ledger()
    intake, job = make("intake", ledger=ledger), make("job", ledger=ledger)

    run = start(intake, "onboarding", "engineer")
    job.invoke(poke(run))

    ref = RunRef("local", run)
    started, done = ledger.of(ref, ["intake"]), ledger.of(ref, ["job"])
    assert (started.write_units, started.messages) == (3, 1)
    assert (done.writes, done.messages) == (15, 0), "a claim, thirteen steps, and the head's last update"
    assert ledger.of(ref).write_units == started.write_units + done.write_units


def test_a_killed_instance_fails_its_invocation_and_another_takes_its_place(make: Make, tmp_path: Path) -> None:
    ledger = Ledger()
    intake, job = make("intake", ledger=ledger), make("job", ledger=ledger)
    run = start(intake, "order", "grand-piano")
    failures: list[InvocationFailed] = []

    def attend() -> None:
        try:
            job.invoke(poke(run))
        except InvocationFailed as error:
            failures.append(error)

    attending = threading.Thread(target=attend)
    attending.start()
    world = World(tmp_path / "world")
    while not (begun := world.effects("warehouse.begun", run)):
        attending.join(0.02)
    killed = begun[0].by

    assert job.busy == [killed]
    assert job.kill(killed)
    attending.join()

    assert isinstance(failures[0], ProcessDied)
    assert failures[0].pid == killed
    assert "SIGKILL" in str(failures[0])
    assert job.busy == []
    assert ledger.of(RunRef("local", run), ["job"]).writes >= 2, "what it had spent is known"
    assert job.kill(killed) is False, "it is no instance any more"
    assert job.invoke({"Records": []}) == {"batchItemFailures": []}
    assert killed not in job.pids


def test_an_instance_that_takes_too_long_is_killed(make: Make) -> None:
    tick = make("tick", seconds=0.2)
    tick.warm(1)
    (frozen,) = tick.pids
    os.kill(frozen, signal.SIGSTOP)

    with pytest.raises(TimedOut, match=r"not done after 0\.2 s"):
        tick.invoke({})

    assert not tick.pids


def test_an_instance_that_is_stopped_as_it_gets_an_event_fails_its_invocation(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tick = make("tick")
    tick.warm(1)
    (instance,) = tick._idle
    assert instance._process.stdin is not None
    poll, alive = instance._process.poll, iter([True])
    # However soon it ends, it has not when it is chosen.
    monkeypatch.setattr(instance._process, "poll", lambda: None if next(alive, False) else poll())
    instance._process.stdin.close()

    with pytest.raises(ProcessDied, match="status 0"):
        tick.invoke({})


def test_an_error_is_passed_on_and_the_instance_lives(make: Make) -> None:
    job = make("job")

    with pytest.raises(InvocationFailed, match="ForeignMessage: not a batch of SQS"):
        job.invoke({"Records": "no records"})

    assert job.invoke({"Records": []}) == {"batchItemFailures": []}
    assert len(job.pids) == 1


def test_a_wrong_setting_is_said_when_the_instance_starts(make: Make) -> None:
    job = make("job", CHAIN_CAP="many")

    with pytest.raises(InvocationFailed, match="CHAIN_CAP is 'many'"):
        job.warm(1)

    assert not job.pids


def test_stopping_leaves_no_process_and_takes_no_event(make: Make) -> None:
    tick = make("tick")
    tick.warm(2)

    tick.stop()

    assert not tick.pids
    with pytest.raises(InvocationFailed, match="stopping"):
        tick.invoke({})

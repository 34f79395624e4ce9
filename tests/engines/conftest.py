"""Functions under the real runtime client: of a probe, and of the three handlers from the built artefact."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hosts.engines.lambda_runtime import ExecutionEnvironment, Function, runtime_folder

LAYER = Path(__file__).with_name("layer")

Make = Callable[..., ExecutionEnvironment]


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the runtime client."""
    return runtime_folder(tmp_path_factory.mktemp("lambda") / "runtime")


@pytest.fixture
def make(runtime: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes an environment of the probe, with what is given instead; all are stopped at the end."""
    made: list[ExecutionEnvironment] = []

    def of(**changes: Any) -> ExecutionEnvironment:
        given = {"handler": "probe.handler", "task_root": LAYER, "python": sys.executable, "runtime": runtime}
        environment = ExecutionEnvironment(Function(**{**given, **changes}), tmp_path / f"function-{len(made)}.log")
        made.append(environment)
        return environment

    yield of
    for environment in made:
        environment.stop()


@pytest.fixture
def probe(make: Make) -> ExecutionEnvironment:
    return make(name="probe", variables={"COLOUR": "green"})

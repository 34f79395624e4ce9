"""Nobody believes that tests ran on an engine that was not there."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import pytest

from hosts.engines import EngineMissing
from hosts.engines.__main__ import Start, main
from tests.artefact import ROOT


def no_java() -> NoReturn:
    message = "it needs Java, and there is none"
    raise EngineMissing(message)


ENGINES: dict[str, tuple[str, Start]] = {
    "One": ("Ones DO NOT RUN.", nullcontext),
    "Other": ("Others DO NOT RUN.", no_java),
}


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("1", 1), ("", 0), ("false", 0)])
def test_a_missing_engine_is_said_loudly_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int
) -> None:
    monkeypatch.setenv("CI", ci)

    assert main(ENGINES) == status

    said = capsys.readouterr()
    assert "One is ready" in said.out
    assert "it needs Java" in said.err
    assert "Others DO NOT RUN." in said.err
    assert "Ones" not in said.err


def test_where_all_are_there_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")

    assert main({"One": ENGINES["One"]}) == 0


ONE_TEST = "tests/conformance/test_dynamodb_local.py::test_the_table_deletes_what_its_ttl_says"


@pytest.mark.parametrize(
    ("ci", "status", "said"),
    [
        ("", 0, "DynamoDB Local did NOT run: 1 tests are missing from this run"),
        ("true", 1, "DynamoDB Local did NOT run: DynamoDB Local cannot run here: java is missing"),
    ],
    ids=["skipped", "in-ci-failed"],
)
def test_a_test_without_its_engine_is_counted_at_the_end_and_fails_in_ci(
    tmp_path: Path, ci: str, status: int, said: str
) -> None:
    # What it tells of itself is not about this run, so it is not told to the proof.
    environment = {name: value for name, value in os.environ.items() if name != "PROOF"}
    environment |= {"PATH": str(tmp_path), "CI": ci}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ONE_TEST],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status, done.stdout
    assert said in done.stdout

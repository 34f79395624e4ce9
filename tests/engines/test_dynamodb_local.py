"""DynamoDB Local ends with whoever started it, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hosts.engines import EngineMissing
from hosts.engines.dynamodb_local import prepare
from tests.artefact import ROOT
from tests.conftest import absent
from tests.engines.processes import gone, until

pytestmark = pytest.mark.dynamodb_local

OWNER = """
import sys
from hosts.engines.dynamodb_local import DynamoDbLocal
from infra.clients import Clients
from infra.dynamodb.table import create_table

with DynamoDbLocal.start() as engine, Clients(endpoint=engine.endpoint_url) as clients:
    create_table(clients.dynamodb, "onewrite")
    print(engine.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    """There is such an engine; and what is compiled only once is compiled by now."""
    try:
        prepare()
    except EngineMissing as error:
        absent("DynamoDB Local", error)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_it_ends_with_its_owner_and_leaves_nothing(tmp_path: Path, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdin is not None
        pid = int(owner.stdout.readline())
        assert list(tmp_path.iterdir())
        if how == "killed":
            owner.kill()
        owner.stdin.close()

    assert gone(pid)
    assert until(lambda: not list(tmp_path.iterdir())), list(tmp_path.iterdir())

"""LocalStack on this machine: seen by nobody else, and gone with whoever started it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hosts.engines import EngineMissing
from hosts.engines.localstack import engine
from tests.artefact import ROOT
from tests.engines.processes import gone, listening, until

if TYPE_CHECKING:
    from hosts.engines.localstack.engine import LocalStack

pytestmark = pytest.mark.localstack


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="where sockets are read from is Linux's")
def test_it_listens_on_the_loopback_address_only(localstack: LocalStack) -> None:
    addresses = {pid: listening(pid) for pid in (localstack.pid, localstack.table.pid)}

    for pid, found in addresses.items():
        assert found, pid
        assert {address.rpartition(":")[0] for address in found} == {"127.0.0.1"}


OWNER = """
    import io, json, time, zipfile
    from hosts.engines.localstack.engine import LocalStack
    from tests.deployed.stack import client
    from tests.engines.conftest import LAYER

    with LocalStack.start() as engine:
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as file:
            file.write(LAYER / "probe.py", "probe.py")
        functions = client("lambda", engine.endpoint_url)
        functions.create_function(
            FunctionName="probe", Runtime="python3.13", Handler="probe.handler", Timeout=600,
            Role="arn:aws:iam::000000000000:role/probe", Code={"ZipFile": code.getvalue()},
        )
        functions.get_waiter("function_active_v2").wait(FunctionName="probe")
        function = json.load(functions.invoke(FunctionName="probe", Payload=b"{}")["Payload"])
        print(engine.pid, engine.table.pid, function["pid"], engine.folder, flush=True)
        time.sleep(600)
"""


def test_it_ends_with_its_owner_and_leaves_nothing(localstack: LocalStack) -> None:
    """However that ends: here it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        *pids, folder = owner.stdout.readline().split()
        owner.kill()

    assert len(pids) == 3
    assert all(gone(int(pid)) for pid in pids)
    assert until(lambda: not Path(folder).exists())


def test_where_it_is_not_installed_the_error_says_how_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "VENV", tmp_path / ".venv-localstack")

    with pytest.raises(EngineMissing, match=r"\.venv-localstack is missing.*Python 3\.12 or later.*LOCALSTACK_PYTHON"):
        engine.LocalStack.start()


def test_one_that_does_not_start_shows_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, localstack: LocalStack
) -> None:
    broken = tmp_path / "host.py"
    broken.write_text("raise SystemExit('no room at the inn')")
    monkeypatch.setattr(engine, "HOST", broken)

    with pytest.raises(EngineMissing, match=r"(?s)LocalStack served no requests.*no room at the inn"):
        engine.LocalStack.start()

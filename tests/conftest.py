"""What all tests share: a world without effects, the guard that ``GUARD`` names switched off, and LocalStack."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from hosts.engines import EngineMissing
from kernel.ports import Guard
from tests.guards import switched_off
from tests.proof import tell
from tests.shell.flows import world

if TYPE_CHECKING:
    from hosts.engines.localstack.engine import LocalStack
    from hosts.engines.redis_server import RedisServer

ON_LOCALSTACK = ("tests/conformance/test_localstack.py", "tests/deployed/", "tests/engines/test_localstack.py")
"""Where the tests are that are marked ``localstack``."""

NOT_RUN = "did NOT run"
"""How a test that needed an engine says so when it is skipped, after the engine's name."""


def absent(engine: str, error: EngineMissing) -> NoReturn:
    """An engine cannot run here: a failure in CI, elsewhere a loud skip."""
    message = f"{engine} {NOT_RUN}: {error}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    tell("missing", engine=engine)
    pytest.skip(message)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that a store's contract has for each guard are part of ``make test-guards``."""
    for item in items:
        if item.get_closest_marker("localstack") and not item.nodeid.startswith(ON_LOCALSTACK):
            raise pytest.UsageError(f"{item.nodeid} wants LocalStack: name it in ON_LOCALSTACK")
        if item.name.startswith("test_guard_"):
            item.add_marker(pytest.mark.guards)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Several test processes take the tests one by one; but one of them takes all that are on LocalStack.

    Otherwise each would start one, and deploy to it. What is one piece comes first if it is large, so the others have
    the rest done meanwhile. (`--dist loadgroup` would do it, but pytest-xdist 3.8 cannot group under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - only the process that has others needs it

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "localstack" if nodeid.startswith(ON_LOCALSTACK) else nodeid

    return Scheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once more at the end, in red, that an engine was missing."""
    skipped = terminalreporter.stats.get("skipped", [])
    engines = (re.search(rf"Skipped: (.+? {NOT_RUN})", str(report.longrepr)) for report in skipped)
    for engine, missing in Counter(found[1] for found in engines if found).items():
        terminalreporter.write_sep("!", f"{engine}: {missing} tests are missing from this run", red=True)


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    """Each test starts in a world in which no stage has done anything."""
    world.clear()


@pytest.fixture(autouse=True)
def _guard_off() -> Iterator[None]:
    """``GUARD=<name> make test-guards``: tests that fail then show that the guard is needed."""
    name = os.environ.get("GUARD")
    if not name:
        yield
        return
    with switched_off(Guard(name)):
        yield


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with what the examples' stages did to the world, in LocalStack's functions."""
    return tmp_path_factory.mktemp("outside") / "world"


@pytest.fixture(scope="session")
def localstack(outside: Path) -> Iterator[LocalStack]:
    """A LocalStack."""
    from hosts.engines.localstack.engine import LocalStack  # noqa: PLC0415 - only where it is wanted
    from workflows.examples.outside import VARIABLE  # noqa: PLC0415 - only where it is wanted

    try:
        engine = LocalStack.start({VARIABLE: str(outside)})
    except EngineMissing as error:
        absent("LocalStack", error)
    with engine:
        yield engine


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for tests that leave it as they found it: each has keys of its own."""
    from hosts.engines.redis_server import RedisServer  # noqa: PLC0415 - only where it is wanted

    try:
        engine = RedisServer.start()
    except EngineMissing as error:
        absent("Redis", error)
    with engine:
        yield engine

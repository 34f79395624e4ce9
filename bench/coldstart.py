"""How much longer a function takes to start than boto3 alone: `python -m bench.coldstart --json`.

Measured are fresh processes over the built artefact (`make artefact`), which is read-only and whole: no
`site`, no environment but the settings, nothing of this repository's virtual environment. A handler's
process asks its module for `handler`, which is what Lambda does at a cold start. Its floor is the same
interpreter over the same artefact that imports boto3 and makes the clients that the handler makes while it
starts (recorded by a first process that watches it). Processes of both kinds alternate, so that a busy
moment of the machine hits both; compared are the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ARTEFACT = Path(__file__).resolve().parent.parent / "build" / "lambda"
LIMITS = {"job": 1.5, "tick": 1.35, "intake": 1.9}
ROUNDS = 21
WARM_UP = 2  # the first processes read the disk, all others the page cache

# As template.yaml gives them to the functions; nothing answers at these addresses, and nothing is asked at a
# cold start.
ENVIRONMENT = {
    "WORKFLOWS": "workflows:registry",
    "TABLE_NAME": "onewrite-table",
    "QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/onewrite-pokes",
    "BLOB_BUCKET": "onewrite-blobs",
    "EVENT_BUS_NAME": "onewrite-events",
    "DEFAULT_TENANT": "bench",
    "TENANT_CLAIM": "tenant",
    "INDEX_SHARDS": "4",
    "RETENTION_DAYS": "30",
    "DEADLINE_DAYS": "30",
    "LOOK_GRACE_SECONDS": "120",
    "LEASE_GRACE_SECONDS": "5",
    "MAX_SKEW_MS": "1000",
    "TICK_SECONDS": "60",
    "CHAIN_CAP": "1000",
    "JOB_TIMEOUT_SECONDS": "300",
    "PUBLISH": "run",
    "LOG_LEVEL": "INFO",
    "POWERTOOLS_SERVICE_NAME": "onewrite",
    "POWERTOOLS_METRICS_NAMESPACE": "Onewrite",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    # What Lambda adds of its own.
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_SESSION_TOKEN": "bench",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_LAMBDA_FUNCTION_NAME": "onewrite-bench",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
}

# Which clients a handler makes: boto3's clients and a bare session's both come from this method.
WATCH = """
import botocore.session, importlib, json
made = []
create_client = botocore.session.Session.create_client
def watched(self, service_name, *args, **options):
    made.append(service_name)
    return create_client(self, service_name, *args, **options)
botocore.session.Session.create_client = watched
module = importlib.import_module({module!r})
assert callable(module.handler), "no handler in it"
print(json.dumps(list(dict.fromkeys(made))))
"""


class BenchError(Exception):
    """Nothing can be measured; the message says why and what to do."""


@dataclass(frozen=True)
class Start:
    """What was measured of one handler.

    Attributes:
        clients: services whose clients it makes while it starts.
        floor_ms: median of the floor's processes, in milliseconds.
        handler_ms: median of the handler's.
    """

    clients: list[str]
    floor_ms: float
    handler_ms: float

    @property
    def over_floor(self) -> float:
        """How many times as long as its floor."""
        return self.handler_ms / self.floor_ms


def measure(artefact: Path, rounds: int) -> dict[str, Start]:
    """Measure every handler.

    Args:
        artefact: the folder that `make artefact` builds.
        rounds: how many processes of each kind count.

    Raises:
        BenchError: the artefact is not there or was built by another Python, or a handler cannot be imported.
    """
    _check(artefact)
    clients = {name: _clients_of(artefact, name) for name in LIMITS}
    programs = {
        (name, kind): program
        for name in LIMITS
        for kind, program in (
            ("floor", _floor(clients[name])),
            ("handler", f"from handlers.{name} import handler"),
        )
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in programs}
    for turn in range(WARM_UP + rounds):
        order = list(programs.items())
        for key, program in order if turn % 2 else reversed(order):
            elapsed = _run(artefact, program)
            if turn >= WARM_UP:
                times[key].append(elapsed)
    return {
        name: Start(
            clients[name],
            floor_ms=statistics.median(times[name, "floor"]),
            handler_ms=statistics.median(times[name, "handler"]),
        )
        for name in LIMITS
    }


def _check(artefact: Path) -> None:
    compiled = artefact / "handlers" / "__pycache__" / f"job.{sys.implementation.cache_tag}.pyc"
    if not artefact.is_dir():
        raise BenchError(f"there is no artefact in {artefact}: run `make artefact`")
    if not compiled.is_file():
        raise BenchError(f"{artefact} was compiled by another Python: run `make artefact`, and this by .venv's")
    if artefact.stat().st_mode & 0o222:
        raise BenchError(f"{artefact} is not read-only, so it may have changed since: run `make artefact`")


def _clients_of(artefact: Path, name: str) -> list[str]:
    watched = _process(artefact, WATCH.format(module=f"handlers.{name}"), output=True)
    if watched.returncode:
        raise BenchError(f"handlers.{name} cannot be imported from {artefact}:\n{watched.stderr.strip()}")
    clients: list[str] = json.loads(watched.stdout.splitlines()[-1])
    return clients


def _floor(clients: list[str]) -> str:
    return "import boto3; " + "; ".join(f"boto3.client({service!r})" for service in clients)


def _run(artefact: Path, program: str) -> float:
    """One fresh process, in milliseconds from start to end, without the interpreter's own tidying up."""
    begin = time.perf_counter()
    process = _process(artefact, f"{program}\nimport os; os._exit(0)", output=False)
    elapsed = time.perf_counter() - begin
    if process.returncode:
        raise BenchError(f"a process ended with status {process.returncode}: {program}")
    return elapsed * 1000


def _process(artefact: Path, program: str, *, output: bool) -> subprocess.CompletedProcess[str]:
    """Run a program that sees the standard library and the artefact, and writes no bytecode."""
    text = f"import sys; sys.path.insert(0, {str(artefact)!r})\n{program}"
    environment = ENVIRONMENT | {"LAMBDA_TASK_ROOT": str(artefact)}
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", text],
        cwd=artefact,
        env=environment,
        capture_output=output,
        text=True,
        check=False,
    )


def main() -> int:
    """Measure and print; the result is the exit status."""
    parser = argparse.ArgumentParser(description="Cold starts over the built artefact, against boto3 alone.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="processes that count (default: %(default)s)")
    parser.add_argument("--artefact", type=Path, default=ARTEFACT, help="default: build/lambda")
    choice = parser.parse_args()
    try:
        starts = measure(choice.artefact.resolve(), choice.rounds)
    except BenchError as error:
        print(f"bench.coldstart: {error}", file=sys.stderr)
        return 1
    if choice.json:
        print(json.dumps(_report(starts, choice.rounds), indent=2))
    else:
        for name, start in starts.items():
            print(
                f"{name:7} {start.handler_ms:6.1f} ms, {start.over_floor:.2f} times its floor of "
                f"{start.floor_ms:6.1f} ms ({', '.join(start.clients)}); limit {LIMITS[name]}"
            )
    return 0


def _report(starts: dict[str, Start], rounds: int) -> dict[str, object]:
    report: dict[str, object] = {}
    for name, start in starts.items():
        report[f"{name}_over_floor"] = round(start.over_floor, 3)
    for name, start in starts.items():
        report[f"{name}_ms"] = round(start.handler_ms, 1)
        report[f"{name}_floor_ms"] = round(start.floor_ms, 1)
        report[f"{name}_clients"] = start.clients
    report["limits"] = {f"{name}_over_floor": limit for name, limit in LIMITS.items()}
    report["rounds"] = rounds
    report["python"] = ".".join(map(str, sys.version_info[:3]))
    return report


if __name__ == "__main__":
    sys.exit(main())

"""What a worker can be told on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from infra.settings import Settings

FAILED = 1
"""Exit status of a worker that cannot run."""
MOST_THREADS, MOST_PROCESSES, MOST_PREFETCHED = 256, 64, 10


class Options(Struct, frozen=True, kw_only=True):
    """How a worker works. Times are seconds.

    Attributes:
        transport: ``sqs`` or ``redis``; what carries pokes. None: what the setting ``TRANSPORT`` says.
        concurrency: threads of each process, and so runs that it attends at a time.
        processes: how many there are; more than one get a supervisor.
        prefetch: messages that a thread takes at a time, at most, and attends one after the other.
        drain: how long what is under way may go on after the first signal to stop.
        visibility: for how long a message is hidden from others unless its worker gives a sign of life.
        deliveries: after so many deliveries without an answer a message becomes a dead letter.
        tick: take part in who runs the maintenance tick.
        host, port: where /health, /ready and /metrics are served; port 0 is any that is free, None serves nothing.
    """

    transport: str | None = None
    concurrency: int = 8
    processes: int = 1
    prefetch: int = 1
    drain: float = 25.0
    visibility: float = 60.0
    deliveries: int = 5
    tick: bool = True
    host: str = "0.0.0.0"  # noqa: S104 - probes come from outside of the container
    port: int | None = 8080


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)  # argparse makes a message of the ValueError
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low} to {high}")
        return number

    parse.__name__ = "whole number"
    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = float(text)
        if not low <= number <= high:  # which NaN is not, either
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g} seconds")
        return number

    parse.__name__ = "number of seconds"
    return parse


def parser() -> argparse.ArgumentParser:
    """The command line."""
    default = Options()
    made = argparse.ArgumentParser(
        prog="python -m hosts.worker",
        description="Attend runs, for as long as it takes: a worker on a container or server. "
        "SIGTERM ends it in good order, a second one at once. Settings come from the environment: docs/workers.md.",
    )

    def add(*flags: str, **about: Any) -> None:  # noqa: ANN401 - argparse takes anything
        shown = about.get("default")
        if shown is not None:
            about["help"] += f" (default: {shown:g})" if isinstance(shown, float) else f" (default: {shown})"
        made.add_argument(*flags, **about)

    add("--transport", choices=("sqs", "redis"), help="what carries messages; without it the setting TRANSPORT says")
    add("--concurrency", type=_whole(1, MOST_THREADS), default=default.concurrency, help="threads of each process")
    add("--processes", type=_whole(1, MOST_PROCESSES), default=default.processes, help="processes")
    add(
        "--prefetch",
        type=_whole(1, MOST_PREFETCHED),
        default=default.prefetch,
        help="messages that a thread takes at a time; those that it has not come to are hidden from idle threads",
    )
    add(
        "--drain",
        type=_seconds(0, 86_400),
        default=default.drain,
        help="seconds that stages may go on after SIGTERM; what is not done then is handed back",
    )
    add(
        "--visibility",
        type=_seconds(2, 43_200),
        default=default.visibility,
        help="seconds after which the messages of a worker that died come again",
    )
    add(
        "--deliveries",
        type=_whole(1, 1_000),
        default=default.deliveries,
        help="deliveries without an answer that make a message a dead letter (redis; of SQS the queue says)",
    )
    made.add_argument("--no-tick", dest="tick", action="store_false", help="let others run the maintenance tick")
    add("--host", default=default.host, help="where health and metrics are served")
    add("--port", type=_port, default=default.port, help="port of health and metrics; 0 for any, none for nothing")
    return made


def _port(text: str) -> int | None:
    return None if text == "none" else _whole(0, 65_535)(text)


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Read a command line; what is wrong with it ends the program with a message and status 2."""
    return Options(**vars(parser().parse_args(arguments)))


def settings_of(options: Options, environ: Mapping[str, str]) -> Settings:
    """The settings, with what the command line says of them.

    Raises:
        SettingsError: they are not right.
    """
    chosen = {} if options.transport is None else {"TRANSPORT": options.transport}
    return Settings.from_env({**environ, **chosen})

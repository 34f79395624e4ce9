"""Several worker processes as one: starts them, starts dead ones anew, passes signals on, adds up how they are.

A process is told to stop by the end of its standard input, and to hurry by SIGUSR1: so it ends in good order also when
its supervisor is killed, or when a platform signals all processes at once.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO

import msgspec

from hosts.worker.endpoints import serving
from hosts.worker.health import Report, Status
from hosts.worker.options import FAILED, Options
from hosts.worker.pauses import Pauses
from hosts.worker.signals import Signals
from infra.system import SystemRandom

log = logging.getLogger(__name__)

SILENT = 30.0
"""Seconds without a word from a process after which it counts as stuck."""
STARTING = 600.0
"""Seconds that a process may take until its first word: imports of workflows, many processes on few cores."""
LAST = 7.0
"""Seconds after the drain at which a process that has still not ended is killed."""
SETTLED = 60.0
"""Seconds for which a process has to run until its next death is taken for the first."""
LOOK = 0.2
"""Seconds between two looks at the processes."""


class Member:
    """One of the processes: its place, and what runs there at the moment.

    Args:
        number: its place.
        command: what to run.
        environ: its environment variables.

    Attributes:
        status: exit status of the last one that has died.
    """

    def __init__(self, number: int, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.number = number
        self._command = list(command)
        self._environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._report: Report | None = None
        self._told = False
        self._heard = self._began = 0.0
        self._again = 0.0
        self._pauses = Pauses(SystemRandom())
        self.status = 0

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it. In a session of its own, so that Ctrl-C reaches the supervisor only."""
        self._began = self._heard = time.monotonic()
        self._report = None
        try:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:  # no memory, no process to be had: as good as one that died at once
            self._again = time.monotonic() + self._pauses.failed()
            log.error("a worker process cannot be started", extra={"member": self.number, "error": str(error)})  # noqa: TRY400 - the error says it
            return
        if self._process.stdout is None:  # pragma: no cover - it was opened with a pipe
            return
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def _listen(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                try:
                    self._report = msgspec.json.decode(line, type=Report)
                except msgspec.MsgspecError:  # what a stage prints is none of our business
                    continue
                self._told = True
                self._heard = time.monotonic()

    def revive(self) -> int | None:
        """Start it anew if it has ended, after a pause that grows with each death in a row; the id of one just dead."""
        if self._process is None:
            if time.monotonic() >= self._again:
                self.start()
            return None
        if self._process.poll() is None:
            return None
        dead, self.status = self._process.pid, self._process.returncode
        self._close()
        if time.monotonic() - self._began > SETTLED:
            self._pauses.reset()
        pause = self._pauses.failed()
        self._again = time.monotonic() + pause
        extra = {"member": self.number, "pid": dead, "status": self.status, "again": round(pause, 2)}
        log.error("a worker process has died", extra=extra)
        return dead

    def stop(self) -> None:
        """Tell it to stop."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def hurry(self) -> None:
        """Tell it to hand back at once what it has."""
        self._signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._close()
        return True

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def report(self) -> Report:
        """How it is, as it said last."""
        silent = time.monotonic() - self._heard
        if self._process is None:
            return _none(self.number, Status.DEGRADED, "it has died and is started anew")
        if silent > (STARTING if self._report is None else SILENT):
            return _none(self.number, Status.UNHEALTHY, f"nothing heard of it for {silent:.0f} s")
        return self._report or _none(self.number, Status.HEALTHY, "", unready="it is starting")

    @property
    def was_ready(self) -> bool:
        """Whether it has ever told how it is."""
        return self._told


def _none(number: int, status: Status, reason: str, unready: str = "") -> Report:
    return Report(
        status=status,
        reasons=(reason,) if reason else (),
        worker=f"process {number}",
        ready=False,
        unready=(unready or reason,),
        slots=0,
        busy=0,
        stuck=0,
        leader=False,
    )


def together(name: str, reports: Sequence[Report]) -> Report:
    """How several are as one: as bad as the worst of them, and ready as soon as one is."""
    worst = max(reports, key=lambda each: _ORDER.index(each.status)).status
    ready = any(each.ready for each in reports)
    return Report(
        status=worst,
        reasons=tuple(f"{each.worker}: {reason}" for each in reports for reason in each.reasons),
        worker=name,
        ready=ready,
        unready=() if ready else tuple(f"{each.worker}: {why}" for each in reports for why in each.unready),
        slots=sum(each.slots for each in reports),
        busy=sum(each.busy for each in reports),
        stuck=sum(each.stuck for each in reports),
        leader=any(each.leader for each in reports),
    )


_ORDER = (Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY)


def supervise(options: Options, arguments: Sequence[str], environ: Mapping[str, str], signals: Signals) -> int:
    """Run several worker processes until a signal says otherwise; the exit status.

    Args:
        options: how they work.
        arguments: the command line, which each of them is given, too.
        environ: the environment variables.
        signals: what ends them.
    """
    with ExitStack() as undo:
        folder = undo.enter_context(tempfile.TemporaryDirectory(prefix="onewrite-metrics-"))
        # Before anything imports the library: processes measure into files, and who is asked adds them up.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        from prometheus_client import CollectorRegistry  # noqa: PLC0415 - it looks for the variable when imported

        from infra.prometheus import CONTENT_TYPE, forget, render  # noqa: PLC0415 - as above

        command = [sys.executable, "-m", "hosts.worker", *arguments, "--member"]
        shared = {**environ, "PROMETHEUS_MULTIPROC_DIR": folder}
        members = [Member(number, command, shared) for number in range(options.processes)]
        name = f"{options.processes} processes"
        if options.port is not None:
            registry = CollectorRegistry()
            endpoints = serving(
                lambda: together(name, [member.report() for member in members]),
                lambda: render(registry),
                options,
                content_type=CONTENT_TYPE,
            )
            undo.callback(endpoints.stop)
        for member in members:
            member.start()
        while not signals.stop.wait(LOOK):
            for member in members:
                if (dead := member.revive()) is not None:
                    forget(dead)
                    if member.status == FAILED and not any(each.was_ready for each in members):
                        log.critical("workers cannot run: see what process %d says", member.number)
                        signals.come()
                        _stop(members, signals, 0.0)
                        return FAILED
        return _stop(members, signals, options.drain)


def _stop(members: Sequence[Member], signals: Signals, drain: float) -> int:
    """Stop all of them; 0 if each has ended by itself."""
    for member in members:
        member.stop()
    end = time.monotonic() + drain + LAST
    waiting, hurried = list(members), False
    while waiting and time.monotonic() < end:
        if signals.hurry.is_set() and not hurried:
            hurried = True
            end = min(end, time.monotonic() + LAST)
            for member in waiting:
                member.hurry()
        waiting = [member for member in waiting if not member.wait(0.02)]
        signals.hurry.wait(0.05) if not hurried else time.sleep(0.05)
    for member in waiting:
        log.error("a worker process did not end, and is killed", extra={"member": member.number})
        member.kill()
        member.wait(5.0)
    return 1 if waiting else 0

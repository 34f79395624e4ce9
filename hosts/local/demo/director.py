"""Directs the demo's runs: starts them, kills a worker, cancels one, sends events, and watches until all are over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hosts.local.client import FINISHED, Api, ApiError
from hosts.local.demo.cases import Case, Json, Played, Trouble
from hosts.local.demo.senders import Letter, letters
from hosts.local.functions import Function
from hosts.local.show import FEW, event_of, progress_of, seconds_of, status_of
from workflows.examples import registry
from workflows.examples.outside import World

LIMIT = 55.0
"""Seconds after which the runs must be over; what is not by then is reported as it stands."""
LOOK_EVERY = 0.4
"""Seconds between two looks at the runs."""
BEGIN_WITHIN = 20.0
"""Seconds within which the stage that is to be killed must have begun."""
INTO_THE_STAGE = 0.5
"""Seconds after it has begun that its worker is killed."""

REFUSED = "refused"
"""What the answer to an event says that the API did not take."""

PACK = "pack"
"""The stage in the middle of which a worker is killed."""

AROUND = 4
"""Lines of the screen that the table's rows cannot have."""
WITH_IDS = 120
"""Columns from which on there is room for ids of runs."""
ROOMY = 100
"""Columns from which on the stages of most runs can be shown one by one."""
FEWER = 2
"""Stages that are shown one by one where there is less room."""

Show = Callable[[Played], None]


class Director:
    """Makes the runs happen, and things go wrong.

    Args:
        api: where to start and watch runs.
        job: the function whose instance is killed.
        world: tells who has begun what, and who has been asked for what.
        console: shows how it goes.
    """

    def __init__(self, api: Api, job: Function, world: World, console: Console) -> None:
        self._api = api
        self._job = job
        self._world = world
        self._console = console

    def direct(self, cases: Sequence[Case]) -> list[Played]:
        """Start all, and watch until they are over or the time is; gives them with their logs."""
        end = time.monotonic() + LIMIT
        runs: list[Played] = []
        with self._shown(runs) as show:
            for case in cases:
                runs.append(self._start(case))
                show(runs[-1])
                self._send(runs)  # what comes early must not wait until all have been started
            while time.monotonic() < end and (waiting := [run for run in runs if _open(run)]):
                for run in waiting:
                    self._look(run)
                    show(run)
                    self._send([run])
                time.sleep(LOOK_EVERY)
        for run in runs:
            run.log = list(self._api.log(run.run))
        return runs

    def _start(self, case: Case) -> Played:
        key = f"{case.workflow}-{case.file}"
        started = self._api.start(case.workflow, case.input, key=key)
        stages = registry.latest(case.workflow).definition.stages
        run = Played(case, started["run"], sum(":" not in id_ for id_ in stages))
        if case.trouble is Trouble.SENT_TWICE:
            run.again = self._api.start(case.workflow, case.input, key=key)
        if case.trouble is Trouble.WORKER_DIES:
            # Before anything else is started, so that nothing else is in the hands of the worker that dies.
            run.killed = self._kill(run)
        run.view = self._api.run(run.run)
        return run

    def _kill(self, run: Played) -> int | None:
        """Wait until somebody has begun to pack, then kill that process in the middle of it; gives its id."""
        end = time.monotonic() + BEGIN_WITHIN
        while time.monotonic() < end:
            time.sleep(0.02)
            begun = self._world.effects("warehouse.begun", run.run)
            if begun:
                time.sleep(INTO_THE_STAGE)
                return self._kill_process(begun[0].by)
        return None

    def _kill_process(self, pid: int) -> int | None:
        if not self._job.kill(pid):
            return None
        self._console.print(f"killed worker process {pid} with SIGKILL, in the middle of `{PACK}`", style="yellow")
        return pid

    def _look(self, run: Played) -> None:
        run.view = self._api.run(run.run)
        waits = any(stage.get("progress") for stage in run.view["stages"])
        if run.case.trouble is Trouble.CANCELLED and waits and _open(run):
            with suppress(ApiError):  # should it refuse, the run does not end as it must, and that is reported
                run.view = self._api.act(run.run, "cancel", {"reason": "the premiere was called off"})

    def _send(self, runs: Sequence[Played]) -> None:
        """Send these runs the events that are due."""
        for run in runs:
            if _open(run):
                for letter in letters(run, self._world)[len(run.answers) :]:
                    if not self._is_next(letter, run):
                        break
                    run.answers.append(self._sent(letter, run))

    def _is_next(self, letter: Letter, run: Played) -> bool:
        if not letter.is_due(run):
            return False
        if not run.answers or run.answers[-1]["id"] == letter.id or run.answers[-1]["status"] == REFUSED:
            return True
        id_ = run.answers[-1]["id"]
        run.settled[id_] = self._api.event(run.run, id_)
        return bool(run.settled[id_]["status"] != "accepted")

    def _sent(self, letter: Letter, run: Played) -> Json:
        """Send an event; gives the answer, which says ``refused`` and why if the API does."""
        try:
            answer = self._api.acting_as(letter.roles).send(run.run, letter.name, letter.payload, id_=letter.id)
        except ApiError as error:
            answer = {"id": letter.id, "name": letter.name, "status": REFUSED, "reason": str(error)}
        again = " once more" if run.answers and run.answers[-1]["id"] == letter.id else ""
        by = f" by {' and '.join(letter.roles)}" if letter.roles else ""
        told = f"sent{again}{by} to {run.case.name}: {event_of(answer)}"
        self._console.print(told, style="blue", markup=False, soft_wrap=True)
        return answer

    @contextmanager
    def _shown(self, runs: Sequence[Played]) -> Iterator[Show]:
        """A table that follows the runs; without a terminal, a line whenever a run has changed."""
        if self._console.is_terminal:
            with Live(console=self._console, refresh_per_second=4, transient=True) as live:
                yield lambda _run: live.update(
                    runs_so_far(runs, self._console.width, self._console.height, time.time_ns() // 1_000_000)
                )
            return
        known: dict[str, str] = {}

        def line(run: Played) -> None:
            told = f"{run.view['status']:<10} {progress_of(run.view)}"
            if run.view["stages"] and known.get(run.run) != told:
                known[run.run] = told
                self._console.print(f"{run.run}  {run.case.name:<27} {told}", markup=False, soft_wrap=True)

        yield line


def _open(run: Played) -> bool:
    return run.view["status"] not in FINISHED


def runs_so_far(runs: Sequence[Played], width: int, height: int, now: int) -> Table:
    """All runs; of more than fit the height, those that are not over. Only what is told of their stages is ever cut."""
    waiting = [run for run in runs if _open(run)]
    caption = f"{len(runs) - len(waiting)} of {len(runs)} are over"
    table = Table(box=None, pad_edge=False, expand=True, caption=caption, caption_justify="left")
    ids = ("run",) if width >= WITH_IDS else ()
    for title in (*ids, "input", "status"):
        table.add_column(title, header_style="dim", no_wrap=True)
    table.add_column("seconds", header_style="dim", no_wrap=True, justify="right")
    table.add_column("stages", header_style="dim", no_wrap=True, overflow="ellipsis", ratio=1)
    for each in runs if len(runs) + AROUND <= height else waiting:
        told = _killed(each, now) or progress_of(each.view, FEW if width >= ROOMY else FEWER)
        row = (each.case.name, status_of(each.view), f"{seconds_of(each.view, now):.1f}", told)
        table.add_row(*((each.run, *row) if ids else row))
    return table


def _killed(run: Played, now: int) -> Text | None:
    """Why nothing happens to the run whose worker was killed, as long as nobody has found out."""
    stages = [stage for stage in run.view["stages"] if stage["stage"] == PACK]
    if run.killed is None or not stages or (stages[0]["status"], stages[0]["attempt"]) != ("running", 1):
        return None
    left = (stages[0]["at"] - now) / 1000
    return Text(f"killed, lease ends in {left:.0f} s" if left > 0 else "killed, lease is over", "yellow")

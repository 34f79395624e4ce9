"""The judgement on what is late, in histories in which all messages are lost but those of the tick."""

from __future__ import annotations

from kernel.shell.environment import HOUR, SECOND, Limits
from kernel.testing.simulator.books import HELD, Books
from kernel.testing.simulator.world import World

LATEST = 10 * SECOND
"""Milliseconds that what is needed may be late on top of a tick and the look grace: skew, and calls on the way."""


class Lateness:
    """Judges whether what a run needs is done in time.

    ``due`` of a run that is awake lies at most the look grace ahead, and the first tick after it takes the run, settles
    what it can, and pokes a worker for the rest. So whatever is needed from some time on is done within a tick and the
    look grace of that:

    - a run that was created begins;
    - a stage that was scheduled is started, or one whose lease was found to be over is settled;
    - a retry is started, a timer fires, a check is made (and is over within its timeout);
    - an external event that was accepted is applied, by a machine once it is in a state that can tell;
    - an attempt whose lease is over is reaped;
    - a paused run whose time has come goes on, and what of the above it held back is done from then on;
    - a run past its deadline is failed,

    unless something else makes an end of the stage or the run meanwhile. That holds where there is a worker for each
    poke, as the queue and Lambda promise: the invocation that a poke leads to looks at that stage first, so it has room
    for it. A fault (a process that dies, a reply that is lost) takes at most one look, so for each that struck since,
    there is a tick and the look grace more.
    """

    def __init__(self, world: World, limits: Limits) -> None:
        """Nothing is needed yet."""
        self._world = world
        self._look = limits.tick + limits.look_grace

    def judge(self, books: Books) -> None:  # noqa: C901, PLR0912 - one case for each status
        """Nothing that a run needs has waited too long by now."""
        if books.over:
            return
        now = self._world.now
        self._judge("the end of the run", books.deadline, books)
        if now >= books.deadline:
            return  # which is all that it needs now
        if books.resumes is not None:
            self._judge("the end of a pause", books.resumes, books)
        if not books.begun and books.paused is None:
            self._judge("the beginning of the run", books.began, books)
        for id_, since in books.waiting.items():
            self._judge_event(id_, since, books)
        held = HELD if books.paused is not None else frozenset[str]()
        for id_, stage in ((id_, stage) for id_, stage in books.stages.items() if stage.status not in held):
            match stage.status:
                case "scheduled":
                    self._judge(f"the start of {id_}", stage.due, books)
                case "expired":
                    self._judge(f"what follows on the lease of {id_}", stage.due, books)
                case "waiting":
                    self._judge(f"a retry of {id_}", stage.due, books)
                case "set":
                    self._judge(f"the timer {id_}", stage.due, books)
                case "awaits" if stage.due:
                    self._judge(f"the time-out of {id_}", stage.due, books)
                case "suspended":
                    self._judge(f"a check of {id_}", stage.due, books, takes=books.spec(id_).timeout)
                case "running":
                    _, until = books.lives.get(stage.claim, (0, 0))
                    self._judge(f"the end of the lease of {id_}", max(stage.due, until), books)
                case _:
                    pass

    def _judge_event(self, id_: str, since: int, books: Books) -> None:
        """An event waits where a machine cannot tell; the longer it has waited, the more rarely is it looked at."""
        moves, backoff = books.moves, 0
        if moves is not None:
            if moves.waits:
                return
            backoff = min(HOUR, max(0, moves.since - since))
            since = max(since, moves.since)
        self._judge(f"the event {id_}", since, books, takes=backoff)

    def _judge(self, what: str, since: int, books: Books, takes: int = 0) -> None:
        late = self._world.now - since
        if late <= self._look + LATEST + takes:
            return
        faults = self._world.weather.since(since)
        if late > self._look * (1 + faults) + LATEST + takes:
            books.fail("timers-are-hardly-late", f"{what} is {late} ms late, with {faults} faults since")

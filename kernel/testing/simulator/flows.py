"""Random workflows: shapes, retries, suspensions, compensation, conditions, and bodies that do everything bodies do.

What a body does at each attempt follows from the seed, the stage and the attempt's claim, so that a body that runs
twice for one claim would do the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol
from zlib import crc32

from pydantic import BaseModel

from kernel.define.context import Context, Failed, Pending, Suspend
from kernel.define.policy import Retry
from kernel.define.stage import stage as plain_stage
from kernel.define.workflow import Workflow
from kernel.errors import PermanentError
from kernel.testing.simulator.chance import Chance, mix

_stage: Any = plain_stage
"""The decorator, whose types cannot follow functions that are made up at run time."""

MANY = 300
"""Checks that make a log which is read in more than one page."""
AT_ONCE = 30
"""Length of the text by which a stage that may suspend itself does not."""

Flow = Workflow[Any, *tuple[Any, ...]]


class Note(BaseModel):
    """What every stage takes and gives.

    Attributes:
        by: which stage wrote it, by which claim: ``pack@7``. The watch compares it with the log.
        text: some more, to be of any size.
    """

    by: str = ""
    text: str = ""


class Job(BaseModel):
    """What a suspended stage leaves for its check."""

    by: str
    text: str = ""


class Ticket(BaseModel):
    """What every run is started with."""

    text: str = ""


class Options(BaseModel):
    """A stage's configuration."""

    size: int = 1


class Stagehand(Protocol):
    """What bodies need of the world in which they run."""

    def claim(self, stage: str) -> int:
        """Number of the commit that started the body that runs; 0 for a check."""
        ...

    def enter(self, stage: str, timeout: int) -> None:
        """A body begins."""
        ...

    def wait(self, milliseconds: int) -> None:
        """Time passes."""
        ...

    def die(self) -> None:
        """The process dies here, if the weather says so."""
        ...

    @property
    def calm(self) -> bool:
        """Nothing more shall go wrong."""
        ...


Act = Callable[[Context[Any], Chance], None]
"""Something that a body does before it returns."""


def make_flow(hand: Stagehand, seed: int, id_: str, version: int = 1) -> Flow:
    """A workflow of one to ten stages, or now and then of thirty."""
    return _Maker(hand, seed, id_, version).flow()


class _Maker:
    """Makes one workflow."""

    def __init__(self, hand: Stagehand, seed: int, id_: str, version: int) -> None:
        self._hand = hand
        self._seed = mix(seed, crc32(id_.encode()), version)
        self._chance = Chance(self._seed, "flow")
        self._id = id_
        self._version = version
        self._undoing = self._chance.happens(0.45)
        self._trouble = self._chance.pick((0.0, 0.1, 0.3, 0.6))
        self._presets: dict[str, Any] = {}

    def flow(self) -> Flow:
        chance = self._chance
        long = chance.happens(0.06)
        count = chance.between(20, 32) if long else chance.between(1, 9)
        shape = [self._sources(number, long=long) for number in range(count)]
        stages: list[Any] = []
        plain = []
        for number, sources in enumerate(shape):
            made, configured = self._made(number, len(sources))
            stages.append(made)
            plain.append((made, sources))
            if configured:
                self._presets[made.id] = Options(size=2)
        flow: Any = Workflow(
            self._id,
            input=Ticket,
            version=self._version,
            chain=chance.happens(0.7),
            on_failure=chance.pick((None, None, "stop", "proceed")),
            on_cancel=chance.pick(("stop", "compensate")),
            deadline=chance.pick((None, None, *(timedelta(minutes=minutes) for minutes in (3, 3, 20, 300)))),
            presets={"big": self._presets} if self._presets else None,
        )
        for made, sources in plain:
            after = tuple(stages[source] for source in sources)
            if len(after) == 1 and chance.happens(0.2):
                flow = flow.output(*after).then_if(self._condition(), made)
            elif not after:
                flow = flow.then(made)
            else:
                flow = flow.step(made, after=after)
        finished: Flow = flow
        return finished

    def _sources(self, number: int, *, long: bool) -> list[int]:
        """Which earlier stages a stage comes after."""
        if not number:
            return []
        wanted = 1 if long else self._chance.pick((1, 1, 1, 2, 3))
        if long or self._chance.happens(0.4):
            return [number - 1]
        chosen = {self._chance.below(number) for _ in range(wanted)}
        return sorted(chosen)

    def _condition(self) -> Callable[[object], bool]:
        answer = self._chance.pick((True, True, False, None))

        def condition(_given: object) -> bool:
            if answer is None:
                message = "cannot tell"
                raise KeyError(message)
            return answer

        return condition

    def _made(self, number: int, inputs: int) -> tuple[Any, bool]:
        """A stage, and whether it has a configuration."""
        chance = self._chance
        id_ = f"s{number}"
        once = chance.happens(0.1)
        pending = chance.below(4) if inputs == 1 and chance.happens(0.3) else None
        doomed = chance.happens(0.08 if self._trouble else 0.02)
        timeout = chance.pick((20, 60, 60, 200))
        configured = pending is None and inputs == 1 and chance.happens(0.1)
        options: dict[str, Any] = {
            "timeout": timedelta(seconds=timeout),
            "on_failure": chance.pick((None, None, "stop", "proceed")),
            "at_most_once": once,
        }
        if not once:
            first = timedelta(seconds=chance.pick((0, 1, 30, 1_200, 1_200)))
            steep = chance.pick((2.0, 2.0, 1e200))
            kinds: dict[str, Any] = {"on": chance.pick(((ValueError,), (OSError,)))} if chance.happens(0.1) else {}
            options["retry"] = Retry(chance.between(1, 5), first=first, factor=steep, cap=timedelta(hours=3), **kinds)
        body = self._body(id_, timeout * 1000, doomed=doomed)
        if self._undoing and chance.happens(0.7):
            options["compensate"] = self._undo(id_, timeout * 1000)
        if pending is not None:
            every = chance.pick((30, 600, 1_000, 1_000, 7_200))
            if chance.happens(0.02):
                every, pending = 30, MANY
            options |= {
                "check": self._check(id_, pending),
                "every": timedelta(seconds=every),
                "limit": timedelta(seconds=chance.pick((2, 5, 20) if pending < MANY else (MANY + 9,)) * every),
            }
            return _stage(**options)(_suspending(body)).named(id_), False
        function = _configured(body) if configured else _functions(body)[inputs]
        return _stage(**options)(function).named(id_), configured

    def _body(self, id_: str, timeout: int, *, doomed: bool) -> Callable[[Context[Any]], Note]:
        hand, seed, trouble = self._hand, mix(self._seed, crc32(id_.encode())), self._trouble
        acts = (*_ACTS, self._wait(timeout // 3), self._wait(timeout * 2), self._work(timeout))

        def body(ctx: Context[Any]) -> Note:
            hand.enter(ctx.stage, timeout)
            claim = hand.claim(ctx.stage)
            chance = Chance(seed, claim)
            if doomed:
                raise PermanentError("never works") if chance.happens(0.5) else ValueError("never works")
            text = ""
            if not hand.calm:
                hand.die()
                if chance.happens(0.4):
                    hand.wait(chance.below(timeout // 3))
                if chance.happens(trouble):
                    chance.pick(acts)(ctx, chance)
                text = "x" * chance.pick((0, 0, 0, AT_ONCE, 300, 700, 3_000))
                if chance.happens(trouble / 8):
                    return chance.pick((7, None, Note(by="x" * 9_000), "note"))  # type: ignore[return-value]  # on purpose
            return Note(by=f"{ctx.stage}@{claim}", text=text)

        return body

    def _undo(self, id_: str, timeout: int) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
        body = self._body(f"undo {id_}", timeout, doomed=self._chance.happens(0.15))

        def undo(ctx: Context, note: Note) -> None:  # noqa: ARG001 - the shape of a compensation
            body(ctx)

        return undo

    def _check(self, id_: str, pending: int) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
        hand, seed, trouble = self._hand, mix(self._seed, crc32(f"check {id_}".encode())), self._trouble
        looks = [0]
        hopeless = self._chance.happens(0.1)

        def check(ctx: Context, job: Job) -> Note | Pending:
            looks[0] += 1
            chance = Chance(seed, looks[0])
            if hopeless:
                raise ValueError("nobody answers")
            if not hand.calm and chance.happens(trouble):
                hand.die()
                chance.pick((*_ACTS, self._wait(30_000)))(ctx, chance)
            if looks[0] <= pending:
                return Pending(progress=looks[0] / 10)
            return Note(by=f"{ctx.stage}@{job.by}", text=job.text)

        return check

    def _wait(self, most: int) -> Act:
        return lambda _ctx, chance: self._hand.wait(1 + chance.below(most))

    def _work(self, timeout: int) -> Act:
        """Longer than the timeout, with signs of life."""

        def work(ctx: Context[Any], chance: Chance) -> None:
            for step in range(chance.between(1, 6)):
                self._hand.wait(timeout * 2 // 3)
                if chance.happens(0.5):
                    ctx.heartbeat()
                else:
                    ctx.progress(step / 10)
                if chance.happens(0.5) and ctx.cancelled:
                    message = "no more needed"
                    raise ValueError(message)

        return work


class Unspeakable(Exception):
    """An error that cannot even be told."""

    def __str__(self) -> str:
        raise ValueError(type(self).__name__)


def _throw(_ctx: Context[Any], chance: Chance) -> None:
    if chance.happens(0.3):
        raise ValueError(" ".join(chance.token() for _ in range(70)))  # one that makes the state large
    raise chance.pick((ValueError("again"), OSError("again"), PermanentError("no"), SystemExit(3), Unspeakable()))


def _look_around(ctx: Context[Any], chance: Chance) -> None:
    ctx.run_input(Ticket)
    ctx.log.info("%s", ctx.key)
    ctx.heartbeat()
    ctx.heartbeat()  # too soon after the other one
    if chance.happens(0.5):
        _ = ctx.cancelled
    if chance.happens(0.1):
        ctx.output(_nowhere)


def nowhere(ctx: Context, ticket: Ticket) -> Note:  # noqa: ARG001 - the shape of a stage
    """A stage that is part of no workflow."""
    return Note()


_nowhere = _stage(nowhere)


_ACTS: Sequence[Act] = (_throw, _throw, _look_around)

Given = Note | Failed | None


def _functions(body: Callable[[Context[Any]], Note]) -> Sequence[Any]:
    """The body as a function of no, one, two and three outputs; the first stage takes the run's input."""

    def root(ctx: Context, ticket: Ticket) -> Note:  # noqa: ARG001 - what it takes is what is tested
        return body(ctx)

    def one(ctx: Context, a: Note | Failed | None) -> Note:  # noqa: ARG001 - the same
        return body(ctx)

    def two(ctx: Context, a: Note | Failed | None, b: Note | Failed | None) -> Note:  # noqa: ARG001 - the same
        return body(ctx)

    def three(ctx: Context, a: Note | Failed | None, b: Note | Failed | None, c: Note | Failed | None) -> Note:  # noqa: ARG001 - the same
        return body(ctx)

    return root, one, two, three


def _configured(body: Callable[[Context[Any]], Note]) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
    def with_options(ctx: Context[Options], a: Note | Failed | None) -> Note:  # noqa: ARG001 - the same
        note = body(ctx)
        return Note(by=note.by, text=note.text * ctx.config.size) if isinstance(note, Note) else note

    return with_options


def _suspending(body: Callable[[Context[Any]], Note]) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
    def job(ctx: Context, a: Note | Failed | None) -> Note | Suspend[Job]:  # noqa: ARG001 - the same
        note = body(ctx)
        _, at, claim = note.by.partition("@") if isinstance(note, Note) else ("", "", "")
        if not at or len(note.text) == AT_ONCE:
            return note
        return Suspend(Job(by=claim, text=note.text))

    return job

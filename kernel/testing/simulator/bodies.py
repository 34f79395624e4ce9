"""What the stages of made-up workflows do: everything that bodies do, and much that they should not.

What a body does at each attempt follows from the seed, the stage and the attempt's claim, so that a body that runs
twice for one claim would do the same again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

from pydantic import BaseModel

from kernel.define.context import AwaitCallback, Context, Failed, Pending, Suspend
from kernel.define.stage import stage as plain_stage
from kernel.errors import PermanentError
from kernel.testing.simulator.chance import Chance, mix
from kernel.testing.simulator.stagehand import Stagehand

make_stage: Any = plain_stage
"""The decorator, whose types cannot follow functions that are made up at run time."""

AT_ONCE = 30
"""Length of the text by which a stage that may suspend itself does not."""


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
    tags: frozenset[int] = frozenset()
    notes: dict[str, int] = {}


class Options(BaseModel):
    """A stage's configuration."""

    size: int = 1


Act = Callable[[Context[Any], Chance], None]
"""Something that a body does before it returns."""


class Bodies:
    """Makes the bodies of one workflow's stages."""

    def __init__(self, hand: Stagehand, seed: int, trouble: float) -> None:
        """Bodies that reach for ``hand``, and of which a share makes ``trouble`` at each attempt."""
        self._hand = hand
        self._seed = seed
        self._trouble = trouble

    def body(self, id_: str, timeout: int, *, doomed: bool) -> Callable[[Context[Any]], Note]:
        """A stage's body; a ``doomed`` one never works."""
        hand, seed, trouble = self._hand, mix(self._seed, crc32(id_.encode())), self._trouble
        acts = (*_ACTS, self._wait(timeout // 3), self._wait(timeout * 2), self._work(timeout))

        def body(ctx: Context[Any]) -> Note:
            hand.enter(ctx.stage, timeout, ctx.key)
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

    def undo(self, id_: str, timeout: int, *, doomed: bool) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
        """A stage's compensation."""
        body = self.body(f"undo {id_}", timeout, doomed=doomed)

        def undo(ctx: Context, note: Note) -> None:  # noqa: ARG001 - the shape of a compensation
            body(ctx)

        return undo

    def check(self, id_: str, pending: int, *, hopeless: bool) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
        """A stage's check, which says so often that what it waits for is not there yet; a ``hopeless`` one throws."""
        hand, seed, trouble = self._hand, mix(self._seed, crc32(f"check {id_}".encode())), self._trouble
        looks = [0]

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

    def asking(self, body: Callable[[Context[Any]], Note], limit: int, heartbeat: int | None) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
        """The body as a function of one output that leaves the rest to a third party, unless it is done at once."""
        hand = self._hand

        def ask(ctx: Context, a: Note | Failed | None) -> Note | AwaitCallback:  # noqa: ARG001 - what it takes is what is tested
            if early := ctx.attempt % 2:
                hand.give(ctx.callback_token, limit, heartbeat)
            note = body(ctx)
            if not early:
                hand.give(ctx.callback_token, limit, heartbeat)
            return note if not isinstance(note, Note) or len(note.text) == AT_ONCE else AwaitCallback()

        return ask

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


_nowhere = make_stage(nowhere)


_ACTS: Sequence[Act] = (_throw, _throw, _look_around)

Given = Note | Failed | None


def taking(body: Callable[[Context[Any]], Note]) -> Sequence[Any]:
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


def given(takes: Any, function: Any) -> Any:  # noqa: ANN401 - a type, and a function whose types the decorator reads
    """The function, of something else than most, if that is given."""
    if takes is not None:
        function.__annotations__["a"] = takes
    return function


def configured(body: Callable[[Context[Any]], Note]) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
    """The body as a function of one output that has a configuration."""

    def with_options(ctx: Context[Options], a: Note | Failed | None) -> Note:  # noqa: ARG001 - the same
        note = body(ctx)
        return Note(by=note.by, text=note.text * ctx.config.size) if isinstance(note, Note) else note

    return with_options


def suspending(body: Callable[[Context[Any]], Note]) -> Any:  # noqa: ANN401 - a function whose types the decorator reads
    """The body as a function that leaves the rest to a check, unless it is done at once."""

    def job(ctx: Context, a: Note | Failed | None) -> Note | Suspend[Job]:  # noqa: ARG001 - the same
        note = body(ctx)
        _, at, claim = note.by.partition("@") if isinstance(note, Note) else ("", "", "")
        if not at or len(note.text) == AT_ONCE:
            return note
        return Suspend(Job(by=claim, text=note.text))

    return job

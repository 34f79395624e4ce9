"""Random workflows, in which anything may happen to any stage: what ``test_storms`` lets loose on a deployment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

from onewrite import Context, Failed, Pending, PermanentError, Retry, Suspend, Workflow, stage
from tests.shell.script import Act, Flow, Job, Note, dies, gives, throws

Given = Note | Failed | None

DAY = timedelta(days=1)

_stage: Any = stage


Move = Callable[[int], None]
"""Lets time pass, and others do what they do meanwhile."""


def random_act(random: Random, move: Move) -> Act:
    """What a body does: mostly what it should."""

    def quiet(_ctx: Context) -> None:
        pass

    def slow(_ctx: Context) -> None:
        move(random.choice((1_000, 50_000, 70_000, 200_000)))

    def long(ctx: Context) -> None:
        move(40_000)
        ctx.heartbeat()
        move(40_000)

    troubles = (
        throws(ValueError("again"), random.randrange(1, 4)),
        throws(PermanentError("no")),
        dies(random.randrange(1, 3)),
        gives(Note(text="x" * random.choice((700, 400_000)))),
        gives(7),  # not what it says it gives
        slow,
        long,
    )
    return random.choice((*troubles, *[quiet] * 6))


def random_condition(random: Random) -> Callable[[Given], bool]:
    """Whether a stage runs: the same answer each time, or an error."""
    answer = random.choice((True, True, False, False, None))

    def condition(_given: Given) -> bool:
        if answer is None:
            raise KeyError("cannot tell")
        return answer

    return condition


def _body(act: Act, inputs: int, pending: int | None) -> Any:
    """A stage's function with so many parameters; one that suspends itself is ready after so many looks."""

    def result(ctx: Context) -> Any:
        given = act(ctx)
        return Note(text=f"attempt {ctx.attempt}") if given is None else given

    def root(ctx: Context, given: Note) -> Note:
        return result(ctx)  # type: ignore[no-any-return]  # made up at run time

    def one(ctx: Context, a: Note | Failed | None) -> Note:
        return result(ctx)  # type: ignore[no-any-return]  # made up at run time

    def two(ctx: Context, a: Note | Failed | None, b: Note | Failed | None) -> Note:
        return result(ctx)  # type: ignore[no-any-return]  # made up at run time

    def three(ctx: Context, a: Note | Failed | None, b: Note | Failed | None, c: Note | Failed | None) -> Note:
        return result(ctx)  # type: ignore[no-any-return]  # made up at run time

    def job(ctx: Context, a: Note | Failed | None) -> Note | Suspend[Job]:
        result(ctx)
        return Suspend(Job())

    return job if pending is not None else (root, one, two, three)[inputs]


def _check(times: int, trouble: Act) -> Any:
    left = [times]

    def look(ctx: Context, job: Job) -> Note | Pending:
        left[0] -= 1
        if left[0] >= 0:
            return Pending()
        trouble(ctx)
        return Note(text=f"attempt {ctx.attempt}")

    return look


def random_flow(random: Random, move: Move) -> Flow:
    """Two to nine stages, each after some of those before it."""
    undoing = random.random() < 0.5
    flow: Any = Workflow(
        "storm",
        input=Note,
        chain=random.random() < 0.7,
        on_cancel=random.choice(("stop", "compensate")),
        deadline=random.choice((None, timedelta(days=1))),
    )
    made: list[Any] = []
    for number in range(random.randrange(2, 10)):
        after = random.sample(made, min(len(made), random.choice((1, 1, 1, 2, 3))))
        pending = random.randrange(3) if len(after) == 1 and random.random() < 0.25 else None
        new = _made(random, move, number, len(after), pending, undoing=undoing)
        if len(after) == 1 and random.random() < 0.2:
            flow = flow.output(*after).then_if(random_condition(random), new)
        else:
            flow = flow.step(new, after=tuple(after)) if after else flow.then(new)
        made.append(new)
    finished: Flow = flow
    return finished


def _made(random: Random, move: Move, number: int, inputs: int, pending: int | None, *, undoing: bool) -> Any:
    once = random.random() < 0.1
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=60),
        "on_failure": random.choice((None, "stop", "proceed", "proceed")),
        "at_most_once": once,
    }
    if not once:
        options["retry"] = Retry(random.randrange(1, 4), first=timedelta(seconds=random.choice((0, 1, 1_200))), cap=DAY)
    if undoing and random.random() < 0.7:
        act = random_act(random, move)

        def undo(ctx: Context, note: Note) -> None:
            act(ctx)

        options["compensate"] = undo
    if pending is not None:
        every = random.choice((30, 600, 900, 1_000, 7_200))
        check = _check(pending, random_act(random, move))
        options |= {"check": check, "every": timedelta(seconds=every), "limit": timedelta(seconds=5 * every)}
    function = _body(random_act(random, move), inputs, pending)
    return _stage(**options)(function).named(f"s{number}")

"""Workflows made for the soak: short stages with short timeouts, each with its share of trouble, all noted outside.

What happens to an attempt follows from the run's seed, the stage and the attempt: how long it takes, whether it throws,
hangs until it is interrupted, or sleeps through the end of its lease and comes back with a result that must not count.
"""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Any

from pydantic import BaseModel

from bench.soak.effects import ANSWERED, BEGAN, RAISED, RETURNED, SUSPENDED, Diary, digest_of
from kernel.errors import StageTimedOut
from onewrite import Context, Pending, PermanentError, Registry, Retry, Suspend, Workflow, stage

SECONDS = timedelta(seconds=1)
TIMEOUT = 2 * SECONDS
RETRY = Retry(5, first=0.2 * SECONDS, cap=SECONDS)
"""Five: a stage that is killed again and again shall still get through, mostly."""
DOZE = 4.5
"""Seconds: longer than a lease, which is the timeout and a grace of one second."""


class Job(BaseModel):
    """What a run is started with: all that happens to it follows from the seed; ``calm``: nothing does."""

    seed: int
    calm: bool = False


class Mark(BaseModel):
    """What a stage leaves: no two executions leave the same."""

    by: str
    pad: str = ""


class Receipt(BaseModel):
    """What a suspended stage leaves for its check."""

    ready: float


class Trouble(Exception):
    """An error that a retry may help."""


diary = Diary()


def _place(ctx: Context) -> tuple[str, str, int, int]:
    """Run, stage, attempt, and the number of the commit that began it: the engine's own, so it is looked for inside."""
    handle: Any = ctx._handle  # noqa: SLF001 - stages are not told their fencing token, and the soak is about it
    return ctx.run_id, ctx.stage, ctx.attempt, handle._seq  # noqa: SLF001 - as above


@contextmanager
def _noted(ctx: Context, *given: Mark) -> Iterator[None]:
    """Note that a body began; and that it raised, if it does."""
    place = _place(ctx)
    diary.write(BEGAN, place, given=tuple(map(digest_of, given)))
    try:
        yield
    except BaseException:
        diary.write(RAISED, place)
        raise


def _doze(seconds: float) -> None:
    """Hang so that no interruption gets through, as a frozen process does, and go on as if nothing had happened.

    The signal is held back; what interrupts threads waits for the end of this one long call.
    """
    with suppress(StageTimedOut):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        try:
            time.sleep(seconds)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def _suffer(ctx: Context, luck: Random) -> None:
    """Take a while, and maybe fail, as this attempt's luck has it."""
    fate = luck.random()
    if fate < 0.003:
        _doze(DOZE)
    elif fate < 0.005:
        time.sleep(2 * TIMEOUT.total_seconds())  # to be interrupted; in a thread, to be told so too late
    elif fate < 0.035:
        time.sleep(luck.uniform(0.2, 0.6))
    elif fate < 0.15:
        time.sleep(luck.uniform(0.03, 0.1))
    else:
        time.sleep(luck.uniform(0.002, 0.015))
    fate = luck.random()
    if fate < 0.06:
        raise Trouble(f"{ctx.stage} fails")
    if fate < 0.066:
        raise PermanentError(f"{ctx.stage} fails for good")


def _luck(ctx: Context) -> tuple[Random, bool]:
    job = ctx.run_input(Job)
    return Random(f"{job.seed}/{ctx.stage}/{ctx.attempt}"), job.calm


def _mark(luck: Random, *, calm: bool) -> Mark:
    """A result like no other: one in 25 too big for its event, one in 400 too big for the table."""
    fate = luck.random()
    size = 310_000 if fate < 0.0025 and not calm else luck.randrange(600, 4_000) if fate < 0.04 else 0
    return Mark(by=uuid.uuid4().hex, pad="x" * size)


def work(ctx: Context, *given: Mark) -> Mark:
    """Do what a stage of the soak does."""
    with _noted(ctx, *given):
        luck, calm = _luck(ctx)
        if not calm:
            _suffer(ctx, luck)
        mark = _mark(luck, calm=calm)
        diary.write(RETURNED, _place(ctx), result=digest_of(mark))
    return mark


def undo(ctx: Context, mark: Mark) -> None:
    """Undo a stage."""
    with _noted(ctx, mark):
        luck, calm = _luck(ctx)
        if not calm:
            _suffer(ctx, luck)
        diary.write(RETURNED, _place(ctx), result=digest_of(None))


@stage(timeout=TIMEOUT, retry=RETRY)
def begin(ctx: Context, job: Job) -> Mark:  # noqa: ARG001 - the input is read where it is needed
    """A first stage."""
    return work(ctx)


@stage(timeout=TIMEOUT, retry=RETRY)
def step(ctx: Context, before: Mark) -> Mark:
    """A stage after another."""
    return work(ctx, before)


@stage(timeout=TIMEOUT, retry=RETRY)
def join(ctx: Context, a: Mark, b: Mark, c: Mark) -> Mark:
    """A stage after three."""
    return work(ctx, a, b, c)


@stage(timeout=TIMEOUT, retry=RETRY, compensate=undo)
def reserve(ctx: Context, job: Job) -> Mark:  # noqa: ARG001 - the input is read where it is needed
    """A first stage that can be undone."""
    return work(ctx)


@stage(timeout=TIMEOUT, retry=RETRY, compensate=undo)
def pay(ctx: Context, before: Mark) -> Mark:
    """A further one."""
    return work(ctx, before)


@stage(timeout=TIMEOUT, retry=RETRY)
def confirm(ctx: Context, before: Mark) -> Mark:
    """A stage that fails for good in a quarter of all runs, so that much is undone."""
    luck, calm = _luck(ctx)
    with _noted(ctx, before):
        if not calm and luck.random() < 0.25:
            raise PermanentError("no confirmation")
        mark = _mark(luck, calm=calm)
        diary.write(RETURNED, _place(ctx), result=digest_of(mark))
    return mark


def ready(ctx: Context, receipt: Receipt) -> Mark | Pending:
    """Ask whether it is time: not before the time that was set, and after some errors of the asking itself."""
    _, calm = _luck(ctx)
    if time.time() < receipt.ready:
        return Pending(progress=0.5)
    if not calm and Random().random() < 0.1:  # two looks may come to different answers
        raise Trouble("the check fails")
    mark = Mark(by=uuid.uuid4().hex)
    diary.write(ANSWERED, _place(ctx), result=digest_of(mark))
    return mark


@stage(timeout=TIMEOUT, retry=RETRY, check=ready, every=SECONDS, limit=20 * SECONDS)
def submit(ctx: Context, before: Mark) -> Mark | Suspend[Receipt]:
    """A stage that hands over to its check."""
    with _noted(ctx, before):
        luck, calm = _luck(ctx)
        if not calm:
            _suffer(ctx, luck)
        diary.write(SUSPENDED, _place(ctx))
    return Suspend(Receipt(ready=time.time() + (0 if calm else luck.uniform(0, 2))))


@stage(timeout=TIMEOUT, at_most_once=True)
def strike(ctx: Context, before: Mark) -> Mark:
    """A stage that is started once and never again."""
    return work(ctx, before)


line = Workflow("line", input=Job).then(begin).then(step.named("b")).then(step.named("c")).then(step.named("d"))
fan = (
    Workflow("fan", input=Job)
    .then(begin)
    .together(step.named("left"), step.named("middle"), step.named("right"))
    .then(join)
)
booking = (
    Workflow("booking", input=Job, on_failure="compensate", on_cancel="compensate")
    .then(reserve)
    .then(pay)
    .then(pay.named("insure"))
    .then(confirm)
)
wait = Workflow("wait", input=Job).then(begin).then(submit).then(step)
once = Workflow("once", input=Job).then(begin).then(strike).then(step)


def _march() -> Workflow[Job, Mark]:
    """Ten stages, each with a message and a claim of its own: long enough for snapshots."""
    flow = Workflow("march", input=Job, chain=False).then(begin)
    for number in range(2, 11):
        flow = flow.then(step.named(f"s{number}"))
    return flow


march = _march()

registry = Registry(line, fan, booking, wait, once, march)

SHARES = {"line": 25, "fan": 30, "booking": 20, "wait": 12, "once": 9, "march": 4}
"""How many of a hundred runs are of which workflow."""

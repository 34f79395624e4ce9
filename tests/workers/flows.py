"""Workflows for worker processes: stages that take as long as a run says, the first time."""

from __future__ import annotations

import os
import time
from datetime import timedelta

from pydantic import BaseModel

from onewrite import Context, Registry, Retry, Workflow, stage

TIMEOUT = timedelta(seconds=120)


class Nap(BaseModel):
    """How long the first attempt takes, in seconds; ``dies``: it ends its process."""

    seconds: float = 0.0
    dies: bool = False


class Woken(BaseModel):
    """Who has done it, and when, in milliseconds."""

    pid: int
    at: int


@stage(timeout=TIMEOUT, retry=Retry(5, first=timedelta(seconds=0.1), cap=timedelta(seconds=0.5)))
def nap(ctx: Context, given: Nap) -> Woken:
    """Take a while; in small pieces, so that it can be interrupted."""
    if ctx.attempt == 1:
        if given.dies:
            os._exit(9)
        end = time.monotonic() + given.seconds
        while time.monotonic() < end:
            time.sleep(0.01)
    return Woken(pid=os.getpid(), at=time.time_ns() // 1_000_000)


@stage(timeout=timedelta(seconds=1), retry=Retry(2, first=timedelta(seconds=0.1)))
def hang(ctx: Context, given: Nap) -> Woken:
    """Never end by itself, the first time, but ask now and then whether it shall."""
    while ctx.attempt == 1 and not ctx.cancelled:
        time.sleep(0.1)
    return Woken(pid=os.getpid(), at=0)


@stage(timeout=timedelta(seconds=1), retry=Retry(2, first=timedelta(seconds=0.1)))
def go_deaf(ctx: Context, given: Nap) -> Woken:
    """Ask nobody, for longer than anybody waits, the first time."""
    if ctx.attempt == 1:
        time.sleep(given.seconds)
    return Woken(pid=os.getpid(), at=0)


@stage(timeout=timedelta(seconds=10))
def after(ctx: Context, woken: Woken) -> Woken:
    """Follow at once."""
    return Woken(pid=os.getpid(), at=time.time_ns() // 1_000_000)


napping = Workflow("napping", input=Nap).then(nap).then(after)
hanging = Workflow("hanging", input=Nap).then(hang)
deaf = Workflow("deaf", input=Nap).then(go_deaf)
apart = Workflow("apart", input=Nap, chain=False).then(nap).then(after)
registry = Registry(napping, hanging, deaf, apart)

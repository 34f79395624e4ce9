"""A workflow whose stage does its process a mischief the first time it runs, and behaves from then on."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel

from onewrite import Context, Registry, Retry, Workflow, stage
from workflows.examples.outside import world

SOON = timedelta(seconds=2)


class Plan(BaseModel):
    mischief: Literal["none", "exit", "hang"] = "none"


class Done(BaseModel):
    attempt: int


@stage(timeout=SOON)
def begin(ctx: Context, plan: Plan) -> Plan:
    world().count("begun", ctx.run_id)
    return plan


@stage(timeout=SOON, retry=Retry(3, first=timedelta(milliseconds=1)))
def misbehave(ctx: Context, plan: Plan) -> Done:
    attempt = world().count("tried", ctx.run_id)
    if attempt == 1 and plan.mischief == "exit":
        os._exit(7)
    if attempt == 1 and plan.mischief == "hang":
        # As an extension module does that never comes back to Python: the stage's time limit is a signal that nobody
        # handles.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        time.sleep(600)
    return Done(attempt=attempt)


@stage(timeout=SOON)
def end(ctx: Context, done: Done) -> Done:
    world().count("ended", ctx.run_id)
    return done


registry = Registry(Workflow("mischief", input=Plan).then(begin).then(misbehave).then(end))

"""The soak itself: sets everything up, lets callers and killers do their worst, waits for quiet, and accounts."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from bench.soak.account import Account, Asked, Finding, account_of, by_run
from bench.soak.audit import audit
from bench.soak.chaos import Killer
from bench.soak.driver import Callers
from bench.soak.effects import Effect, effects_in
from bench.soak.figures import figures_of
from bench.soak.plan import Plan, Result, Tally
from bench.soak.trials import TENANT, Toll, Trial, trial_of
from bench.soak.workflows import registry
from hosts.local.client import Api
from hosts.local.host import LocalHost
from infra.alarm import SignalAlarm
from infra.dynamodb.store import DynamoDbStore
from infra.s3 import S3Blobs
from infra.sqs import SqsQueue
from infra.system import SystemClock, SystemRandom
from kernel.shell.environment import Environment, NoSink

LOOK_EVERY = 0.5
"""Seconds between two looks at how it goes."""


class Soak:
    """One soak.

    Args:
        plan: how much of it.
        say: is told what goes on, in words.
        watch: is called about twice a second while it goes on.

    Attributes:
        trial: what is soaked.
        callers, killer: who does what.
    """

    trial: Trial
    callers: Callers
    killer: Killer

    def __init__(self, plan: Plan, say: Callable[[str], None], watch: Callable[[Soak], None]) -> None:
        self.plan = plan
        self._say = say
        self._watch = watch
        self._began = 0.0

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return time.monotonic() - self._began

    def run(self) -> Result:
        """Do it.

        Raises:
            OnewriteError: something cannot be started; the message says what.
        """
        with (
            tempfile.TemporaryDirectory(prefix="soak-") as folder,
            trial_of(self.plan, Path(folder), self._say) as self.trial,
        ):
            result = self._soaked(Path(folder))
            if result.findings:
                host = self.trial.host
                host.keep = True
                shutil.copytree(folder, host.folder / "effects")
            return result

    def _soaked(self, folder: Path) -> Result:
        plan, trial = self.plan, self.trial
        host = trial.host
        env = environment(host)
        self.callers = Callers(Api(host.url), env.store, TENANT, Random(f"{plan.seed}/callers"), plan.pace)
        self.killer = Killer(Random(f"{plan.seed}/killer"), plan.rates, trial.targets, folder)
        self._began = time.monotonic()
        self.killer.start()
        trial.begin()
        self.callers.start()
        try:
            self._wait(plan.seconds, self._is_enough)
        finally:
            self.killer.stop()
            self.callers.stop()
            trial.end()
        self._say("nothing goes wrong any more: waiting until all runs are over")
        stopped = self.seconds
        self._wait(plan.patience, self._is_quiet)
        quiet_after = self.seconds - stopped
        trial.quit()  # so that nobody writes effects any more
        self._say(f"accounting for {len(self.callers.accepted)} runs")
        effects = effects_in(folder)
        toll = trial.toll()
        accounts = {each.ref.run: each for each in self._accounts(env, effects, toll)}
        findings = [finding for account in accounts.values() for finding in audit(account)]
        findings += [Finding("broken", "", text) for text in (*self.callers.wrong, *toll.wrong)]
        times = (stopped, quiet_after)
        figures = figures_of(times, self.callers, self.killer, toll, accounts, effects, findings)
        return Result(plan, figures, findings, host.folder if findings else None)

    def _wait(self, seconds: float, done: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            self._watch(self)
            time.sleep(min(LOOK_EVERY, max(0.0, end - time.monotonic())))

    def _is_enough(self) -> bool:
        return self.plan.brief and not self.tally.short_of(self.plan.least)

    @property
    def tally(self) -> Tally:
        """How much there was so far."""
        toll = self.trial.toll()
        losses = Counter(loss.kind for loss in toll.losses)
        return Tally(
            runs=len(self.callers.accepted),
            kills=len(self.killer.kills),
            stops=len(self.killer.stops),
            lost=toll.lost,
            doubled=toll.doubled,
            restarts=losses["restart"],
            flushes=losses["flush"],
        )

    def _is_quiet(self) -> bool:
        self.callers.look()
        return not self.callers.open

    def _accounts(self, env: Environment, effects: list[Effect], toll: Toll) -> Iterator[Account]:
        known = by_run(effects)
        stopped = frozenset(told.name for told in toll.stopped)
        for run in self.callers.accepted.values():
            asked = Asked(run.created, run.cancels, run.reopens)
            yield account_of(env, run.ref, asked, known.get(run.ref.run, ()), stopped)


def environment(host: LocalHost) -> Environment:
    """The host's deployment, to be read from here."""
    return Environment(
        store=DynamoDbStore(host.dynamodb, host.deployment.table),
        queue=SqsQueue(host.aws.sqs, host.deployment.queue_url),
        blobs=S3Blobs(lambda: host.aws.s3, host.deployment.bucket),
        sink=NoSink(),
        clock=SystemClock(),
        random=SystemRandom(),
        alarm=SignalAlarm(),
        definitions=registry,
    )

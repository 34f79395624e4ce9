"""The soak itself: sets the host up, lets callers, carrier and killer do their worst, waits for quiet, and accounts."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from bench.soak.account import Account, Asked, Finding, account_of, by_run
from bench.soak.audit import audit
from bench.soak.chaos import Carrier, Killer
from bench.soak.driver import Callers
from bench.soak.effects import VARIABLE, Effect, effects_in
from bench.soak.figures import figures_of
from bench.soak.plan import Plan, Result
from bench.soak.workflows import registry
from hosts.local.client import Api
from hosts.local.host import LocalHost, Options
from infra.alarm import SignalAlarm
from infra.dynamodb.store import DynamoDbStore
from infra.s3 import S3Blobs
from infra.sqs import SqsQueue
from infra.system import SystemClock, SystemRandom
from kernel.shell.environment import Environment, NoSink

TENANT = "soak"
SETTINGS = {
    "WORKFLOWS": "bench.soak.workflows:registry",
    "DEFAULT_TENANT": TENANT,
    "LOG_LEVEL": "WARNING",
    "TICK_SECONDS": "1",
    "LOOK_GRACE_SECONDS": "2",
    "LEASE_GRACE_SECONDS": "1",
    "MAX_SKEW_MS": "100",
    "JOB_TIMEOUT_SECONDS": "30",
}
"""Short, as the stages' timeout of two seconds is, so that recovery takes seconds."""
BATCH = 3
"""Messages that a worker gets at a time. Those of a killed one stay hidden in the queue for a minute and a half, and
moto looks at every hidden message whenever it is asked for one: with larger batches it is soon busy with nothing else.
"""
LOOK_EVERY = 0.5
"""Seconds between two looks at how it goes."""


class Soak:
    """One soak.

    Args:
        plan: how much of it.
        say: is told what goes on, in words.
        watch: is called about twice a second while it goes on.

    Attributes:
        callers, carrier, killer: who does what.
        phase: what is going on, in a word or two.
    """

    callers: Callers
    killer: Killer

    def __init__(self, plan: Plan, say: Callable[[str], None], watch: Callable[[Soak], None]) -> None:
        self.plan = plan
        self.carrier = Carrier(Random(f"{plan.seed}/carrier"), plan.rates, self._send)
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
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            variables = {**SETTINGS, VARIABLE: folder, **self.plan.variables}
            options = Options(engine="dynamodb-local", workers=self.plan.workers, batch=BATCH, variables=variables)
            self._host = LocalHost(options, self._say, self.carrier.between)
            with self._host, self._host.logged():
                result = self._soaked(Path(folder))
                if result.findings:
                    self._host.keep = True
                    shutil.copytree(folder, self._host.folder / "effects")
                return result

    def _send(self, body: str, delay: int) -> None:
        queue = self._host.deployment.queue_url
        self._host.aws.sqs.send_message(QueueUrl=queue, MessageBody=body, DelaySeconds=delay)

    def _soaked(self, folder: Path) -> Result:
        plan, host = self.plan, self._host
        env = environment(host)
        self.callers = Callers(Api(host.url), env.store, TENANT, Random(f"{plan.seed}/callers"), plan.pace)
        self.killer = Killer(Random(f"{plan.seed}/killer"), plan.rates, (host.job, host.tick, host.intake), folder)
        self._began = time.monotonic()
        self.killer.start()
        self.callers.start()
        try:
            self._wait(plan.seconds, self._is_enough)
        finally:
            self.killer.stop()
            self.callers.stop()
            self.carrier.stop()
        self._say("nothing goes wrong any more: waiting until all runs are over")
        stopped = self.seconds
        self._wait(plan.patience, self._is_quiet)
        quiet_after = self.seconds - stopped
        host.job.stop()  # so that nobody writes effects any more
        self._say(f"accounting for {len(self.callers.accepted)} runs")
        effects = effects_in(folder)
        accounts = {each.ref.run: each for each in self._accounts(env, effects)}
        findings = [finding for account in accounts.values() for finding in audit(account)]
        findings += [Finding("broken", "", text) for text in self.callers.wrong]
        figures = figures_of(
            (stopped, quiet_after), self.callers, self.carrier, self.killer.kills, accounts, effects, findings
        )
        return Result(plan, figures, findings, host.folder if findings else None)

    def _wait(self, seconds: float, done: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            self._watch(self)
            time.sleep(min(LOOK_EVERY, max(0.0, end - time.monotonic())))

    def _is_enough(self) -> bool:
        runs, kills = len(self.callers.accepted), len(self.killer.kills)
        return self.plan.brief and not self.plan.lacks(runs, kills, self.carrier.lost, self.carrier.doubled)

    def _is_quiet(self) -> bool:
        self.callers.look()
        return not self.callers.open

    def _accounts(self, env: Environment, effects: list[Effect]) -> Iterator[Account]:
        known = by_run(effects)
        for run in self.callers.accepted.values():
            asked = Asked(run.created, run.cancels, run.reopens)
            yield account_of(env, run.ref, asked, known.get(run.ref.run, ()))


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

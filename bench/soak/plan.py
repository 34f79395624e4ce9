"""How much of a soak, and what it came to: in and out, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from bench.soak.account import Finding
from bench.soak.chaos import Rates
from bench.soak.driver import Pace
from bench.soak.recovery import Times

Transport = Literal["sqs", "redis"]
"""What carries messages: SQS to the three functions, or Redis to worker processes."""
WORKERS: dict[Transport, int] = {"sqs": 6, "redis": 4}
"""Processes that run stages."""
COUNTED = 5.0
"""Minutes from which on no more is wanted, so that a slow machine comes to it in more time."""


class Tally(Struct, frozen=True, kw_only=True):
    """How much there was, or how much there must be at least.

    Attributes:
        runs: accepted.
        kills: processes killed.
        stops: workers told to stop.
        lost, doubled: messages.
        restarts, flushes: of Redis.
    """

    runs: int = 0
    kills: int = 0
    stops: int = 0
    lost: int = 0
    doubled: int = 0
    restarts: int = 0
    flushes: int = 0

    def short_of(self, least: Tally) -> list[str]:
        """What there is too little of, in words: ``392 of 400 runs``."""
        wanted = (
            (self.runs, least.runs, "runs"),
            (self.kills, least.kills, "kills"),
            (self.stops, least.stops, "workers stopped"),
            (self.lost, least.lost, "messages lost"),
            (self.doubled, least.doubled, "messages doubled"),
            (self.restarts, least.restarts, "restarts of Redis"),
            (self.flushes, least.flushes, "times that Redis was emptied"),
        )
        return [f"{count} of {low} {what}" for count, low, what in wanted if count < low]

    def times(self, number: float) -> Tally:
        """So many times as much, rounded down."""
        return Tally(**{name: int(count * number) for name, count in structs.asdict(self).items()})


PER_MINUTE: dict[Transport, Tally] = {
    "sqs": Tally(runs=400, kills=10, lost=20, doubled=20),
    "redis": Tally(runs=200, kills=10, stops=1, restarts=1),
}
"""What a soak must come to, at least: in five minutes 2,000 runs, or 1,000 where Redis is away now and then and
everybody waits; 50 kills; 100 messages lost and 100 doubled, or all of them lost five times.
"""


class Plan(Struct, frozen=True, kw_only=True):
    """How much of a soak.

    Attributes:
        seconds: how long things go wrong.
        transport: what is soaked.
        workers: processes that run stages: instances of the job function, or worker processes.
        seed: of all chance that is the soak's own. When processes get to run is not, so no two soaks are alike.
        rates, pace: how much goes wrong, and how much is asked for.
        patience: seconds that everything may take to become quiet afterwards; what is not over then is stuck.
        least: what the soak must come to.
        brief: stop as soon as it has.
        variables: environment variables of all processes that differ from the soak's own, to try it on something else.
    """

    seconds: float = 300.0
    transport: Transport = "sqs"
    workers: int = WORKERS["sqs"]
    seed: int = 1
    rates: Rates = Rates()
    pace: Pace = Pace()
    patience: float = 90.0
    least: Tally = Tally()
    brief: bool = False
    variables: Mapping[str, str] = {}

    @classmethod
    def lasting(cls, minutes: float, transport: Transport, workers: int | None, seed: int) -> Plan:
        """As long as this, with as much of everything as there ought to be in that time.

        Over Redis more runs may be under way, since many wait at a time, and everything in it is deleted once. A worker
        that died with the role of the tick is missed for 15 seconds and more.
        """
        counted = min(minutes, COUNTED)
        redis = transport == "redis"
        least = PER_MINUTE[transport].times(counted)
        return cls(
            seconds=minutes * 60,
            transport=transport,
            workers=workers or WORKERS[transport],
            seed=seed,
            rates=Rates(flush_at=minutes * 30) if redis else Rates(),
            pace=Pace(open=120) if redis else Pace(),
            patience=180.0 if redis else 90.0,
            least=structs.replace(least, flushes=1) if redis else least,
        )


class Figures(Struct, frozen=True, kw_only=True):
    """What a soak came to, in numbers.

    Attributes:
        seconds: how long things went wrong.
        quiet_after: seconds until everything was over after that.
        runs: how many were accepted; and of those, how many are ``completed``, ``failed``, ``cancelled``.
        commits, stages: in their logs: commits, and attempts that were started.
        kills: by function: job, tick, intake; or worker.
        kills_in_a_stage: of those, in the middle of a stage's body.
        bodies_killed: bodies that they were in the middle of.
        kills_in_a_tick: of those, in the middle of a tick; of workers, while they had the role of the tick.
        kills_holding_messages: of those, with messages in hand.
        stops: workers that were told to stop.
        stops_clean: of those, that handed nothing back.
        stages_handed_back, messages_given_back: by those that did.
        slowest_stop: seconds that one of them took.
        restarts, flushes: how often Redis was killed and started again, and how often it was emptied.
        longest_away: seconds that Redis did not answer.
        messages_vanished: that lay in it then, and that nobody had in hand.
        messages, messages_lost, messages_doubled: that came by, and what was done to them.
        starts_doubled: starts that were sent twice at once.
        starts_unanswered: starts of which a caller gave up to get an answer.
        cancels, reopens: that were accepted.
        bodies: that were begun.
        bodies_again: of those, beyond the first of their stage in their run: retries, and what kills made necessary.
        results_discarded: results that bodies returned and the log does not have.
        lost, doubled, stuck, broken: runs with such a finding.
        recovery_of_runs, recovery_of_stages: after a kill, see ``bench.soak.recovery``.
        recovery_after_loss: after Redis lost its data.
    """

    seconds: float
    quiet_after: float
    runs: int
    completed: int
    failed: int
    cancelled: int
    commits: int
    stages: int
    kills: dict[str, int]
    kills_in_a_stage: int
    bodies_killed: int
    kills_in_a_tick: int
    kills_holding_messages: int
    stops: int
    stops_clean: int
    stages_handed_back: int
    messages_given_back: int
    slowest_stop: float
    restarts: int
    flushes: int
    longest_away: float
    messages_vanished: int
    messages: int
    messages_lost: int
    messages_doubled: int
    starts_doubled: int
    starts_unanswered: int
    cancels: int
    reopens: int
    bodies: int
    bodies_again: int
    results_discarded: int
    lost: int
    doubled: int
    stuck: int
    broken: int
    recovery_of_runs: Times
    recovery_of_stages: Times
    recovery_after_loss: Times

    @property
    def tally(self) -> Tally:
        """What of it there must be enough of."""
        return Tally(
            runs=self.runs,
            kills=sum(self.kills.values()),
            stops=self.stops,
            lost=self.messages_lost,
            doubled=self.messages_doubled,
            restarts=self.restarts,
            flushes=self.flushes,
        )


class Result(Struct, frozen=True):
    """What a soak came to.

    Attributes:
        plan: what was wanted.
        figures: what came of it.
        findings: everything that must not be.
        folder: where the output of all processes and the effects of stages are kept, if something was found.
    """

    plan: Plan
    figures: Figures
    findings: Sequence[Finding]
    folder: Path | None = None

    @property
    def lacks(self) -> list[str]:
        """What there was too little of, in words."""
        return self.figures.tally.short_of(self.plan.least)

    @property
    def good(self) -> bool:
        """Nothing was found, and there was enough of everything."""
        return not self.findings and not self.lacks

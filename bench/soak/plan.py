"""How much of a soak, and what it came to: in and out, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from bench.soak.account import Finding
from bench.soak.chaos import Rates
from bench.soak.driver import Pace
from bench.soak.recovery import Times

RUNS_PER_MINUTE, KILLS_PER_MINUTE, MEDDLED_PER_MINUTE = 400, 10, 20
"""What a soak must come to, at least: in five minutes 2,000 runs, 50 kills, 100 messages lost and 100 doubled."""
COUNTED = 5.0
"""Minutes from which on no more is wanted, so that a slow machine comes to it in more time."""


class Plan(Struct, frozen=True, kw_only=True):
    """How much of a soak.

    Attributes:
        seconds: how long things go wrong.
        workers: instances of the job function.
        seed: of all chance that is the soak's own. When processes get to run is not, so no two soaks are alike.
        rates, pace: how much goes wrong, and how much is asked for.
        patience: seconds that everything may take to become quiet afterwards; what is not over then is stuck.
        least_runs, least_kills: what the soak must come to.
        least_meddled: how many messages must have been lost, and as many doubled.
        brief: stop as soon as it has.
        variables: environment variables of all processes that differ from the soak's own, to try it on something else.
    """

    seconds: float = 300.0
    workers: int = 6
    seed: int = 1
    rates: Rates = Rates()
    pace: Pace = Pace()
    patience: float = 90.0
    least_runs: int = 0
    least_kills: int = 0
    least_meddled: int = 0
    brief: bool = False
    variables: Mapping[str, str] = {}

    @classmethod
    def lasting(cls, minutes: float, workers: int, seed: int) -> Plan:
        """As long as this, with as much of everything as there ought to be in that time."""
        counted = min(minutes, COUNTED)
        return cls(
            seconds=minutes * 60,
            workers=workers,
            seed=seed,
            least_runs=int(RUNS_PER_MINUTE * counted),
            least_kills=int(KILLS_PER_MINUTE * counted),
            least_meddled=int(MEDDLED_PER_MINUTE * counted),
        )

    def lacks(self, runs: int, kills: int, lost: int, doubled: int) -> list[str]:
        """What there is too little of, in words: ``392 of 400 runs``."""
        wanted = (
            (runs, self.least_runs, "runs"),
            (kills, self.least_kills, "kills"),
            (lost, self.least_meddled, "messages lost"),
            (doubled, self.least_meddled, "messages doubled"),
        )
        return [f"{count} of {least} {what}" for count, least, what in wanted if count < least]


class Figures(Struct, frozen=True, kw_only=True):
    """What a soak came to, in numbers.

    Attributes:
        seconds: how long things went wrong.
        quiet_after: seconds until everything was over after that.
        runs: how many were accepted; and of those, how many are ``completed``, ``failed``, ``cancelled``.
        commits, stages: in their logs: commits, and attempts that were started.
        kills: by function: job, tick, intake.
        kills_in_a_stage: of those, in the middle of a stage's body.
        kills_in_a_tick: of those, in the middle of a tick.
        kills_holding_messages: of those, with messages in hand.
        messages, messages_lost, messages_doubled: that came by, and what was done to them.
        starts_doubled: starts that were sent twice at once.
        starts_unanswered: starts of which a caller gave up to get an answer.
        cancels, reopens: that were accepted.
        bodies: that were begun.
        bodies_again: of those, beyond the first of their stage in their run: retries, and what kills made necessary.
        results_discarded: results that bodies returned and the log does not have.
        lost, doubled, stuck, broken: runs with such a finding.
        recovery_of_runs, recovery_of_stages: after a kill, see ``bench.soak.recovery``.
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
    kills_in_a_tick: int
    kills_holding_messages: int
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
        figures = self.figures
        kills = sum(figures.kills.values())
        return self.plan.lacks(figures.runs, kills, figures.messages_lost, figures.messages_doubled)

    @property
    def good(self) -> bool:
        """Nothing was found, and there was enough of everything."""
        return not self.findings and not self.lacks

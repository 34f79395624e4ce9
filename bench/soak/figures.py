"""What a soak came to, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.soak.account import KINDS, Account, Finding
from bench.soak.chaos import Killer
from bench.soak.driver import Callers
from bench.soak.effects import BEGAN, RETURNED, Effect
from bench.soak.plan import Figures
from bench.soak.recovery import recovery, recovery_after
from bench.soak.trials import Toll
from kernel.core.events import StageStarted


def figures_of(
    times: tuple[float, float],
    callers: Callers,
    killer: Killer,
    toll: Toll,
    accounts: Mapping[str, Account],
    effects: Sequence[Effect],
    findings: Sequence[Finding],
) -> Figures:
    """Add it up. ``times`` are the seconds that things went wrong, and those until all was quiet after that."""
    kills = killer.kills
    for kill in kills:
        kill.holding = toll.held.get(kill.pid, ())
    recovered = recovery(kills, effects, accounts)
    stopped = [told.stopped for told in toll.stopped if told.stopped is not None]
    statuses = Counter(str(account.state.status) for account in accounts.values() if account.state is not None)
    logs = [account.log for account in accounts.values()]
    begun = [effect for effect in effects if effect.kind == BEGAN]
    found = {kind: len({each.run for each in findings if each.kind == kind}) for kind in KINDS}
    return Figures(
        seconds=round(times[0], 1),
        quiet_after=round(times[1], 1),
        runs=len(accounts),
        completed=statuses["completed"],
        failed=statuses["failed"],
        cancelled=statuses["cancelled"],
        commits=sum(map(len, logs)),
        stages=sum(isinstance(event, StageStarted) for log in logs for entry in log for event in entry.events),
        kills=dict(sorted(Counter(kill.function for kill in kills).items())),
        kills_in_a_stage=recovered.in_stage,
        bodies_killed=recovered.bodies,
        kills_in_a_tick=sum(kill.busy if kill.function == "tick" else kill.pid in toll.leaders for kill in kills),
        kills_holding_messages=sum(bool(kill.holding) for kill in kills),
        stops=len(killer.stops),
        stops_clean=sum(each["clean"] for each in stopped),
        stages_handed_back=sum(each["handed_back"] for each in stopped),
        messages_given_back=sum(each["given_back"] for each in stopped),
        slowest_stop=max((each["seconds"] for each in stopped), default=0.0),
        restarts=sum(loss.kind == "restart" for loss in toll.losses),
        flushes=sum(loss.kind == "flush" for loss in toll.losses),
        longest_away=max((loss.away for loss in toll.losses), default=0.0),
        messages_vanished=sum(len(loss.runs) for loss in toll.losses),
        messages=toll.messages,
        messages_lost=toll.lost,
        messages_doubled=toll.doubled,
        starts_doubled=callers.twice,
        starts_unanswered=callers.unanswered,
        cancels=sum(run.cancels for run in callers.accepted.values()),
        reopens=sum(run.reopens for run in callers.accepted.values()),
        bodies=len(begun),
        bodies_again=len(begun) - len({(each.run, each.stage) for each in begun}),
        results_discarded=_discarded(accounts, effects),
        recovery_of_runs=recovered.runs,
        recovery_of_stages=recovered.stages,
        recovery_after_loss=recovery_after(toll.losses, accounts),
        **found,
    )


def _discarded(accounts: Mapping[str, Account], effects: Sequence[Effect]) -> int:
    """Results that bodies returned, and that no log has: somebody else was faster, or the process was killed."""
    recorded = {
        (run, stage, result)
        for run, account in accounts.items()
        for entry in account.log
        for stage, result in entry.results.items()
    }
    return sum(each.kind == RETURNED and (each.run, each.stage, each.result) not in recorded for each in effects)

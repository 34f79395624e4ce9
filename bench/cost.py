"""What a run costs: ``python -m bench.cost --json``.

Counted by DynamoDB Local (its own accounting of consumed capacity) behind the real job handler, inputs of 512 bytes and
outputs of 256. The meter counts the same calls by DynamoDB's published rules; ``meter_agrees_with_engine`` says whether
both come to the same, call for call. External events are counted by the meter: they take transactions, of which
DynamoDB Local charges half.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from bench.deployment import Deployment, News, dynamodb_local, laps, listening, sequence, show
from bench.payloads import Order
from hosts.local import prices
from infra.dynamodb.store import Consumed
from kernel.define.startable import Startable
from kernel.shell.environment import MINUTE
from kernel.shell.receive import accept
from kernel.testing.memory import FakeClock, SystemClock
from kernel.testing.units import Usage

SHORT, LONG = 2, 12
STEPS = 10
APART = 7  # not chained, a stage takes two commits: so these stay under 16, too
MANY = 1_000


def _used(bench: Deployment, workflow: Startable[Order]) -> tuple[Usage, list[Consumed]]:
    before, seen = bench.meter.snapshot(), len(bench.consumed)
    bench.run(workflow)
    return bench.meter.snapshot().minus(before), bench.consumed[seen:]


def _written(calls: list[Consumed]) -> float:
    return sum(call.write for call in calls)


def _read(calls: list[Consumed]) -> float:
    """Read units; of a query that finds nothing one, as the meter has it, where DynamoDB Local says none."""
    return sum(max(call.read, 1.0) if call.operation == "range" else call.read for call in calls)


def late_over_early(calls: list[Consumed], steps: int, early: int = 12) -> float:
    """Units per step over the last whole snapshot cycles, against the first steps.

    A cycle reaches from one snapshot to the next; the last whole ones that together hold at least 200 steps count.
    """
    commits: list[tuple[int, float]] = []
    snapshots: list[int] = []
    last = 0
    for call in calls:
        if call.operation == "put" and call.key.startswith("log#"):
            last = int(call.key.removeprefix("log#"))
            commits.append((last, call.write))
        elif call.operation == "put" and call.key == "~snap":
            snapshots.append(last)
            commits.append((last, call.write))
    first = [units for seq, units in commits if 2 <= seq <= early + 1]  # commit 1 is the first claim
    begin = next(seq for seq in reversed(snapshots) if snapshots[-1] - seq >= min(200, steps // 4))
    late = [units for seq, units in commits if begin < seq <= snapshots[-1]]
    return (sum(late) / (snapshots[-1] - begin)) / (sum(first) / early)


NAP, NIGHT, WEEK = timedelta(seconds=30), timedelta(days=1), timedelta(days=8)
NAPS = 5


def waiting(endpoint: str) -> dict[str, Any]:
    """What waits cost, with a clock that is moved; short ones end before a tick looks at the run."""
    none, one, five = sequence(SHORT), sequence(SHORT, NAP), sequence(SHORT, *[NAP / NAPS] * NAPS)
    night, week = sequence(SHORT, NIGHT), sequence(SHORT, WEEK)
    # Half a minute past a tick; one that comes in the very second in which a timer fires looks once more.
    clock = FakeClock(SystemClock.now() // MINUTE * MINUTE + MINUTE // 2)
    bench = Deployment(endpoint, [none, one, five, night, week], clock=clock)
    written = {flow.id: _written(_used(bench, flow)[1]) for flow in (none, one, five, night, week)}
    days = (WEEK - NIGHT) / timedelta(days=1)
    return {
        "write_units_per_short_timer": round((written[five.id] - written[one.id]) / (NAPS - 1), 3),
        "write_units_per_long_timer": round(written[night.id] - written[none.id], 3),
        "write_units_per_waiting_day": round((written[week.id] - written[night.id]) / days, 3),
    }


def events(endpoint: str) -> dict[str, Any]:
    """What an external event costs, by the meter: DynamoDB Local charges transactions half of what AWS does."""
    found: dict[str, Any] = {}
    for asleep in (False, True):
        flow = listening(asleep=asleep)
        bench = Deployment(endpoint, [flow], clock=FakeClock(SystemClock.now()))
        ref = bench.begin(flow)
        before = bench.meter.snapshot()
        accept(bench.env, ref, "News", News(text="x" * 240), by="bench")
        accepted = bench.meter.snapshot()
        kinds = dict(bench.meter.kinds)
        bench.work()
        spent = {kind: units - kinds.get(kind, 0) for kind, units in bench.meter.kinds.items()}
        # Of the commits the last one is that of the stage which takes the event; how the run ends is counted elsewhere.
        applied = spent["Inbox"] + spent["Commit"] - 1 + spent.get("wake-is-newer", 0)
        found["write_units_per_event_accepted"] = accepted.minus(before).write_units
        found[f"write_units_per_event_applied_{'asleep' if asleep else 'awake'}"] = applied
    return found


def measure() -> dict[str, Any]:
    """Measure everything."""
    short, long, ten, many = sequence(SHORT), sequence(LONG), sequence(STEPS), sequence(MANY)
    few_laps, more_laps = laps(SHORT), laps(LONG)
    apart_short, apart_long = sequence(SHORT, chain=False), sequence(APART, chain=False)
    with dynamodb_local() as endpoint:
        bench = Deployment(endpoint, [short, long, ten, many, few_laps, more_laps, apart_short, apart_long])
        short_usage, short_calls = _used(bench, short)
        long_usage, long_calls = _used(bench, long)
        ten_usage, ten_calls = _used(bench, ten)
        _, few_calls = _used(bench, few_laps)
        _, more_calls = _used(bench, more_laps)
        _, apart_short_calls = _used(bench, apart_short)
        _, apart_long_calls = _used(bench, apart_long)
        many_usage, many_calls = _used(bench, many)
        waits = waiting(endpoint) | events(endpoint)
        agrees = _written(bench.consumed) == bench.meter.total.write_units
        agrees = agrees and abs(_read(bench.consumed) - bench.meter.total.read_units) < 0.01
    further = APART - SHORT
    per_stage = (_written(long_calls) - _written(short_calls)) / (LONG - SHORT)
    counted = Usage(write_units=_written(ten_calls), read_units=_read(ten_calls), messages=ten_usage.messages)
    bill = prices.bill(counted, STEPS)
    return {
        "write_units_per_chained_stage": round(per_stage, 3),
        "write_units_per_unchained_stage": round(
            (_written(apart_long_calls) - _written(apart_short_calls)) / further, 3
        ),
        "read_units_per_unchained_stage": round((_read(apart_long_calls) - _read(apart_short_calls)) / further, 3),
        "write_units_per_run_overhead": round(_written(long_calls) - LONG * per_stage, 3),
        "messages_per_chained_run": max(each.messages for each in (short_usage, long_usage, ten_usage, many_usage)),
        "late_over_early_step": round(late_over_early(many_calls, MANY), 3),
        "write_units_per_stage_in_1000_step_run": round(_written(many_calls) / MANY, 3),
        **waits,
        "write_units_per_transition": round((_written(more_calls) - _written(few_calls)) / (LONG - SHORT), 3),
        "meter_agrees_with_engine": agrees,
        "usd_per_million_runs_of_10_steps": {
            "onewrite": round(bill.ours * prices.MILLION, 2),
            "step_functions_standard": round(bill.step_functions * prices.MILLION, 2),
            "lambda_durable_functions": round(bill.durable_functions * prices.MILLION, 2),
        },
        "prices": prices.PRICE_LIST,
    }


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    show(measure(), as_json=parser.parse_args().json)


if __name__ == "__main__":
    main()

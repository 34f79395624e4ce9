"""How fast the kernel is by itself: ``python -m bench.kernel --json``.

One process, everything in memory, the meter on, bytes encoded on every commit and decoded on every load, payloads
validated on both sides of every stage, the collector untouched. A run is created, claimed, executed (three stages),
finished and flushed.

``stage_over_codec`` compares a stage with two validations, one dump and one JSON round trip of the same payload, taking
turns in the same run; the round trip is the standard library's, and msgspec's in ``stage_over_codec_msgspec``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

from msgspec import json as codec

from bench.payloads import Order, order
from kernel.core.events import RunCompleted
from kernel.shell.attend import attend
from kernel.shell.environment import Environment
from kernel.shell.load import load
from kernel.shell.start import start
from kernel.testing.memory import (
    MemoryBlobs,
    MemoryQueue,
    MemorySink,
    MemoryStore,
    NoAlarm,
    SeededRandom,
    SystemClock,
)
from kernel.testing.units import Meter, MeteredQueue, MeteredStore
from onewrite import Context, Registry, Workflow, stage

STAGES = 3
_OUT = order()


@stage
def charge(ctx: Context, placed: Order) -> Order:  # noqa: ARG001 - a stage is given its context
    """Take the money."""
    return _OUT


@stage
def pack(ctx: Context, paid: Order) -> Order:  # noqa: ARG001 - a stage is given its context
    """Pack the parcel."""
    return _OUT


@stage
def ship(ctx: Context, packed: Order) -> Order:  # noqa: ARG001 - a stage is given its context
    """Ship it."""
    return _OUT


WORKFLOW = Workflow("order", input=Order).then(charge).then(pack).then(ship)


class Bench:
    """A kernel in memory, with the meter on."""

    def __init__(self) -> None:
        """Start empty."""
        clock = SystemClock()
        self.meter = Meter()
        self.queue = MemoryQueue(clock.now)
        self.env = Environment(
            store=MeteredStore(MemoryStore(), self.meter),
            queue=MeteredQueue(self.queue, self.meter),
            blobs=MemoryBlobs(),
            sink=MemorySink(),
            clock=clock,
            random=SeededRandom(),
            alarm=NoAlarm(),
            definitions=Registry(WORKFLOW),
        )

    def runs(self, count: int) -> float:
        """Do ``count`` runs; the seconds they took."""
        env, queue, given = self.env, self.queue, order().model_dump_json()
        began = time.perf_counter()
        for _ in range(count):
            start(env, WORKFLOW, given, tenant="bench", by="bench")
            poke = queue.receive()
            assert poke is not None  # noqa: S101 - a bench that did not do its work must not report
            attend(env, poke, env.clock.monotonic() + 300)
        return time.perf_counter() - began

    def check(self) -> None:
        """All that was asked for was done."""
        for ref in list(self.meter.runs)[-3:]:
            session = load(self.env.store, ref, lambda: 0)
            assert session is not None  # noqa: S101 - a bench that did not do its work must not report
            assert isinstance(session.recent[session.state.seq][-1], RunCompleted)  # noqa: S101 - a bench that did not do its work must not report


def codec_seconds(count: int, round_trip: Callable[[object], object]) -> float:
    """Seconds for ``count`` times two validations, one dump and one JSON round trip of the same payload."""
    model = order()
    text = model.model_dump_json()
    plain = json.loads(text)
    began = time.perf_counter()
    for _ in range(count):
        Order.model_validate_json(text)
        Order.model_validate_json(text)
        model.model_dump_json()
        round_trip(plain)
    return time.perf_counter() - began


def measure(rounds: int = 7, batch: int = 1000, many: int = 20_000) -> dict[str, float]:
    """Measure, the kernel and the plain codec taking turns, and report medians."""
    Bench().runs(300)
    rates, ratios, fast_ratios = [], [], []
    for _ in range(rounds):
        bench = Bench()
        seconds = bench.runs(batch)
        bench.check()
        plain = codec_seconds(batch * STAGES, lambda value: json.loads(json.dumps(value)))
        fast = codec_seconds(batch * STAGES, lambda value: codec.decode(codec.encode(value)))
        rates.append(batch * STAGES / seconds)
        ratios.append(seconds / plain)
        fast_ratios.append(seconds / fast)
    bench = Bench()
    first = bench.runs(1000)
    bench.runs(many - 2000)
    last = bench.runs(1000)
    return {
        "stages_per_second": round(median(rates)),
        "stage_over_codec": round(median(ratios), 2),
        "stage_over_codec_msgspec": round(median(fast_ratios), 2),
        "flatness": round(first / last, 2),
    }


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    found = measure()
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:>20}  {value:,}")


if __name__ == "__main__":
    main()

"""What a commit's events, and a tick's counts, come to as measurements. Pure, but for ``tell``, which hands them on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from kernel.core.events import (
    AnyEvent,
    LeaseExpired,
    RunCancelled,
    RunCompleted,
    RunFailed,
    StageCompleted,
    StageFailed,
    StageStarted,
)
from kernel.core.state import StageStatus, State
from kernel.metrics import Count, Duration, Metrics


class Measurement(Struct, frozen=True):
    """Something that happened, or how long it took.

    Attributes:
        name: what is measured.
        amount: how often, or seconds.
        labels: of which kind.
    """

    name: Count | Duration
    amount: float
    labels: dict[str, str]


def tell(metrics: Metrics, measurements: Iterable[Measurement]) -> None:
    """Hand measurements on."""
    for each in measurements:
        if isinstance(each.name, Duration):
            metrics.observe(each.name, each.amount, **each.labels)
        else:
            metrics.count(each.name, int(each.amount), **each.labels)


def of_commit(
    before: State, after: State, events: Iterable[AnyEvent], times: Mapping[int, int]
) -> Iterator[Measurement]:
    """What a commit comes to.

    Args:
        before: the run's state without it.
        after: its state with it.
        events: what the commit holds.
        times: when the commits at hand were made, in milliseconds, by number.
    """
    workflow = {"workflow": after.identity.workflow}
    for event in events:
        match event:
            case StageStarted():
                yield Measurement(Count.STAGES_STARTED, 1, workflow)
            case StageCompleted(stage=stage, answer=answer):
                yield Measurement(Count.STAGES_COMPLETED, 1, workflow)
                claimed = before.stages[stage]
                # Who ran it has claimed it, and knows when that was. Who answers or checks need not.
                since = times.get(claimed.seq)
                if claimed.status is StageStatus.RUNNING and not answer and since is not None:
                    yield Measurement(Duration.STAGE, (after.at - since) / 1000, workflow)
            case StageFailed(retry_at=None):
                yield Measurement(Count.STAGES_FAILED, 1, workflow)
            case StageFailed():
                yield Measurement(Count.STAGES_RETRIED, 1, workflow)
            case LeaseExpired():
                yield Measurement(Count.LEASES_EXPIRED, 1, workflow)
            case RunCompleted() | RunFailed() | RunCancelled():
                yield Measurement(Count.RUNS_ENDED, 1, workflow | {"status": after.status.value})
                yield Measurement(Duration.RUN, (after.at - after.identity.created) / 1000, workflow)
            case _:
                pass


def of_tick(counts: Mapping[str, int], seconds: float) -> Iterator[Measurement]:
    """What a tick comes to that did so much of each kind, in so many seconds."""
    yield Measurement(Duration.TICK, seconds, {})
    for kind, count in counts.items():
        if count:
            yield Measurement(Count.TICK, count, {"kind": kind})

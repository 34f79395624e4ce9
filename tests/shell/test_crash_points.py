"""Every single crash: each port call of each scenario fails in each way, one at a time, and every invariant holds."""

from __future__ import annotations

from contextlib import suppress

import pytest

from kernel.errors import Unavailable
from kernel.ports import RunRef
from kernel.testing.faults import Crash, Fault
from kernel.testing.play import Play
from onewrite import Workflow
from tests.shell import invariants
from tests.shell.flows import ALL, Note, Order, media, media_slow, order, order_stopping, steps, world

Case = tuple[Workflow[Order, Note], Order, str]

CASES: dict[str, Case] = {
    "parallel branches and a join": (order, Order(), "completed"),
    "retries": (order, Order(fail={"charge": 1, "bill": 1}), "completed"),
    "compensation": (order, Order(fail={"ship": 9}), "failed"),
    "failure that stops": (order_stopping, Order(fail={"pack": 9}), "failed"),
    "suspended by the minute": (media, Order(polls=2), "completed"),
    "suspended by the hour": (media_slow, Order(polls=1), "completed"),
    "a chain": (steps[12, True], Order(), "completed"),
    "not chained": (steps[5, False], Order(), "completed"),
    "with snapshots": (steps[40, True], Order(), "completed"),
}


def played(case: Case, at: int = -1, fault: Fault = Fault.CRASH_BEFORE) -> tuple[Play, RunRef]:
    """Start (again, until it is accepted) and play to the end, with one fault on the way."""
    world.clear()
    workflow, given, _ = case
    play = Play(*ALL)
    play.faults.at(at, fault)
    ref: RunRef | None = None
    while ref is None:
        with suppress(Crash, Unavailable):
            ref = play.start(workflow, given, key="k")
    play.play([ref], days=40)
    return play, ref


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
@pytest.mark.parametrize("name", CASES)
def test_a_fault_at_any_port_call_breaks_no_invariant(name: str, fault: Fault) -> None:
    """The run ends as it would have, and everything about it is as it should be."""
    case = CASES[name]
    calls = len(played(case)[0].faults.calls)
    assert calls > 10, "the scenario crosses ports"
    for at in range(min(calls, 120)):  # a run asleep repeats itself: ticks that find nothing due
        play, ref = played(case, at, fault)
        call = play.faults.calls[at]
        invariants.check(play, ref)
        assert play.ended(ref).status == case[2], f"{fault.value} at {call.port}.{call.method}, call {at}"

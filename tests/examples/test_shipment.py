"""Shipments: whatever the order in which the carrier's events come, and however often, a parcel is settled once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from onewrite import Conflict, InvalidInput
from onewrite.testing import Ended, Fault, Play
from workflows.examples import outside
from workflows.examples.outside import VARIABLE, World
from workflows.examples.shipment import Consignment, Delivered, Lost, Outcome, PickedUp, shipment

BICYCLE = Consignment(order="S-1", contents="bicycle", value=189_000, recipient="sanne@example.com", country="NL")


class Parcel:
    """A shipment that has just been asked for, its carrier, and the clock."""

    def __init__(self, consignment: Consignment = BICYCLE) -> None:
        self.play = Play(shipment)
        self.run = self.play.start(shipment, consignment)
        self.tracking = f"TN-{self.run.run[:8].upper()}"
        self.picked_up = PickedUp(tracking=self.tracking, depot="Rotterdam")
        self.delivered = Delivered(tracking=self.tracking, place="front door")
        self.lost = Lost(tracking=self.tracking, last_seen="off Bermuda")

    def sends(self, event: BaseModel, id: str) -> str:  # noqa: A002 - as ``Play`` calls it
        """The carrier sends an event; gives what it is told about it."""
        return self.play.send(self.run, event, id=id).status

    def work(self) -> None:
        """Workers do what there is to do now."""
        while self.play.step() is not None:
            pass

    def waits(self) -> str:
        """What the run waits for."""
        return " ".join(stage.stage for stage in self.play.look(self.run).stages if stage.status == "waiting")

    def ended(self) -> Ended:
        """Let time pass until the run is over."""
        self.play.play(self.run)
        return self.play.ended(self.run)


# --- in order ---------------------------------------------------------------------------------------------------------


def test_a_parcel_is_booked_collected_and_delivered(world: World) -> None:
    parcel = Parcel()

    parcel.work()
    assert parcel.waits() == "collection"

    parcel.sends(parcel.picked_up, "scan-1")
    parcel.work()
    assert parcel.waits() == "delivery"

    parcel.sends(parcel.delivered, "scan-2")
    assert parcel.ended().output == Outcome(tracking=parcel.tracking, told="your bicycle is here: front door")
    assert [effect.kind for effect in world.effects()] == ["carrier.booked", "customer.told"]


def test_the_value_of_a_lost_parcel_is_claimed(world: World) -> None:
    parcel = Parcel()
    parcel.sends(parcel.picked_up, "scan-1")
    parcel.sends(parcel.lost, "scan-2")

    ended = parcel.ended()

    assert (ended.status, ended.output.claim) == ("completed", f"CL-{parcel.tracking[3:]}")
    (claimed,) = world.effects("carrier.claimed")
    assert (claimed.details["value"], claimed.details["reason"]) == (189_000, "last seen off Bermuda")


# --- early, out of order, twice ---------------------------------------------------------------------------------------


def test_an_event_that_comes_before_its_wait_is_kept_for_it() -> None:
    parcel = Parcel(BICYCLE.model_copy(update={"service": "express"}))

    parcel.play.step()  # the carrier has heard us, but we have not heard its answer
    assert parcel.play.look(parcel.run).stages[0].status == "retrying"
    parcel.sends(parcel.picked_up, "scan-1")
    parcel.work()
    assert parcel.play.event(parcel.run, "scan-1").status == "applied"

    parcel.play.clock.move(timedelta(seconds=5))
    parcel.work()
    assert parcel.waits() == "delivery", "nobody has waited for the collection"


def test_delivered_may_come_before_picked_up() -> None:
    parcel = Parcel()
    parcel.work()

    parcel.sends(parcel.delivered, "scan-2")
    parcel.work()
    assert parcel.waits() == "collection", "nothing was delivered that was not collected"

    parcel.sends(parcel.picked_up, "scan-1")
    assert [name for name in parcel.ended().names() if name.startswith(("Event", "Wait"))] == [
        "WaitStarted collection",
        "EventReceived Delivered",
        "EventReceived PickedUp",
        "WaitMatched collection",
        "WaitStarted delivery",
        "WaitMatched delivery",
    ]


def test_everything_may_come_before_anything_was_done() -> None:
    parcel = Parcel()

    parcel.sends(parcel.delivered, "scan-2")
    parcel.sends(parcel.picked_up, "scan-1")

    assert parcel.ended().output.told == "your bicycle is here: front door"


def test_the_same_event_again_is_answered_again_and_applied_once() -> None:
    parcel = Parcel()
    parcel.work()

    assert [parcel.sends(parcel.picked_up, "scan-1") for _ in range(3)] == ["accepted"] * 3
    parcel.work()
    assert parcel.sends(parcel.picked_up, "scan-1") == "applied"

    parcel.sends(parcel.delivered, "scan-2")
    ended = parcel.ended()
    assert ended.names().count("EventReceived PickedUp") == 1
    assert parcel.sends(parcel.delivered, "scan-2") == "applied", "also when the run is over"


def test_the_same_scan_under_another_id_is_another_event_which_nobody_waits_for(world: World) -> None:
    parcel = Parcel()

    for event, id_ in [
        (parcel.picked_up, "scan-1"),
        (parcel.picked_up, "scan-1b"),
        (parcel.delivered, "scan-2"),
        (parcel.delivered, "scan-2b"),
    ]:
        parcel.sends(event, id_)

    assert parcel.ended().status == "completed"
    assert len(world.effects("customer.told")) == 1


def test_an_id_that_was_used_for_another_event_is_a_conflict() -> None:
    parcel = Parcel()
    parcel.sends(parcel.picked_up, "scan-1")

    with pytest.raises(Conflict, match="'scan-1' was used for another event"):
        parcel.sends(parcel.lost, "scan-1")


# --- not ours, too late, no event -------------------------------------------------------------------------------------


def test_news_of_another_parcel_moves_nothing() -> None:
    parcel = Parcel()
    parcel.work()

    parcel.sends(PickedUp(tracking="TN-OTHER", depot="Rotterdam"), "scan-1")
    parcel.work()

    assert parcel.waits() == "collection"


def test_a_run_that_is_over_takes_no_events() -> None:
    parcel = Parcel()
    parcel.sends(parcel.picked_up, "scan-1")
    parcel.sends(parcel.delivered, "scan-2")
    parcel.ended()

    with pytest.raises(Conflict, match="takes no events any more"):
        parcel.sends(parcel.lost, "scan-3")


def test_what_no_wait_is_for_is_refused() -> None:
    parcel = Parcel()

    with pytest.raises(InvalidInput, match="it waits for: Delivered, Lost, PickedUp"):
        parcel.sends(BICYCLE, "scan-1")


# --- time-outs --------------------------------------------------------------------------------------------------------


def test_when_nobody_collects_it_the_booking_is_cancelled(world: World) -> None:
    parcel = Parcel()
    begun = parcel.play.clock.now()

    ended = parcel.ended()

    assert (ended.status, ended.view.compensation) == ("failed", "complete")
    assert ended.view.error is not None
    assert (ended.view.error.stage, ended.view.error.kind) == ("collection", "WaitTimedOut")
    assert len(world.effects("carrier.cancelled")) == 1
    assert parcel.play.clock.now() - begun >= timedelta(days=2).total_seconds() * 1000


def test_when_nothing_is_heard_any_more_the_value_is_claimed(world: World) -> None:
    parcel = Parcel()
    parcel.sends(parcel.picked_up, "scan-1")

    ended = parcel.ended()

    assert ended.output.claim == f"CL-{parcel.tracking[3:]}"
    assert world.effects("carrier.claimed")[0].details["reason"] == "no news"


def test_a_wait_costs_nothing_while_it_lasts() -> None:
    soon, late = Parcel(), Parcel()
    for parcel, days in ((soon, 1), (late, 9)):
        parcel.sends(parcel.picked_up, "scan-1")
        parcel.work()
        parcel.play.clock.move(timedelta(days=days))
        parcel.sends(parcel.delivered, "scan-2")
        parcel.ended()

    assert soon.play.meter.of(soon.run) == late.play.meter.of(late.run)


# --- and when machines fail -------------------------------------------------------------------------------------------


def test_a_worker_may_die_after_any_call_and_the_customer_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)  # a world in this process's memory, which is quickly forgotten

    def parcel_whose_events_came_out_of_order() -> Parcel:
        outside.forget()
        parcel = Parcel()
        parcel.sends(parcel.delivered, "scan-2")
        parcel.sends(parcel.picked_up, "scan-1")
        return parcel

    undisturbed = parcel_whose_events_came_out_of_order()
    started = len(undisturbed.play.faults.calls)
    undisturbed.ended()

    for number in range(started, len(undisturbed.play.faults.calls)):
        parcel = parcel_whose_events_came_out_of_order()
        parcel.play.faults.at(number, Fault.CRASH_AFTER)

        assert parcel.ended().status == "completed", undisturbed.play.faults.calls[number]
        assert len(outside.world().effects("customer.told")) == 1

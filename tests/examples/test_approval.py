"""Approvals: who may sign what and when, who is reminded, and that nothing is paid twice or without leave."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from kernel.shell import read
from onewrite import Conflict, Forbidden, InvalidInput
from onewrite.testing import Crash, Ended, Fault, Play
from workflows.examples import outside
from workflows.examples.approval import Approve, Comment, Invoice, Reject, approval
from workflows.examples.outside import VARIABLE, World, bank

PAPER = Invoice(number="R-1", supplier="paper@example.com", account="NL12 PAPR", amount=8_450, department="office")
RACK = PAPER.model_copy(update={"number": "R-2", "amount": 1_249_000})

MANAGER, DIRECTOR = ("manager",), ("director",)
MARA, DARIO = Approve(by="mara"), Approve(by="dario")
NO = Reject(by="mara", why="twice")


class Desk:
    """An invoice that has just come in, the people who approve it, and the clock."""

    def __init__(self, invoice: Invoice = PAPER) -> None:
        self.play = Play(approval)
        self.run = self.play.start(approval, invoice)

    def sends(self, event: BaseModel, roles: tuple[str, ...], id: str | None = None) -> str:  # noqa: A002 - as ``Play`` calls it
        """Somebody clicks; gives what they are told."""
        return self.play.send(self.run, event, id=id, roles=roles).status

    def work(self) -> None:
        """Workers do what there is to do now."""
        while self.play.step() is not None:
            pass

    def state(self) -> str:
        """Where the invoice is."""
        return self.play.look(self.run).state

    def takes(self) -> list[str]:
        """What people can say as it stands, and who."""
        found = self.play.available(self.run)
        return [" ".join((each.event, *each.roles, "->", *each.to)) for each in found]

    def ended(self) -> Ended:
        """Let time pass until the run is over."""
        self.play.play(self.run)
        return self.play.ended(self.run)


def letters(world: World) -> list[str]:
    """Who was written to, in order."""
    return [f"{each.details['to']}: {each.details['text']}" for each in world.effects("letter.sent")]


# --- signed -----------------------------------------------------------------------------------------------------------


def test_a_small_invoice_takes_a_manager_and_is_paid(world: World) -> None:
    desk = Desk()
    desk.work()
    assert desk.state() == "review"
    assert letters(world) == ["manager: please approve invoice R-1"]

    desk.sends(MARA, MANAGER)
    ended = desk.ended()

    assert (ended.output.signed, ended.output.payment, ended.view.state) == (["mara"], "PAY-R-1", "paid")
    assert [effect.details["amount"] for effect in world.effects("bank.paid")] == [8_450]
    assert len(letters(world)) == 1, "who has signed is not reminded"


def test_a_large_one_takes_a_director_too(world: World) -> None:
    desk = Desk(RACK)
    desk.work()
    desk.sends(MARA, MANAGER)
    desk.work()
    assert desk.state() == "escalated"
    assert not world.effects("bank.paid")

    desk.sends(DARIO, DIRECTOR)
    ended = desk.ended()

    assert (ended.output.signed, ended.output.payment) == (["mara", "dario"], "PAY-R-2")
    assert letters(world)[-1] == "director: please approve invoice R-2, signed by mara"
    assert [name for name in ended.names() if name.startswith("State")] == [
        "StateEntered review",
        "StateEntered escalated",
        "StateEntered paying",
        "StateEntered paid",
    ]


def test_what_people_can_say_depends_on_where_it_is() -> None:
    desk = Desk(RACK)
    desk.work()
    assert desk.takes() == [
        "Approve manager -> paying escalated",
        "Reject manager -> rejected",
        "Comment -> review",
    ]

    desk.sends(MARA, MANAGER)
    desk.work()
    assert desk.takes() == ["Approve director -> paying", "Reject director -> rejected", "Comment -> escalated"]

    desk.sends(DARIO, DIRECTOR)
    desk.ended()
    assert desk.takes() == []


def test_a_comment_is_noted_and_moves_nothing(world: World) -> None:
    desk = Desk()
    desk.work()
    desk.play.wait(timedelta(hours=12))

    desk.sends(Comment(by="theo", text="I have the paper"), ())
    desk.play.wait(timedelta(hours=13))
    assert desk.state() == "review"
    assert len(letters(world)) == 2, "reminded a day after the first letter, not after the comment"

    desk.sends(MARA, MANAGER)
    assert desk.ended().output.comments == ["theo: I have the paper"]


# --- rejected ---------------------------------------------------------------------------------------------------------


def test_whoever_rejects_it_says_why_and_the_supplier_is_told(world: World) -> None:
    desk = Desk()
    desk.sends(NO, MANAGER)

    ended = desk.ended()

    assert (ended.status, ended.view.state, ended.output.rejected) == ("completed", "rejected", "twice (mara)")
    assert letters(world)[-1] == "paper@example.com: we do not pay R-1: twice (mara)"
    assert not world.effects("bank.paid")


def test_a_director_may_reject_what_a_manager_has_signed(world: World) -> None:
    desk = Desk(RACK)
    desk.sends(MARA, MANAGER)
    desk.work()
    desk.sends(Reject(by="dario", why="too dear"), DIRECTOR)

    assert desk.ended().view.state == "rejected"
    assert letters(world)[-1] == "paper@example.com: we do not pay R-2: too dear (dario)"


def test_the_bank_may_reject_it_as_well(world: World) -> None:
    desk = Desk(PAPER.model_copy(update={"account": "FR14 CLOSED"}))
    desk.sends(MARA, MANAGER)

    ended = desk.ended()

    assert (ended.status, ended.view.state) == ("completed", "rejected")
    assert ended.output.rejected == "account FR14 CLOSED is closed"


# --- not them, not now, not again -------------------------------------------------------------------------------------


@pytest.mark.parametrize("roles", [(), ("clerk",), DIRECTOR])
def test_without_the_role_nobody_signs(roles: tuple[str, ...]) -> None:
    desk = Desk()
    desk.work()

    with pytest.raises(Forbidden, match="state review takes event Approve from these roles only: manager"):
        desk.sends(MARA, roles)

    assert desk.state() == "review"


def test_nobody_signs_twice_whatever_their_roles() -> None:
    desk = Desk(RACK)
    desk.sends(DARIO, ("manager", "director"))
    desk.work()
    assert desk.state() == "escalated"

    assert desk.sends(DARIO, ("manager", "director"), "again") == "accepted"
    desk.work()

    refused = desk.play.event(desk.run, "again")
    assert refused.status == "refused"
    assert refused.reason == "event Approve is refused: none of the conditions hold on which it would be taken"
    assert desk.state() == "escalated"


def test_while_it_is_paid_nothing_can_be_said_and_nothing_once_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()

    def paid_while_somebody_clicks(*_given: object) -> str:
        with pytest.raises(Conflict, match="state paying takes no event Reject; it takes: none"):
            desk.sends(NO, MANAGER)
        return "PAY-R-1"

    monkeypatch.setattr(bank, "pay", paid_while_somebody_clicks)
    desk.sends(MARA, MANAGER)

    assert desk.ended().output.payment == "PAY-R-1"
    with pytest.raises(Conflict, match="is completed: it takes no events any more"):
        desk.sends(NO, MANAGER)


def test_what_is_no_event_of_an_approval_is_refused() -> None:
    desk = Desk()

    with pytest.raises(InvalidInput, match="it waits for: Approve, Comment, Reject"):
        desk.sends(PAPER, MANAGER)


def test_a_click_that_comes_twice_signs_once() -> None:
    desk = Desk(RACK)
    desk.work()

    assert [desk.sends(MARA, MANAGER, "click-1") for _ in range(3)] == ["accepted"] * 3
    desk.work()
    assert desk.sends(MARA, MANAGER, "click-1") == "applied", "also where a manager's word counts no more"

    desk.sends(DARIO, DIRECTOR)
    ended = desk.ended()
    assert ended.output.signed == ["mara", "dario"]
    assert ended.names().count("EventReceived Approve") == 2


def test_two_managers_click_at_once_and_the_first_counts() -> None:
    desk = Desk(RACK)
    desk.work()
    desk.sends(MARA, MANAGER, "click-1")
    desk.sends(Approve(by="milo"), MANAGER, "click-2")
    desk.work()

    late = desk.play.event(desk.run, "click-2")
    assert (desk.play.event(desk.run, "click-1").status, late.status) == ("applied", "refused")
    assert late.reason == "state escalated takes event Approve from these roles only: director"


# --- nobody says anything ---------------------------------------------------------------------------------------------


def test_a_manager_is_reminded_after_a_day(world: World) -> None:
    desk = Desk()
    desk.work()

    desk.play.wait(timedelta(hours=23))
    assert len(letters(world)) == 1
    desk.play.wait(timedelta(hours=2))
    assert letters(world)[-1] == "manager: once more: please approve invoice R-1"

    desk.sends(MARA, MANAGER)
    assert desk.ended().view.state == "paid"


def test_after_three_days_it_is_the_directors(world: World) -> None:
    desk = Desk()
    begun = desk.play.clock.now()
    desk.work()

    desk.play.wait(timedelta(days=2, hours=23))
    assert desk.state() == "review"
    desk.play.wait(timedelta(hours=2))
    assert desk.state() == "escalated"
    entered = [each for each in read.log_page(desk.play.env, desk.run) if "escalated" in str(each.events)]
    assert entered[0].at - begun >= timedelta(days=3) // timedelta(milliseconds=1)
    assert letters(world)[-1] == "director: please approve invoice R-1, signed by nobody"

    with pytest.raises(Forbidden, match="from these roles only: director"):
        desk.sends(MARA, MANAGER)
    desk.sends(DARIO, DIRECTOR)
    assert desk.ended().output.signed == ["dario"]


def test_a_director_is_asked_every_week_and_in_the_end_the_deadline_passes(world: World) -> None:
    desk = Desk()

    ended = desk.ended()

    assert ended.view.error is not None
    assert (ended.status, ended.view.error.category) == ("failed", "deadline")
    assert len(letters(world)) == 2 + 13, "the first one, a reminder, and every week of the 87 days that are left"
    assert not world.effects("bank.paid")


# --- and when machines fail -------------------------------------------------------------------------------------------


def is_heard(desk: Desk, event: BaseModel, roles: tuple[str, ...], id_: str) -> bool:
    """Whoever is not sure of having been heard says it again, under the same id."""
    try:
        return bool(desk.sends(event, roles, id_))
    except Crash:
        return False


@pytest.mark.parametrize("fault", [Fault.CRASH_AFTER, Fault.LOST_REPLY])
def test_after_any_call_something_may_fail_and_it_is_paid_once(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)  # a world in this process's memory, which is quickly forgotten

    def goes_on(desk: Desk) -> Ended:
        for event, roles, asked in ((MARA, MANAGER, "ask_manager"), (DARIO, DIRECTOR, "ask_director")):
            while asked not in [each.stage for each in desk.play.look(desk.run).stages if each.status == "completed"]:
                desk.play.wait(timedelta(minutes=1))
            while not is_heard(desk, event, roles, asked):
                pass
        return desk.ended()

    undisturbed = Desk(RACK)
    started = len(undisturbed.play.faults.calls)
    goes_on(undisturbed)

    for number in range(started, len(undisturbed.play.faults.calls)):
        outside.forget()
        desk = Desk(RACK)
        desk.play.faults.at(number, fault)

        assert goes_on(desk).output.signed == ["mara", "dario"], undisturbed.play.faults.calls[number]
        assert not desk.play.faults.waiting
        assert len(outside.world().effects("bank.paid")) == 1

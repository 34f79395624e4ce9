"""The people who approve invoices, and what they click on. What they think of one depends on who has ordered it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MANAGER = "mara@acme.example"
DIRECTOR = "dario@acme.example"
OTHER_DIRECTOR = "desta@acme.example"
"""Mara has the role of a manager, Desta that of a director, Dario both."""


class Click(NamedTuple):
    """What somebody says, as an event.

    Attributes:
        name: the event's class.
        id: the event's: a click is the same, however often it is sent.
        payload: what the event carries.
        roles: what who has clicked may act as.
        when: the stage that has asked them by then.
    """

    name: str
    id: str
    payload: dict[str, str]
    roles: tuple[str, ...]
    when: str


def clicks(department: str) -> Iterator[Click]:
    """What people say about an invoice of a department, in order."""
    manager = Click("Approve", "click-1", {"by": MANAGER}, ("manager",), "ask_manager")
    director = Click("Approve", "click-2", {"by": DIRECTOR}, ("director",), "ask_director")
    match department:
        case "hospitality":  # nobody has eaten that much
            yield manager._replace(name="Reject", payload={"by": MANAGER, "why": "there was no such dinner"})
        case "research":  # somebody clicks on the letter of somebody else
            yield manager._replace(id="click-0", payload={"by": "theo@acme.example"}, roles=("clerk",))
            yield manager
        case "estates":  # one who is both, manager and director, would sign twice
            both = ("manager", "director")
            yield manager._replace(payload={"by": DIRECTOR}, roles=both)
            yield director._replace(roles=both)
            yield director._replace(id="click-3", payload={"by": OTHER_DIRECTOR})
        case "legal":  # the manager asks around, and says yes then
            words = {"by": MANAGER, "text": "they were here on Tuesday, I have asked"}
            yield manager._replace(name="Comment", id="click-0", payload=words)
            yield manager
            yield director
        case _:
            yield manager
            yield director

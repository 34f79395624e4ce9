"""A pretend carrier, which tells what happens to a parcel. In which order it does depends on the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from workflows.examples.outside import world

LOSES = {"BM": "Bermuda"}
"""Countries on the way to which parcels disappear."""


class NoAnswer(Exception):
    """It hung up, and may have heard us or not: ask again, with the same key."""


class Scan(NamedTuple):
    """What the carrier tells, as an event.

    Attributes:
        name: the event's class.
        id: the event's: it is the same scan, however often it is sent.
        payload: what the event carries.
        when: the wait that has begun by then; empty for as soon as the parcel is booked.
    """

    name: str
    id: str
    payload: dict[str, str]
    when: str


def book(key: str, service: str) -> str:
    """Have a parcel collected; gives its tracking number. The same key books once."""
    booked = world().once("carrier.booked", key, tracking=f"TN-{key[:8].upper()}")
    if service == "express" and world().count("carrier.asked", key) == 1:
        raise NoAnswer("the carrier hung up")
    return str(booked.details["tracking"])


def cancel(key: str, tracking: str) -> None:
    """Have a parcel not collected after all. The same key cancels once."""
    world().once("carrier.cancelled", key, tracking=tracking)


def claim(key: str, tracking: str, value: int, reason: str) -> str:
    """Claim the value (in cents) of a parcel that is lost; gives the claim's number. The same key claims once."""
    claimed = world().once(
        "carrier.claimed", key, tracking=tracking, value=value, reason=reason, number=f"CL-{tracking[3:]}"
    )
    return str(claimed.details["number"])


def scans(tracking: str, service: str, country: str) -> Iterator[Scan]:
    """What the carrier tells of a parcel, in the order in which it does."""
    collected = Scan("PickedUp", "scan-1", {"tracking": tracking, "depot": "Rotterdam"}, "collection")
    if country in LOSES:
        last = Scan("Lost", "scan-2", {"tracking": tracking, "last_seen": f"off {LOSES[country]}"}, "delivery")
    else:
        last = Scan("Delivered", "scan-2", {"tracking": tracking, "place": "front door"}, "delivery")
    match service:
        case "express":  # its courier is quicker than its answer
            yield from (collected._replace(when=""), last)
        case "economy":  # it sends everything twice, and the first scan as if it were another one, too
            yield from (collected, collected, collected._replace(id="scan-1b"), last, last)
        case "rail":  # what is scanned on a train is sent once there is a network
            yield from (last._replace(when="collection"), collected)
        case _:
            yield from (collected, last)

"""Who sends events to the demo's runs: what, in which order, and when. One for each workflow that waits for any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from hosts.local.demo.cases import Json, Played
from workflows.examples.outside import World, carrier, people


class Letter(Struct, frozen=True):
    """An event to send. It is sent once the one before it has been applied; the same once more, at once.

    Attributes:
        name: the event's class.
        id: of the event.
        payload: what it carries.
        when: the stage or wait of the run that has begun by then; empty if it need not wait for any.
        roles: what who sends it may act as.
    """

    name: str
    id: str
    payload: Json
    when: str = ""
    roles: tuple[str, ...] = ()

    def is_due(self, played: Played) -> bool:
        """Whether the run has come that far."""
        return not self.when or any(each["stage"] == self.when for each in played.view["stages"])


def letters(played: Played, world: World) -> list[Letter]:
    """All that is sent to a run, as far as its sender knows by now."""
    sender = _SENDERS.get(played.case.workflow)
    return [] if sender is None else list(sender(played, world))


def _carrier(played: Played, world: World) -> Iterable[Letter]:
    """What the carrier tells of a parcel, once it was asked to collect it."""
    consignment = played.case.input
    for booked in world.effects("carrier.booked", played.run):
        tracking = str(booked.details["tracking"])
        for scan in carrier.scans(tracking, consignment["service"], consignment["country"]):
            yield Letter(name=scan.name, id=scan.id, payload=dict(scan.payload), when=scan.when)


def _people(played: Played, _world: World) -> Iterable[Letter]:
    """What people say of an invoice, once they were asked."""
    for click in people.clicks(played.case.input["department"]):
        yield Letter(click.name, click.id, dict(click.payload), click.when, click.roles)


_SENDERS: Mapping[str, Callable[[Played, World], Iterable[Letter]]] = {"approval": _people, "shipment": _carrier}

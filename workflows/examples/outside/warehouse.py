"""A pretend warehouse and its carrier: heavy goods take a while to pack, some places nobody delivers to."""

from __future__ import annotations

import time

from onewrite import PermanentError
from workflows.examples.outside import world

HEAVY_KG = 100.0
HEAVY_SECONDS = 3.0
"""What packing a heavy piece takes: two people, a crate, and a lift truck."""
UNSERVED = {"AQ": "Antarctica"}
"""Countries that the carrier does not go to."""


class Undeliverable(PermanentError):
    """The carrier does not go there."""


def pack(key: str, kg: float) -> str:
    """Pack goods; gives the parcel's number. The same key packs once."""
    # Begun as often as somebody tries; packed once.
    world().count("warehouse.begun", key)
    if kg > HEAVY_KG:
        time.sleep(HEAVY_SECONDS)
    return str(world().once("warehouse.packed", key, parcel=f"P-{key[:6].upper()}").details["parcel"])


def ship(key: str, parcel: str, country: str) -> str:
    """Hand a parcel to the carrier; gives its tracking number. The same key ships once."""
    if country in UNSERVED:
        raise Undeliverable(f"the carrier does not deliver to {UNSERVED[country]}")
    effect = world().once("carrier.shipped", key, parcel=parcel, tracking=f"TR-{key[:8].upper()}")
    return str(effect.details["tracking"])

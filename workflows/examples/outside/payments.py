"""A pretend payment gateway. What it thinks of a card can be read from the card's token."""

from __future__ import annotations

from onewrite import PermanentError
from workflows.examples.outside import world

DECLINES = {"tok_declines_once": 1, "tok_declines_twice": 2}
"""How often a card is declined before it is accepted, as when a bank's systems are slow."""
STOLEN = "tok_stolen"


class CardDeclined(Exception):
    """Not this time: worth another try."""


class CardRefused(PermanentError):
    """Never: no other try will help."""


def charge(key: str, card: str, amount: int, currency: str) -> str:
    """Take ``amount`` (in cents) from a card; gives the charge's number. The same key charges once."""
    if card == STOLEN:
        raise CardRefused("card reported stolen")
    if card in DECLINES and world().count("payment.asked", key) <= DECLINES[card]:
        raise CardDeclined("card declined: the bank asks to try again")
    effect = world().once("payment.charged", key, amount=amount, currency=currency, charge=f"ch_{key[:8]}")
    return str(effect.details["charge"])


def refund(key: str, charge: str, amount: int) -> None:
    """Give the money back. The same key refunds once."""
    world().once("payment.refunded", key, charge=charge, amount=amount)

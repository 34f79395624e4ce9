"""A pretend bank, which pays what it is told to. What it thinks of an account can be read from its number."""

from __future__ import annotations

from onewrite import PermanentError
from workflows.examples.outside import world

CLOSED = "CLOSED"
"""How the numbers of accounts end that nothing can be paid to any more."""
BUSY = "MT"
"""The country whose banks hang up on the first call."""


class NoConnection(Exception):
    """It hung up, and may have heard us or not: ask again, with the same key."""


class AccountClosed(PermanentError):
    """Nobody can be paid there."""


def pay(key: str, account: str, amount: int, reference: str) -> str:
    """Pay ``amount`` (in cents) to an account; gives the payment's number. The same key pays once."""
    if account.endswith(CLOSED):
        raise AccountClosed(f"account {account} is closed")
    paid = world().once("bank.paid", key, account=account, amount=amount, number=f"PAY-{reference}")
    if account.startswith(BUSY) and world().count("bank.asked", key) == 1:
        raise NoConnection("the bank hung up")
    return str(paid.details["number"])

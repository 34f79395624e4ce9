"""A pretend office: the directory, mail, payroll and everybody else who has to know of a new colleague."""

from __future__ import annotations

from onewrite import PermanentError
from workflows.examples.outside import world

BUSY = {"IT": 1}
"""Countries whose payroll office hangs up on the first so many calls."""


class PayrollBusy(Exception):
    """Nobody picks up: call again later."""


class DocumentMissing(PermanentError):
    """Somebody has to bring it first."""


def record(kind: str, key: str, value: str) -> str:
    """Have an office note something; gives what it noted. The same kind and key are noted once."""
    return str(world().once(f"office.{kind}", key, value=value).details["value"])


def enrol(key: str, country: str, number: str) -> str:
    """Put somebody on the payroll; gives the payroll number. The same key enrols once."""
    if country in BUSY and world().count("office.called", key) <= BUSY[country]:
        raise PayrollBusy(f"the payroll office in {country} is engaged")
    return record("payroll", key, f"PAY-{country}-{number}")

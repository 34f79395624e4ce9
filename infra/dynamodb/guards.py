"""Every condition of the kernel as a DynamoDB condition expression, and the values that go with it.

A placeholder is named after the field it stands for: ``:seen_due`` is ``HeadUpdate.seen_due``, ``:fold`` is
``Snapshot.fold``, ``#status`` is the attribute ``status`` (a reserved word). So an expression says by itself
what goes with it, and one that is replaced needs nothing else replaced.

A comparison with an attribute that is not there is false: no update condition holds on a head that does not
exist, so no update ever creates one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from kernel.ports import Guard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    from kernel.ports import HeadUpdate, Item

CONDITIONS: dict[Guard, str] = {
    # A start creates a run once, whatever is repeated.
    Guard.RUN_IS_NEW: "attribute_not_exists(PK)",
    # One commit per number; a stale attempt cannot commit.
    Guard.COMMIT_IS_NEXT: "attribute_not_exists(PK)",
    # A slow writer never takes a snapshot backwards, nor an older deployment its fold.
    Guard.SNAPSHOT_FORWARD: "attribute_not_exists(PK) OR seq < :seq OR (seq = :seq AND fold < :fold)",
    # An external event is accepted once, whatever is repeated.
    Guard.EVENT_IS_NEW: "attribute_not_exists(PK)",
    # An external event is settled once: applied, or refused.
    Guard.EVENT_IS_OPEN: "attribute_exists(due)",
    # No two runs under way have the same business key; nobody frees what somebody else holds.
    Guard.KEY_AS_SEEN: "attribute_not_exists(PK) OR holder = :was",
    # Two ticks do not do the same work; a stale index entry does no harm.
    Guard.DUE_AS_SEEN: "due = :seen_due",
    # A late sleeper hides no run that was woken since.
    Guard.SLEEP_IS_LATEST: "due = :seen_due AND due_seq <= :due_seq",
    # A frozen waker changes nothing.
    Guard.WAKE_IS_NEWER: "due_seq < :due_seq",
    # A late finaliser hides no run that was reopened since.
    Guard.FINALISE_IS_LATEST: "due_seq <= :due_seq",
    # The outbox cursor never goes backwards, and no failure is counted twice.
    Guard.CURSOR_AS_SEEN: (
        "published = :seen_published AND published_events = :seen_events AND publish_failures = :seen_failures"
    ),
    # A finished run is never shown as parked, nor a sleeping one as what it no longer is.
    Guard.STATUS_AS_SEEN: "#status = :seen_status AND due_seq <= :due_seq",
}
"""Looked up at each call, so that a test can switch a guard off: ``CONDITIONS[guard] = ALWAYS``."""

ALWAYS = "attribute_exists(PK) OR attribute_not_exists(PK)"
"""A condition that always holds. For tests that show what a guard is good for."""


@lru_cache(maxsize=128)
def placeholders(expression: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names (``#x``) and values (``:x``) in an expression, without their marks.

    DynamoDB refuses calls that give more than the expression uses.
    """
    found = re.findall(r"[#:]\w+", expression)
    return (
        tuple(mark[1:] for mark in found if mark[0] == "#"),
        tuple(mark[1:] for mark in found if mark[0] == ":"),
    )


def bind(expression: str, subject: HeadUpdate | Item) -> tuple[Mapping[str, str], Mapping[str, AttributeValueTypeDef]]:
    """What goes with an expression: attribute names, and values taken from the fields of ``subject``.

    Raises:
        ValueError: a field that the expression compares with is None; nothing was seen that could be
            compared.
    """
    names, values = placeholders(expression)
    bound: dict[str, AttributeValueTypeDef] = {}
    for field in values:
        value = getattr(subject, field)
        if value is None:
            raise ValueError(f"{type(subject).__name__}.{field} is needed by the condition {expression!r}")
        bound[f":{field}"] = {"S": value} if isinstance(value, str) else {"N": str(value)}
    return {f"#{name}": name for name in names}, bound

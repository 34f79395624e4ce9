"""The kernel's locks in the DynamoDB table: an item each, and one conditional update per call.

The item of a lock is ``PK = ~lock#<name>``, ``SK = ~lock``, with ``owner`` and ``until`` while it is held, and
``fence``. It lies in no run's partition, since a tenant's id begins with a letter or a digit; it is in no index; and it
is never deleted and has no time to live, so that its fencing token never goes back.

It is the clocks of those who ask that tell whether a lock's time is over: one is taken over once that is so by every
clock within ``max_skew_ms`` of the taker's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from infra.dynamodb.attributes import number, text
from infra.dynamodb.guards import placeholders
from infra.failures import AWS_ERRORS, code_of, translate
from kernel.errors import InfrastructureError
from kernel.locks import Lock, LockGuard, check_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, UpdateItemInputTypeDef

    from kernel.ports import Clock

PARTITION = "~lock#"
"""What the partition key of a lock begins with."""
SORT_KEY = "~lock"

CONDITIONS: dict[LockGuard, str] = {
    # Two never hold it at once: it was given up, or its time is over by every clock.
    LockGuard.LOCK_IS_FREE: "attribute_not_exists(#owner) OR #until < :over",
    # Who was overtaken neither prolongs nor ends what its successor holds.
    LockGuard.LOCK_IS_OURS: "#owner = :owner AND fence = :fence",
    # An extension that arrives behind a later one takes back nothing of it.
    LockGuard.LOCK_ENDS_LATER: "#until < :until",
}
"""As in ``infra.dynamodb.guards``: looked up at each call, so that a test can switch one off."""

_REFUSED = "ConditionalCheckFailedException"
_TAKE = "SET #owner = :owner, #until = :until ADD fence :one"
_PROLONG = "SET #until = :until"
_GIVE_UP = "REMOVE #owner, #until"


class _Given(Struct, frozen=True, kw_only=True):
    """What the placeholders of an expression stand for."""

    owner: str
    fence: int = 0
    until: int = 0
    over: int = 0
    one: int = 1


class DynamoDbLocks:
    """Implements ``kernel.locks.Locks``. May be shared by threads. Each call costs a write unit, ``held`` a read unit.

    Args:
        client: a DynamoDB client, see ``infra.clients``.
        table: name or ARN of the table.
        clock: this process's.
        max_skew_ms: by how much the clocks of two processes may differ.
    """

    def __init__(self, client: DynamoDBClient, table: str, clock: Clock, *, max_skew_ms: int) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._max_skew = max_skew_ms

    def acquire(self, name: str, owner: str, ttl: int) -> Lock | None:
        """Take the lock for so many milliseconds if it is free. A write unit; another one if it was ours already."""
        check_lock(name, owner, ttl)
        now = self._clock.now()
        given = _Given(owner=owner, until=now + ttl, over=now - self._max_skew)
        taken, raw = self._update("acquiring", name, _TAKE, (LockGuard.LOCK_IS_FREE,), given)
        if taken:
            return Lock(name=name, owner=owner, fence=self._read(name, raw), until=given.until)
        found = self._lock(name, raw)
        # Ours: an earlier try of the same has taken it, and nobody was told. It is held for the time from now.
        return self.extend(found, ttl) if found is not None and found.owner == owner else None

    def extend(self, lock: Lock, ttl: int) -> Lock | None:
        """Hold it for at least so many milliseconds from now; None if it is not ours any more. A write unit."""
        check_lock(lock.name, lock.owner, ttl)
        given = _Given(owner=lock.owner, fence=lock.fence, until=self._clock.now() + ttl)
        guards = (LockGuard.LOCK_IS_OURS, LockGuard.LOCK_ENDS_LATER)
        extended, raw = self._update("extending", lock.name, _PROLONG, guards, given)
        if extended:
            return Lock(name=lock.name, owner=lock.owner, fence=lock.fence, until=given.until)
        found = self._lock(lock.name, raw)
        ours = found is not None and (found.owner, found.fence) == (lock.owner, lock.fence)
        return found if ours else None

    def release(self, lock: Lock) -> bool:
        """Give it up; False if it is not ours any more. A write unit."""
        check_lock(lock.name, lock.owner)
        given = _Given(owner=lock.owner, fence=lock.fence)
        released, _ = self._update("releasing", lock.name, _GIVE_UP, (LockGuard.LOCK_IS_OURS,), given)
        return released

    def held(self, name: str) -> Lock | None:
        """Who holds it; None if nobody does, or whoever asks with this clock could take it. A read unit."""
        check_lock(name)
        found = self._lock(name, self._get(name))
        over = found is not None and found.until < self._clock.now() - self._max_skew
        return None if over else found

    def _update(
        self, doing: str, name: str, change: str, guards: tuple[LockGuard, ...], given: _Given
    ) -> tuple[bool, Mapping[str, Any]]:
        """Change the item if the guards hold: whether they did, and what was changed, or the item as it is."""
        condition = " AND ".join(f"({CONDITIONS[guard]})" for guard in guards)
        names, fields = placeholders(f"{change} {condition}")
        request: UpdateItemInputTypeDef = {
            "TableName": self._table,
            "Key": _key(name),
            "UpdateExpression": change,
            "ConditionExpression": condition,
            "ReturnValues": "UPDATED_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if names:
            request["ExpressionAttributeNames"] = {f"#{each}": each for each in names}
        if fields:
            request["ExpressionAttributeValues"] = {f":{each}": _value(getattr(given, each)) for each in fields}
        try:
            return True, self._client.update_item(**request).get("Attributes", {})
        except AWS_ERRORS as error:
            if code_of(error) != _REFUSED:
                raise self._failure(error, doing, name) from error
            raw: Mapping[str, Any] = getattr(error, "response", {}).get("Item", {})
        # Not every engine returns the item with the refusal: none returned does not say that there is none.
        return False, raw or self._get(name)

    def _get(self, name: str) -> Mapping[str, Any]:
        try:
            answer = self._client.get_item(TableName=self._table, Key=_key(name), ConsistentRead=True)
        except AWS_ERRORS as error:
            raise self._failure(error, "reading", name) from error
        return answer.get("Item", {})

    def _lock(self, name: str, raw: Mapping[str, Any]) -> Lock | None:
        """The lock as its item tells; None if there is none, or nobody holds it."""
        if "owner" not in raw:
            return None
        try:
            return Lock(name=name, owner=text(raw, "owner"), fence=number(raw, "fence"), until=number(raw, "until"))
        except ValueError as error:
            raise self._unreadable(name, error) from error

    def _read(self, name: str, raw: Mapping[str, Any]) -> int:
        try:
            return number(raw, "fence")
        except ValueError as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: ValueError) -> InfrastructureError:
        return InfrastructureError(f"the item of lock {name} in table {self._table!r} cannot be read: {error}")

    def _failure(self, error: Exception, doing: str, name: str) -> InfrastructureError:
        return translate(
            error,
            f"{doing} lock {name} in table {self._table!r}",
            "Check TABLE_NAME, the region, and what the role allows.",
        )


def _key(name: str) -> dict[str, AttributeValueTypeDef]:
    return {"PK": {"S": f"{PARTITION}{name}"}, "SK": {"S": SORT_KEY}}


def _value(value: str | int) -> AttributeValueTypeDef:
    return {"S": value} if isinstance(value, str) else {"N": str(value)}

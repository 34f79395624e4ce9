"""The kernel's store over one DynamoDB table: conditional puts and updates, consistent reads, two indexes."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import Struct

from infra.dynamodb import items
from infra.dynamodb.guards import CONDITIONS, bind
from infra.dynamodb.table import DUE_INDEX, RUNS_INDEX
from infra.failures import AWS_ERRORS, code_of, translate
from kernel.errors import CorruptLog, InfrastructureError, Unavailable
from kernel.ports import HEAD, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import (
        PutItemInputTypeDef,
        PutTypeDef,
        QueryInputTypeDef,
        TransactWriteItemTypeDef,
        UpdateItemInputTypeDef,
    )

    from kernel.ports import Due, Found, Guard, HeadUpdate, Item, Listed, Put, RunRef

log = logging.getLogger(f"onewrite.{__name__}")

E = TypeVar("E")

_REFUSED = "ConditionalCheckFailedException"
_CANCELLED = "TransactionCanceledException"
_FAILED = "ConditionalCheckFailed"
_PASSING = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Why a transaction may be cancelled that may be tried again."""
_TOO_LARGE = "Item size has exceeded the maximum allowed size"
_UNIT = 1024


class Consumed(Struct, frozen=True):
    """What one call consumed, in DynamoDB's request units.

    Attributes:
        operation: put, put_all, update, get, range, delete, due or runs.
        key: sort key of the item; for range the lower bound, for due and runs the index's partition.
        read: read request units.
        write: write request units, indexes included.
        refused: a condition refused it. DynamoDB does not report what that costs: it is counted here by its
            rules, from the size of the larger of the two items.
    """

    operation: str
    key: str
    read: float = 0.0
    write: float = 0.0
    refused: bool = False


class DynamoDbStore:
    """Implements ``kernel.ports.Store``. May be shared by threads.

    Args:
        client: a DynamoDB client, see ``infra.clients``.
        table: name or ARN of the table.
        on_consumed: is told what each call consumed; without it, DynamoDB is not asked.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        on_consumed: Callable[[Consumed], None] | None = None,
    ) -> None:
        self._client = client
        self._table = table
        self._on_consumed = on_consumed

    def put(self, ref: RunRef, item: Item, guard: Guard | None = None) -> Refusal | None:
        """Write an item whole; under a guard, only if it holds. Costs a write unit per started KB."""
        request: PutItemInputTypeDef
        if guard is None:
            request = {"TableName": self._table, "Item": items.to_attributes(ref, item)}
        else:
            request = cast("PutItemInputTypeDef", self._guarded(ref, item, guard))  # of whose fields it is a part
        if self._on_consumed is not None:
            request["ReturnConsumedCapacity"] = "TOTAL"
        try:
            answer = self._client.put_item(**request)
        except AWS_ERRORS as error:
            return self._refusal(error, "put", ref, item.key, request["Item"])
        if self._on_consumed is not None:
            self._on_consumed(Consumed("put", item.key, write=_units(answer)))
        return None

    def put_all(self, puts: Sequence[Put]) -> Sequence[Refusal | None] | None:
        """Write several items, or none of them. Costs twice what the puts by themselves would."""
        writes: list[TransactWriteItemTypeDef] = [{"Put": self._guarded(*put)} for put in puts]
        keys = ", ".join(item.key for _, item, _ in puts)
        try:
            answer = self._client.transact_write_items(
                TransactItems=writes, ReturnConsumedCapacity="TOTAL" if self._on_consumed else "NONE"
            )
        except AWS_ERRORS as error:
            return self._refusals(error, puts)
        if self._on_consumed is not None:
            units = sum(float(each.get("CapacityUnits", 0.0)) for each in answer.get("ConsumedCapacity", ()))
            self._on_consumed(Consumed("put_all", keys, write=units))
        return None

    def _guarded(self, ref: RunRef, item: Item, guard: Guard) -> PutTypeDef:
        """A put with its condition, by itself or in a transaction."""
        condition = CONDITIONS[guard]
        put: PutTypeDef = {
            "TableName": self._table,
            "Item": items.to_attributes(ref, item),
            "ConditionExpression": condition,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        names, values = bind(condition, item)
        if names:
            put["ExpressionAttributeNames"] = names
        if values:
            put["ExpressionAttributeValues"] = values
        return put

    def _refusals(self, error: Exception, puts: Sequence[Put]) -> Sequence[Refusal | None]:
        """The refusals that an error means; raises what else it means."""
        doing = f"put of {', '.join(f'{item.key} of run {ref.partition}' for ref, item, _ in puts)}"
        reasons = getattr(error, "response", {}).get("CancellationReasons", [])
        codes = [reason.get("Code") for reason in reasons]
        if code_of(error) == _CANCELLED and _PASSING.intersection(codes):
            # Whatever else it says: what it met may be an earlier try of its own that is only half done.
            raise Unavailable(f"{doing}: {', '.join(map(str, codes))}") from error
        if code_of(error) != _CANCELLED or _FAILED not in codes:
            raise self._failure(error, doing) from error
        if self._on_consumed is not None:
            units = sum(2.0 * -(-items.size(items.to_attributes(ref, item)) // _UNIT) for ref, item, _ in puts)
            self._on_consumed(Consumed("put_all", puts[0][1].key, write=units, refused=True))
        return [
            self._refused(ref, item, reason) if reason.get("Code") == _FAILED else None
            for (ref, item, _), reason in zip(puts, reasons, strict=True)
        ]

    def _refused(self, ref: RunRef, item: Item, reason: Mapping[str, Any]) -> Refusal:
        raw = reason.get("Item")
        # Not every engine returns the item with the refusal: none returned does not say that there is none.
        return Refusal(items.found(raw) if raw else self.get(ref, item.key))

    def update(self, ref: RunRef, change: HeadUpdate) -> Refusal | None:
        """Change the head if the guard holds. Never creates one."""
        condition = CONDITIONS[change.guard]
        expression = _update_expression(change)
        names, values = bind(f"{expression} {condition}", change)
        request: UpdateItemInputTypeDef = {
            "TableName": self._table,
            "Key": items.key(ref, HEAD),
            "UpdateExpression": expression,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if names:
            request["ExpressionAttributeNames"] = names
        if self._on_consumed is not None:
            request["ReturnConsumedCapacity"] = "TOTAL"
        try:
            answer = self._client.update_item(**request)
        except AWS_ERRORS as error:
            return self._refusal(error, "update", ref, HEAD, {})
        if self._on_consumed is not None:
            self._on_consumed(Consumed("update", HEAD, write=_units(answer)))
        return None

    def get(self, ref: RunRef, key: str) -> Found | None:
        """One item, consistently read. Costs a read unit per started 4 KB."""
        try:
            answer = self._client.get_item(
                TableName=self._table,
                Key=items.key(ref, key),
                ConsistentRead=True,
                ReturnConsumedCapacity=self._capacity,
            )
        except AWS_ERRORS as error:
            raise self._failure(error, f"getting {key} of run {ref.partition}") from error
        if self._on_consumed is not None:
            self._on_consumed(Consumed("get", key, read=_units(answer)))
        found = answer.get("Item")
        return items.found(found) if found else None

    def range(self, ref: RunRef, low: str, high: str, *, limit: int, descending: bool = False) -> Sequence[Found]:
        """Up to ``limit`` items with ``low <= key <= high`` in order of key, consistently read."""
        if low > high:
            return ()
        # A key of no characters is not a key, so it cannot be compared with either.
        bounds = "SK BETWEEN :low AND :high" if low else "SK <= :high"
        values: dict[str, Any] = {":pk": {"S": ref.partition}, ":high": {"S": high}}
        if low:
            values[":low"] = {"S": low}
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": f"PK = :pk AND {bounds}",
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
            "ScanIndexForward": not descending,
        }
        found = self._pages(request, limit, Consumed("range", low), f"reading {low} to {high} of run {ref.partition}")
        return [items.found(raw) for raw in found]

    def delete(self, ref: RunRef, key: str) -> None:
        """Remove an item if it is there."""
        try:
            answer = self._client.delete_item(
                TableName=self._table, Key=items.key(ref, key), ReturnConsumedCapacity=self._capacity
            )
        except AWS_ERRORS as error:
            raise self._failure(error, f"deleting {key} of run {ref.partition}") from error
        if self._on_consumed is not None:
            self._on_consumed(Consumed("delete", key, write=_units(answer)))

    def due(self, shard: str, until: int, limit: int) -> Sequence[Due]:
        """Entries of a shard of the *due* index with ``due <= until``, earliest first. May be stale."""
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "IndexName": DUE_INDEX,
            "KeyConditionExpression": "due_shard = :shard AND due <= :until",
            "ExpressionAttributeValues": {":shard": {"S": shard}, ":until": {"N": str(until)}},
        }
        consumed, doing = Consumed("due", shard), f"reading due index {shard}"
        # As many as can be read: less than asked for would say that there are no more.
        entries = _readable(self._pages(request, limit, consumed, doing, on=True), items.due_of)
        return list(islice(entries, limit))

    def runs(self, listing: str, low: str, high: str, limit: int) -> Sequence[Listed]:
        """Entries of the *runs* index with ``low <= order < high``, latest first. May be stale."""
        if low >= high:
            return ()
        bounds = "listing_order BETWEEN :low AND :high" if low else "listing_order < :high"
        values: dict[str, Any] = {":listing": {"S": listing}, ":high": {"S": high}}
        if low:
            values[":low"] = {"S": low}
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "IndexName": RUNS_INDEX,
            "KeyConditionExpression": f"listing = :listing AND {bounds}",
            "ExpressionAttributeValues": values,
            "ScanIndexForward": False,
        }
        # A key condition has no half-open range, and a cursor is the order of an entry that was seen: one
        # entry more is asked for, since the first is likely to be that one.
        consumed, doing = Consumed("runs", listing), f"reading runs index {listing}"
        listed = _readable(self._pages(request, limit + 1, consumed, doing, on=True), items.listed_of)
        return list(islice((entry for entry in listed if entry.order < high), limit))

    @property
    def _capacity(self) -> Any:  # noqa: ANN401  # a literal type that boto3's stubs do not export
        return "NONE" if self._on_consumed is None else "TOTAL"

    def _pages(
        self, request: QueryInputTypeDef, limit: int, consumed: Consumed, doing: str, *, on: bool = False
    ) -> Iterator[Mapping[str, Any]]:
        """Items of a query, page by page (a page ends at 1 MB), until there are ``limit``; or ``on`` to the last."""
        request["ReturnConsumedCapacity"] = self._capacity
        left = limit
        while left > 0:
            request["Limit"] = left
            try:
                answer = self._client.query(**request)
            except AWS_ERRORS as error:
                raise self._failure(error, doing) from error
            if self._on_consumed is not None:
                self._on_consumed(Consumed(consumed.operation, consumed.key, read=_units(answer)))
            yield from answer["Items"]
            left -= 0 if on else len(answer["Items"])
            after = answer.get("LastEvaluatedKey")
            if not after:
                return
            request["ExclusiveStartKey"] = after

    def _refusal(self, error: Exception, operation: str, ref: RunRef, key: str, new: Mapping[str, Any]) -> Refusal:
        """The refusal that an error means; raises what else it means."""
        if code_of(error) != _REFUSED:
            raise self._failure(error, f"{operation} of {key} of run {ref.partition}") from error
        raw: Mapping[str, Any] = getattr(error, "response", {}).get("Item", {})
        if self._on_consumed is not None:
            larger = max(items.size(raw), items.size(new), 1)
            units = float(-(-larger // _UNIT))
            self._on_consumed(Consumed(operation, key, write=units, refused=True))
        # Not every engine returns the item with the refusal: none returned does not say that there is none.
        return Refusal(items.found(raw) if raw else self.get(ref, key))

    def _failure(self, error: Exception, doing: str) -> InfrastructureError:
        if code_of(error) == "ValidationException" and _TOO_LARGE in str(error):
            return InfrastructureError(
                f"{doing}: the item is larger than the 400 KB that DynamoDB takes. Nothing was stored, and "
                "retrying will not help: keep big values in the blob store"
            )
        return translate(
            error,
            f"{doing} in table {self._table!r}",
            "Check TABLE_NAME, the region, and what the function's role allows.",
        )


def _readable(found: Iterable[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], E]) -> Iterator[E]:
    """The entries of an index that can be read. One that cannot must not keep anybody from the others."""
    for raw in found:
        try:
            yield read(raw)
        except CorruptLog as error:
            log.error("entry left out of an index: %s", error)  # noqa: TRY400 - the message says it all


def _update_expression(change: HeadUpdate) -> str:
    """What changes: fields that are not None, each under its own name."""
    assignments: list[str] = []
    if change.look is not None:
        assignments.append("look = :look")
    if change.due is not None:
        assignments.append("due = :due")
    if change.due_seq is not None:
        assignments.append("due_seq = :due_seq")
    if change.status is not None:
        assignments.append("#status = :status")
    if change.listing_order is not None:
        assignments.append("listing_order = :listing_order")
    if change.published is not None:
        assignments.append("published = :published")
    if change.published_events is not None:
        assignments.append("published_events = :published_events")
    if change.publish_failures is not None:
        assignments.append("publish_failures = :publish_failures")
    clauses = [f"SET {', '.join(assignments)}"] if assignments else []
    if change.clear_due:
        clauses.append("REMOVE due")
    return " ".join(clauses)


def _units(answer: Mapping[str, Any]) -> float:
    """Units of all tables and indexes that a call touched."""
    return float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0))

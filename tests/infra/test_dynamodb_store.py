"""The DynamoDB store where no engine can be made to behave: lost items, failures, pages, odd items."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError, ReadTimeoutError
from msgspec.structs import replace

from infra.dynamodb import guards
from infra.dynamodb.items import from_attributes, to_attributes
from infra.dynamodb.store import Consumed, DynamoDbStore
from kernel.errors import CorruptLog, InfrastructureError, Missing, NewerFormat, Unavailable
from kernel.ports import (
    HEAD,
    Due,
    Guard,
    HeadUpdate,
    Item,
    Listed,
    Put,
    Refusal,
    RunRef,
    Unreadable,
    keys_of,
    log_key,
)
from kernel.testing.conformance.examples import commit, data, dead, head, held, live, snapshot
from tests.infra.aws import client_error, fake

REF = RunRef("acme", "r1")
REFUSED = "ConditionalCheckFailedException"


def test_a_refusal_without_the_item_is_followed_by_a_consistent_read() -> None:
    there = commit(1)
    client = fake(client_error(REFUSED), {"Item": to_attributes(REF, there)})

    refusal = DynamoDbStore(client, "t").put(REF, commit(1), Guard.COMMIT_IS_NEXT)

    assert refusal == Refusal(there)
    operation, request = client.requests[1]
    assert (operation, request["ConsistentRead"]) == ("get_item", True)
    assert request["Key"] == {"PK": {"S": "acme#r1"}, "SK": {"S": log_key(1)}}


def test_a_refusal_with_the_item_costs_no_read() -> None:
    there = commit(1)
    client = fake(client_error(REFUSED, Item=to_attributes(REF, there)))

    assert DynamoDbStore(client, "t").put(REF, commit(1), Guard.COMMIT_IS_NEXT) == Refusal(there)
    assert len(client.requests) == 1


def test_a_commit_is_one_conditional_put_that_asks_for_the_item_it_may_lose_to() -> None:
    client = fake({})
    item = commit(7)

    DynamoDbStore(client, "t").put(REF, item, Guard.COMMIT_IS_NEXT)

    assert client.requests == [
        (
            "put_item",
            {
                "TableName": "t",
                "Item": to_attributes(REF, item),
                "ConditionExpression": "attribute_not_exists(PK)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
        )
    ]


KEYS = keys_of("acme")
PUTS: list[Put] = [
    (REF, head(REF, business_key="k"), Guard.RUN_IS_NEW),
    (KEYS, held("k", "r1#0", was="r0#2"), Guard.KEY_AS_SEEN),
]
"""A run and its business key."""


def test_a_transaction_is_one_call_with_the_condition_of_each_put() -> None:
    client = fake({})

    DynamoDbStore(client, "t").put_all(PUTS)

    ((operation, request),) = client.requests
    assert operation == "transact_write_items"
    puts = [each["Put"] for each in request["TransactItems"]]
    assert [put["Item"]["PK"]["S"] for put in puts] == ["acme#r1", "acme#"]
    assert puts[1]["Item"]["SK"] == {"S": "key#order#k"}
    assert puts[1]["ConditionExpression"] == "attribute_not_exists(PK) OR holder = :was"
    assert puts[1]["ExpressionAttributeValues"] == {":was": {"S": "r0#2"}}


def test_a_transaction_that_was_refused_tells_which_of_its_puts_was() -> None:
    there = held("k", "r9#0")
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": to_attributes(KEYS, there)}]
    client = fake(client_error("TransactionCanceledException", CancellationReasons=reasons))

    assert DynamoDbStore(client, "t").put_all(PUTS) == [None, Refusal(there)]


def test_a_transaction_that_met_another_one_was_not_refused_whatever_else_it_met() -> None:
    """It may be an earlier try of its own, half of which is done: the same again tells."""
    ours = to_attributes(KEYS, held("k", "r1#0", was="r0#2"))
    reasons = [{"Code": "TransactionConflict"}, {"Code": "ConditionalCheckFailed", "Item": ours}]
    client = fake(client_error("TransactionCanceledException", CancellationReasons=reasons))

    with pytest.raises(Unavailable, match="TransactionConflict"):
        DynamoDbStore(client, "t").put_all(PUTS)


def test_an_update_is_one_conditional_update_that_asks_for_the_head_it_may_lose_to() -> None:
    client = fake({})
    change = HeadUpdate(
        guard=Guard.STATUS_AS_SEEN, look="t1", due_seq=7, status="parked", seen_status="open", clear_due=True
    )

    DynamoDbStore(client, "t").update(REF, change)

    assert client.requests == [
        (
            "update_item",
            {
                "TableName": "t",
                "Key": {"PK": {"S": "acme#r1"}, "SK": {"S": "~head"}},
                "UpdateExpression": "SET look = :look, due_seq = :due_seq, #status = :status REMOVE due",
                "ConditionExpression": "#status = :seen_status AND due_seq <= :due_seq",
                "ExpressionAttributeNames": {"#status": "status"},
                "ExpressionAttributeValues": {
                    ":look": {"S": "t1"},
                    ":due_seq": {"N": "7"},
                    ":status": {"S": "parked"},
                    ":seen_status": {"S": "open"},
                },
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            },
        )
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(client_error("ThrottlingException"), Unavailable, id="throttled"),
        pytest.param(client_error("TransactionConflictException"), Unavailable, id="conflict"),
        pytest.param(client_error("InternalServerError", status=500), Unavailable, id="server-error"),
        pytest.param(ReadTimeoutError(endpoint_url="http://x"), Unavailable, id="time-out"),
        pytest.param(client_error("ResourceNotFoundException"), Missing, id="no-table"),
        pytest.param(client_error("AccessDeniedException"), Missing, id="denied"),
        pytest.param(NoCredentialsError(), Missing, id="no-credentials"),
        pytest.param(client_error("ValidationException", "wrong"), InfrastructureError, id="not-understood"),
    ],
)
def test_a_failure_of_any_call_is_never_taken_for_a_refusal(error: Exception, kind: type[InfrastructureError]) -> None:
    change = HeadUpdate(guard=Guard.WAKE_IS_NEWER, look="t", due_seq=1)
    calls = [
        lambda store: store.put(REF, commit(1), Guard.COMMIT_IS_NEXT),
        lambda store: store.update(REF, change),
        lambda store: store.get(REF, HEAD),
        lambda store: store.range(REF, "a", "b", limit=1),
        lambda store: store.delete(REF, HEAD),
        lambda store: store.due("due#0", 1, 1),
        lambda store: store.runs("acme#order#0", "", "~", 1),
    ]

    for call in calls:
        with pytest.raises(InfrastructureError, match="table 'onewrite'") as caught:
            call(DynamoDbStore(fake(error), "onewrite"))
        assert type(caught.value) is kind


def test_pages_are_followed_until_the_limit_and_not_further() -> None:
    commits = [to_attributes(REF, commit(seq)) for seq in range(1, 5)]
    after = {"PK": {"S": "acme#r1"}, "SK": {"S": log_key(2)}}
    pages: list[Any] = [
        {"Items": commits[:2], "LastEvaluatedKey": after},
        {"Items": [], "LastEvaluatedKey": after},
        {"Items": commits[2:3], "LastEvaluatedKey": after},
    ]
    client = fake(*pages)

    found = DynamoDbStore(client, "t").range(REF, "log#", "log#~", limit=3)

    assert [item.key for item in found] == [log_key(1), log_key(2), log_key(3)]
    assert [request["Limit"] for _, request in client.requests] == [3, 1, 1]
    assert client.requests[1][1]["ExclusiveStartKey"] == after


def test_the_store_asks_for_units_only_where_somebody_listens() -> None:
    quiet, loud = fake({}), fake({"ConsumedCapacity": {"CapacityUnits": 1.0}})
    heard: list[Consumed] = []

    DynamoDbStore(quiet, "t").put(REF, commit(1))
    DynamoDbStore(loud, "t", heard.append).put(REF, commit(1))

    assert "ReturnConsumedCapacity" not in quiet.requests[0][1]
    assert loud.requests[0][1]["ReturnConsumedCapacity"] == "TOTAL"
    assert heard == [Consumed("put", log_key(1), write=1.0)]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (HeadUpdate(guard=Guard.DUE_AS_SEEN, look="t"), "seen_due"),
        (HeadUpdate(guard=Guard.SLEEP_IS_LATEST, look="t", seen_due=1), "due_seq"),
        (HeadUpdate(guard=Guard.CURSOR_AS_SEEN, look="t", seen_published=1), "seen_failures"),
        (HeadUpdate(guard=Guard.STATUS_AS_SEEN, look="t"), "seen_status"),
    ],
)
def test_a_guard_that_has_nothing_to_compare_with_is_a_mistake_that_is_not_sent(change: HeadUpdate, field: str) -> None:
    client = fake()

    with pytest.raises(ValueError, match=f"HeadUpdate.{field} is needed"):
        DynamoDbStore(client, "t").update(REF, change)

    assert client.requests == []


@pytest.mark.parametrize("guard", list(Guard))
def test_every_guard_has_a_condition_that_can_be_replaced_at_run_time(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(guards.CONDITIONS, guard, guards.ALWAYS)
    client = fake()
    store = DynamoDbStore(client, "t")

    if guard is Guard.SNAPSHOT_FORWARD:
        store.put(REF, snapshot(1), guard)
    elif guard in {Guard.RUN_IS_NEW, Guard.COMMIT_IS_NEXT}:
        store.put(REF, commit(1), guard)
    else:
        store.update(REF, HeadUpdate(guard=guard, look="t"))

    [(_, request)] = client.requests
    assert request["ConditionExpression"] == guards.ALWAYS
    assert set(request.get("ExpressionAttributeValues", {})) <= {":look"}  # DynamoDB refuses what is not used


HEAD_FIELDS = set(head(REF).__struct_fields__)
ATTRIBUTES: list[tuple[Item, set[str]]] = [
    (commit(1), {"at", "token", "by", "events", "ttl", "v"}),
    (snapshot(1), {"seq", "fold", "body", "ttl"}),
    (data(), {"body", "ttl"}),
    (live(1), {"until", "ttl"}),
    (live(1, progress=0.5), {"until", "progress", "ttl"}),
    (dead(1), {"at", "error", "body", "ttl"}),
    (head(REF), HEAD_FIELDS - {"business_key"}),
    (head(REF, due=None), HEAD_FIELDS - {"business_key", "due"}),
    (head(REF, business_key="k"), HEAD_FIELDS),
    (held("k", "r1#0"), {"holder", "was", "ttl"}),
]
KINDS = ["commit", "snapshot", "data", "live", "live-progress", "dead", "head", "head-not-due", "head-with-key", "key"]


@pytest.mark.parametrize(("item", "names"), ATTRIBUTES, ids=KINDS)
def test_an_item_stores_its_fields_and_nothing_twice(item: Item, names: set[str]) -> None:
    assert set(to_attributes(REF, item)) == {"PK", "SK"} | names


def test_the_events_of_a_commit_can_be_read_in_the_console() -> None:
    assert to_attributes(REF, commit(1))["events"] == {"S": '[{"type":"StageScheduled","stage":"charge"}]'}


def test_attributes_that_a_later_version_added_are_ignored() -> None:
    raw = to_attributes(REF, commit(1))

    assert from_attributes({**raw, "mood": {"S": "good"}}) == from_attributes(raw)


@pytest.mark.parametrize("item", [item for item, _ in ATTRIBUTES], ids=KINDS)
def test_an_item_that_lacks_an_attribute_is_corrupt_and_named(item: Item) -> None:
    raw = to_attributes(REF, item)
    required = set(raw) - {"PK", "SK", "progress", "due", "look", "business_key"}

    for name in required:
        without = {key: value for key, value in raw.items() if key != name}
        with pytest.raises(CorruptLog, match=f"item {item.key} of run acme#r1 cannot be read.*{name}"):
            from_attributes(without)


def test_an_item_of_an_unknown_kind_was_written_by_a_newer_version() -> None:
    with pytest.raises(NewerFormat, match="act#charge of run acme#r1"):
        from_attributes({"PK": {"S": "acme#r1"}, "SK": {"S": "act#charge"}})


def test_unreadable_entries_of_the_due_index_hide_none_that_come_after_them() -> None:
    """A page of nothing but those is not the last: who reads the index takes less than asked for as its end."""
    good = {"PK": {"S": "acme#r1"}, "SK": {"S": "~head"}, "due": {"N": "5"}}
    client = fake(
        {"Items": [{"PK": {"S": "nobody's"}}] * 2, "LastEvaluatedKey": {"PK": {"S": "a"}}},
        {"Items": [good, good], "LastEvaluatedKey": {"PK": {"S": "b"}}},
    )

    assert DynamoDbStore(client, "t").due("due#0", 9, 2) == [Due(REF, 5), Due(REF, 5)]
    assert [request["Limit"] for _, request in client.requests] == [2, 2]


def test_unreadable_entries_of_the_runs_index_hide_none_that_come_after_them() -> None:
    good = {
        "PK": {"S": "acme#r1"},
        "workflow": {"S": "order"},
        "version": {"N": "1"},
        "status": {"S": "open"},
        "created": {"N": "5"},
        "listing_order": {"S": "open#5"},
    }
    client = fake({"Items": [{"PK": {"S": "nobody's"}}], "LastEvaluatedKey": {"PK": {"S": "a"}}}, {"Items": [good]})

    assert DynamoDbStore(client, "t").runs("acme#order#0", "", "open#9", 1) == [
        Listed(REF, "order", 1, "open", 5, "open#5")
    ]


BROKEN = {**to_attributes(REF, commit(1)), "at": {"S": "yesterday"}}


def test_an_item_that_cannot_be_read_is_told_from_one_that_is_not_there() -> None:
    good = commit(2)
    store = DynamoDbStore(fake({"Item": BROKEN}, {"Items": [to_attributes(REF, good), BROKEN]}), "t")

    got, (whole, broken) = store.get(REF, log_key(1)), store.range(REF, "log#", "log#~", limit=2)

    assert whole == good
    for each in (got, broken):
        assert isinstance(each, Unreadable)
        assert each.key == log_key(1)
        assert "log#0000000001 of run acme#r1 cannot be read: at" in str(each.error)


def test_a_refusal_by_what_cannot_be_read_says_so() -> None:
    error = client_error("ConditionalCheckFailedException", Item=BROKEN)

    refusal = DynamoDbStore(fake(error), "t").put(REF, commit(1), Guard.COMMIT_IS_NEXT)

    assert refusal is not None
    assert isinstance(refusal.existing, Unreadable)


def test_a_head_of_before_there_were_looks_is_read() -> None:
    before = head(REF)
    raw = to_attributes(REF, before)
    del raw["look"]

    assert from_attributes(raw) == replace(before, look="")

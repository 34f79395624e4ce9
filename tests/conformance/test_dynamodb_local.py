"""The DynamoDB store on DynamoDB Local: the engine whose conditions are those of AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from infra.dynamodb.items import size, to_attributes
from infra.dynamodb.store import Consumed, DynamoDbStore
from infra.dynamodb.table import create_table
from kernel.errors import InfrastructureError, Missing, Unavailable
from kernel.ports import HEAD, Guard, HeadUpdate, Item, RunRef
from kernel.testing.conformance import StoreContract
from kernel.testing.conformance.examples import commit, data, dead, fresh_ref, fresh_token, head, live, snapshot
from kernel.testing.units import size_of

if TYPE_CHECKING:
    from infra.clients import Clients
    from kernel.ports import Store

pytestmark = pytest.mark.dynamodb_local

TABLE = "onewrite-conformance"
REF = RunRef("acme", "r1")


@pytest.fixture(scope="module")
def table(dynamodb_local: Clients) -> str:
    create_table(dynamodb_local.dynamodb, TABLE)
    return TABLE


class TestDynamoDbStoreOnDynamoDbLocal(StoreContract):
    @pytest.fixture
    def store(self, dynamodb_local: Clients, table: str) -> Store:
        return DynamoDbStore(dynamodb_local.dynamodb, table)


def test_setting_up_a_table_that_is_there_changes_nothing(dynamodb_local: Clients, table: str) -> None:
    ref = fresh_ref()
    store = DynamoDbStore(dynamodb_local.dynamodb, table)
    store.put(ref, commit(1))

    create_table(dynamodb_local.dynamodb, table)

    assert store.get(ref, commit(1).key) is not None


def test_the_table_deletes_what_its_ttl_says(dynamodb_local: Clients, table: str) -> None:
    described = dynamodb_local.dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]

    assert described == {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"}


@pytest.mark.parametrize("item", [data(body=b"x" * 410_000), commit(1, events=b"[]" * 250_000)], ids=["data", "commit"])
def test_an_item_over_400_kb_is_a_clear_error_and_stores_nothing(
    dynamodb_local: Clients, table: str, item: Item
) -> None:
    ref = fresh_ref()
    store = DynamoDbStore(dynamodb_local.dynamodb, table)

    with pytest.raises(
        InfrastructureError, match=f"{item.key} of run {ref.partition}.*larger than the 400 KB"
    ) as caught:
        store.put(ref, item, Guard.COMMIT_IS_NEXT)

    assert not isinstance(caught.value, Unavailable)  # the same call must not be retried
    assert store.get(ref, item.key) is None


def test_a_table_that_is_not_there_is_missing_and_the_message_says_what_to_check(
    dynamodb_local: Clients,
) -> None:
    store = DynamoDbStore(dynamodb_local.dynamodb, "no-such-table")
    ref = fresh_ref()
    calls = [
        lambda: store.put(ref, commit(1), Guard.COMMIT_IS_NEXT),
        lambda: store.update(ref, HeadUpdate(guard=Guard.WAKE_IS_NEWER, look=fresh_token(), due_seq=1)),
        lambda: store.get(ref, HEAD),
        lambda: store.range(ref, "a", "b", limit=1),
        lambda: store.delete(ref, HEAD),
        lambda: store.due("due#0", 1, 1),
        lambda: store.runs("acme#order#0", "", "~", 1),
    ]

    for call in calls:
        with pytest.raises(Missing, match=r"'no-such-table'.*Check TABLE_NAME"):
            call()


class TestMeter:
    @pytest.fixture
    def consumed(self) -> list[Consumed]:
        return []

    @pytest.fixture
    def store(self, dynamodb_local: Clients, table: str, consumed: list[Consumed]) -> DynamoDbStore:
        return DynamoDbStore(dynamodb_local.dynamodb, table, consumed.append)

    def test_the_meter_is_told_what_the_engine_counts(self, store: DynamoDbStore, consumed: list[Consumed]) -> None:
        ref = fresh_ref()
        big = data(body=b"x" * 2500)

        store.put(ref, head(ref), Guard.RUN_IS_NEW)  # the item and its entries in two indexes
        store.put(ref, commit(1), Guard.COMMIT_IS_NEXT)
        store.put(ref, big)
        store.update(
            ref,
            HeadUpdate(guard=Guard.CURSOR_AS_SEEN, look="t", published=0, seen_published=-1, seen_failures=0),
        )
        store.get(ref, big.key)
        store.range(ref, "log#", "~snap", limit=20, descending=True)
        store.delete(ref, big.key)

        assert consumed == [
            Consumed("put", HEAD, write=3.0),
            Consumed("put", commit(1).key, write=1.0),
            Consumed("put", big.key, write=3.0),
            Consumed("update", HEAD, write=1.0),
            Consumed("get", big.key, read=1.0),
            Consumed("range", "log#", read=1.0),
            Consumed("delete", big.key, write=3.0),
        ]

    def test_a_refused_write_is_counted_by_the_larger_of_the_two_items(
        self, store: DynamoDbStore, consumed: list[Consumed]
    ) -> None:
        ref = fresh_ref()
        large, small = commit(1, events=b" " * 2500), commit(1)
        store.put(ref, large)
        consumed.clear()

        store.put(ref, small, Guard.COMMIT_IS_NEXT)
        store.delete(ref, large.key)
        store.put(ref, small)
        store.put(ref, large, Guard.COMMIT_IS_NEXT)

        assert [entry for entry in consumed if entry.refused] == [
            Consumed("put", small.key, write=3.0, refused=True)
        ] * 2

    @pytest.mark.parametrize("length", range(600, 1100, 7))
    def test_units_follow_from_the_size_of_an_item_as_it_is_counted_here(
        self, store: DynamoDbStore, consumed: list[Consumed], length: int
    ) -> None:
        ref = fresh_ref()
        item = commit(1, events=b"x" * length)

        store.put(ref, item)

        counted = size(to_attributes(ref, item))
        assert consumed[0].write == -(-counted // 1024)
        assert counted == size_of(ref, item)


@pytest.mark.parametrize(
    "item",
    [head(REF), head(REF, due=None), commit(1), snapshot(16), data(), live(2), dead(3)],
    ids=["head", "head-not-due", "commit", "snapshot", "data", "live", "dead"],
)
def test_the_meter_of_tests_and_benches_counts_items_as_they_are_stored(item: Item) -> None:
    assert size_of(REF, item) == size(to_attributes(REF, item))

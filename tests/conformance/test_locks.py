"""Locks of every kind under the suite of their port; and that it notices when a condition is taken away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest
from redis import Redis

from hosts.engines.redis_server import RedisServer
from infra.dynamodb import locks as dynamodb
from infra.dynamodb.guards import ALWAYS
from infra.dynamodb.locks import PARTITION, SORT_KEY, DynamoDbLocks
from infra.dynamodb.table import create_table
from infra.redis import locks as over_redis
from infra.redis.client import Client, connect
from infra.redis.locks import KEPT, RedisLocks
from kernel.errors import InfrastructureError, InvalidInput, Missing, Unavailable
from kernel.limits import check_tenant
from kernel.locks import LockGuard, Locks
from kernel.testing import locks as memory
from kernel.testing.conformance.examples import fresh_token
from kernel.testing.conformance.locks import LONG, LocksContract, taken
from kernel.testing.locks import MemoryLocks
from kernel.testing.memory import FakeClock
from tests.proof import tell

if TYPE_CHECKING:
    from infra.clients import Clients

TABLE = "onewrite-locks"
SKEW = 8

NOTICED_BY: dict[LockGuard, str] = {
    LockGuard.LOCK_IS_FREE: "test_a_lock_that_somebody_holds_is_refused_and_stays_as_it_is",
    LockGuard.LOCK_IS_OURS: "test_what_ran_out_and_was_taken_over_neither_extends_nor_releases_its_successor",
    LockGuard.LOCK_ENDS_LATER: "test_an_extension_ends_nothing_sooner",
}
"""For each guard, a test of the suite that fails without it."""


class Off(FakeClock):
    """A clock that is ahead of another one."""

    def __init__(self, clock: FakeClock, by: int) -> None:
        super().__init__()
        self._clock, self._by = clock, by

    def now(self) -> int:
        return self._clock.now() + self._by


class WithFakeClock(LocksContract):
    """The suite where it is the clocks of those who ask that count."""

    ttl: ClassVar[int] = 20
    skew: ClassVar[int] = SKEW
    conditions: ClassVar[MutableMapping[LockGuard, Any]]
    always: ClassVar[Any]

    def now(self) -> int:
        return self.clock.now()

    def wait(self, milliseconds: int) -> None:
        self.clock.move(milliseconds)

    @pytest.fixture(autouse=True)
    def _clock(self) -> None:
        self.clock = FakeClock()

    @pytest.mark.parametrize("guard", LockGuard)
    def test_it_is_noticed_if_a_condition_is_taken_away(self, locks: Locks, guard: LockGuard) -> None:
        noticed(self, locks, guard, self.conditions, self.always)


def noticed(
    suite: LocksContract, locks: Locks, guard: LockGuard, conditions: MutableMapping[LockGuard, Any], always: object
) -> None:
    """One test of the suite passes, and without the guard it fails."""
    test = getattr(suite, NOTICED_BY[guard])
    test(locks)
    with off(guard, conditions, always), pytest.raises(AssertionError):
        test(locks)


@contextmanager
def off(guard: LockGuard, conditions: MutableMapping[LockGuard, Any], always: object) -> Iterator[None]:
    """Within the block, this guard lets everything pass."""
    condition = conditions[guard]
    conditions[guard] = always
    try:
        yield
    finally:
        conditions[guard] = condition


# --- in memory --------------------------------------------------------------------------------------------------------


class TestMemoryLocks(WithFakeClock):
    conditions = memory.CONDITIONS
    always = staticmethod(lambda *_: True)

    @pytest.fixture
    def locks(self) -> Locks:
        return MemoryLocks(self.clock, max_skew_ms=SKEW)

    def seen_by(self, locks: Locks, offset: int) -> Locks:
        assert isinstance(locks, MemoryLocks)
        return locks.seen_by(Off(self.clock, offset))


# --- DynamoDB ---------------------------------------------------------------------------------------------------------


class OnDynamoDb(WithFakeClock):
    """The suite over a table of an engine."""

    conditions = dynamodb.CONDITIONS
    always = ALWAYS

    def over(self, aws: Clients) -> Locks:
        create_table(aws.dynamodb, TABLE)
        self.aws = aws
        return DynamoDbLocks(aws.dynamodb, TABLE, self.clock, max_skew_ms=SKEW)

    def seen_by(self, locks: Locks, offset: int) -> Locks:
        return DynamoDbLocks(self.aws.dynamodb, TABLE, Off(self.clock, offset), max_skew_ms=SKEW)

    def test_an_item_is_never_deleted_and_has_no_time_to_live(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))
        assert self.item(lock.name) == {
            "PK": {"S": f"~lock#{lock.name}"},
            "SK": {"S": "~lock"},
            "owner": {"S": lock.owner},
            "fence": {"N": "1"},
            "until": {"N": str(lock.until)},
        }

        locks.release(lock)

        assert self.item(lock.name).keys() == {"PK", "SK", "fence"}

    def item(self, name: str) -> dict[str, Any]:
        key = {"PK": {"S": f"{PARTITION}{name}"}, "SK": {"S": SORT_KEY}}
        found: Any = self.aws.dynamodb.get_item(TableName=TABLE, Key=key)["Item"]
        return dict(found)

    def test_a_table_that_is_not_there_is_missing_and_the_message_says_what_to_check(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))
        nowhere = DynamoDbLocks(self.aws.dynamodb, "no-such-table", self.clock, max_skew_ms=SKEW)

        for call in calls_of(nowhere, lock):
            with pytest.raises(Missing, match=rf"lock {lock.name} in table 'no-such-table'.*Check TABLE_NAME"):
                call()


def calls_of(locks: Locks, lock: Any) -> list[Callable[[], object]]:
    """Every call there is."""
    return [
        lambda: locks.acquire(lock.name, lock.owner, LONG),
        lambda: locks.extend(lock, LONG),
        lambda: locks.release(lock),
        lambda: locks.held(lock.name),
    ]


@pytest.mark.moto
class TestDynamoDbLocksOnMoto(OnDynamoDb):
    @pytest.fixture
    def locks(self, moto: Clients) -> Locks:
        return self.over(moto)


@pytest.mark.dynamodb_local
class TestDynamoDbLocksOnDynamoDbLocal(OnDynamoDb):
    @pytest.fixture
    def locks(self, dynamodb_local: Clients) -> Locks:
        return self.over(dynamodb_local)

    def test_each_call_costs_a_unit_and_a_repeat_two(self, locks: Locks) -> None:
        client = Metered(self.aws.dynamodb)
        locks = DynamoDbLocks(cast("Any", client), TABLE, self.clock, max_skew_ms=SKEW)
        longest = "x" * 200
        name = fresh_token() + longest[24:]

        lock = taken(locks.acquire(name, longest, LONG))
        self.wait(1)
        extended = taken(locks.extend(lock, LONG))
        assert locks.held(name) == extended
        locks.release(extended)

        assert client.used == [("update_item", 1.0), ("update_item", 1.0), ("get_item", 1.0), ("update_item", 1.0)]


class Metered:
    """A client that notes which units its calls consumed."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.used: list[tuple[str, float]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            answer = getattr(self._client, operation)(**request, ReturnConsumedCapacity="TOTAL")
            self.used.append((operation, answer["ConsumedCapacity"]["CapacityUnits"]))
            return answer

        return call


@pytest.mark.parametrize("tenant", ["~lock", "~lock#a", "~"])
def test_no_tenants_partition_is_that_of_a_lock(tenant: str) -> None:
    assert PARTITION.startswith("~")
    with pytest.raises(InvalidInput):
        check_tenant(tenant)


# --- Redis ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clients(redis: RedisServer) -> Iterator[tuple[Client, Redis]]:
    """The client that locks get, and one that looks behind them."""
    with closing(connect(redis.url, cluster=redis.cluster)) as client, Redis.from_url(redis.url) as behind:
        yield client, behind
    tell("engines", engine=f"Redis {redis.version}{', a cluster' if redis.cluster else ''}: suite of locks")


@pytest.mark.redis
class TestRedisLocks(LocksContract):
    step: ClassVar[int] = 10

    @pytest.fixture
    def locks(self, clients: tuple[Client, Redis]) -> Locks:
        self.client = clients[0]
        self.redis: Any = clients[1]
        return RedisLocks(self.client, "onewrite")

    def now(self) -> int:
        seconds, micros = self.redis.time()
        return int(seconds * 1000 + micros // 1000)

    def wait(self, milliseconds: int) -> None:
        time.sleep(milliseconds / 1000)  # the server's clock is the machine's

    @pytest.mark.parametrize("guard", LockGuard)
    def test_it_is_noticed_if_a_condition_is_taken_away(self, locks: Locks, guard: LockGuard) -> None:
        noticed(self, locks, guard, over_redis.CONDITIONS, "true")

    def test_a_fencing_token_grows_even_if_the_server_loses_its_data(self, locks: Locks) -> None:
        name = fresh_token()
        first = taken(locks.acquire(name, fresh_token(), LONG))
        self.redis.delete(f"{{onewrite}}:lock:{name}")

        assert locks.extend(first, LONG) is None
        assert taken(locks.acquire(name, fresh_token(), LONG)).fence > first.fence

    def test_a_fencing_token_grows_even_if_the_servers_clock_goes_back(self, locks: Locks) -> None:
        name = fresh_token()
        first = taken(locks.acquire(name, fresh_token(), LONG))
        locks.release(first)
        ahead = first.fence + 3_600_000_000  # as if the clock had been ahead by an hour when it was given
        self.redis.hset(f"{{onewrite}}:lock:{name}", "fence", ahead)

        assert taken(locks.acquire(name, fresh_token(), LONG)).fence == ahead + 1

    def test_what_is_kept_of_a_lock_goes_a_day_after_its_end(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))
        key = f"{{onewrite}}:lock:{lock.name}"
        assert KEPT < self.redis.pttl(key) <= KEPT + LONG

        locks.release(lock)

        assert self.redis.hkeys(key) == [b"fence"]
        assert KEPT - 10_000 < self.redis.pttl(key) <= KEPT

    def test_a_server_that_has_forgotten_the_scripts_is_given_them_again(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))
        self.redis.script_flush()

        assert taken(locks.extend(lock, LONG)).fence == lock.fence

    def test_deployments_with_other_prefixes_have_other_locks(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))

        assert RedisLocks(self.client, "other").held(lock.name) is None

    def test_what_is_no_lock_is_an_error_of_the_call(self, locks: Locks) -> None:
        lock = taken(locks.acquire(fresh_token(), fresh_token(), LONG))
        self.redis.delete(f"{{onewrite}}:lock:{lock.name}")
        self.redis.set(f"{{onewrite}}:lock:{lock.name}", "something else")

        for call in calls_of(locks, lock):
            with pytest.raises(InfrastructureError, match=f"lock {{onewrite}}:lock:{lock.name}"):
                call()


def test_a_redis_that_cannot_be_reached_is_unavailable() -> None:
    with closing(connect("redis://127.0.0.1:1/0")) as client:
        locks = RedisLocks(client, "onewrite")

        with pytest.raises(Unavailable, match=r"reading lock \{onewrite\}:lock:a"):
            locks.held("a")

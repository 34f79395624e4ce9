"""What a store must be true to: conditions that hold under contention, consistent reads, two indexes."""

# ruff: noqa: S101, D102
# It is a suite: it asserts, and each test's name is its sentence.

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar, TypeVar

import pytest
from msgspec.structs import replace

from kernel.errors import Unavailable
from kernel.ports import (
    HEAD,
    SNAPSHOT,
    Commit,
    Due,
    Guard,
    Head,
    HeadUpdate,
    Inbox,
    Key,
    Refusal,
    RunRef,
    keys_of,
    log_key,
)
from kernel.testing.conformance.examples import (
    NOW,
    commit,
    data,
    dead,
    fresh_ref,
    fresh_token,
    head,
    held,
    inbox,
    live,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel.ports import Item, Put, Store

T = TypeVar("T")

UPDATE_GUARDS = tuple(
    guard
    for guard in Guard
    if guard
    not in {
        Guard.RUN_IS_NEW,
        Guard.COMMIT_IS_NEXT,
        Guard.SNAPSHOT_FORWARD,
        Guard.EVENT_IS_NEW,
        Guard.EVENT_IS_OPEN,
        Guard.KEY_AS_SEEN,
    }
)


class StoreContract:
    """The suite for ``kernel.ports.Store``. A subclass gives the fixture ``store``.

    Attributes:
        patience: seconds that the indexes may take to follow a write.
    """

    patience: ClassVar[float] = 5.0

    @pytest.fixture
    def store(self) -> Store:
        """The store under test."""
        raise NotImplementedError

    def settled(self, read: Callable[[], object], wanted: object) -> None:
        """Assert that an index comes to say what is wanted."""
        end = time.monotonic() + self.patience
        while (found := read()) != wanted and time.monotonic() < end:
            time.sleep(0.05)
        assert found == wanted

    # --- items ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "item",
        [
            pytest.param(head(RunRef("acme", "r")), id="head"),
            pytest.param(head(RunRef("acme", "r"), due=None, status="completed"), id="head-not-due"),
            pytest.param(commit(1), id="commit"),
            pytest.param(commit(9_999_999_999), id="last-commit"),
            pytest.param(commit(2, by="api:Zoë 🌟", events='["é\\u0000 🌟"]'.encode()), id="commit-unicode"),
            pytest.param(snapshot(17, fold=2, body=bytes(range(256)) * 8), id="snapshot"),
            pytest.param(data(), id="data"),
            pytest.param(data(body="{'π': '\0'}".encode()), id="data-unicode"),
            pytest.param(live(3), id="live"),
            pytest.param(live(3, progress=0.0), id="live-progress-none-yet"),
            pytest.param(live(3, progress=1 / 3), id="live-progress"),
            pytest.param(live(3, progress=1e-9), id="live-progress-tiny"),
            pytest.param(dead(4, index=11), id="dead"),
            pytest.param(inbox(), id="event"),
            pytest.param(inbox("a.b:c_d-1", due=None, seq=7, body=b""), id="event-applied"),
            pytest.param(inbox(due=None, refused="zu spät"), id="event-refused"),
            pytest.param(held("order-1:a@b.c_d", "r#0"), id="key"),
            pytest.param(held("k", "", was="r#3"), id="key-freed"),
            pytest.param(head(RunRef("acme", "r"), business_key="order-1"), id="head-with-key"),
        ],
    )
    def test_an_item_is_read_as_it_was_written(self, store: Store, item: Item) -> None:
        ref = fresh_ref()

        assert store.put(ref, item) is None

        assert store.get(ref, item.key) == item
        assert list(store.range(ref, item.key, item.key, limit=10)) == [item]

    def test_what_was_never_written_is_none(self, store: Store) -> None:
        ref = fresh_ref()

        assert store.get(ref, HEAD) is None
        assert list(store.range(ref, "", "~~~", limit=10)) == []

    def test_a_put_without_guard_replaces_the_whole_item(self, store: Store) -> None:
        ref = fresh_ref()
        store.put(ref, live(3, until=NOW, progress=0.5))

        assert store.put(ref, live(3, until=NOW + 1, progress=None)) is None

        assert store.get(ref, live(3).key) == live(3, until=NOW + 1, progress=None)

    def test_big_items_are_kept_whole(self, store: Store) -> None:
        ref = fresh_ref()
        item = data(body=bytes(range(256)) * 1200)  # 300 KB: past it, values go to the blob store

        store.put(ref, item)

        assert store.get(ref, item.key) == item

    def test_a_deleted_item_is_gone_and_its_neighbours_stay(self, store: Store) -> None:
        ref = fresh_ref()
        kept, gone = dead(1, index=0), dead(1, index=1)
        store.put(ref, kept)
        store.put(ref, gone)

        store.delete(ref, gone.key)

        assert store.get(ref, gone.key) is None
        assert store.get(ref, kept.key) == kept

    def test_deleting_what_is_not_there_is_no_error(self, store: Store) -> None:
        ref = fresh_ref()

        store.delete(ref, HEAD)

        assert store.get(ref, HEAD) is None

    def test_tenants_are_apart_even_with_the_same_run_id(self, store: Store) -> None:
        ours = fresh_ref("acme")
        theirs = RunRef("globex", ours.run)
        mine, yours = head(ours), head(theirs, workflow="other")

        assert store.put(ours, mine, Guard.RUN_IS_NEW) is None
        assert store.put(theirs, yours, Guard.RUN_IS_NEW) is None
        store.put(theirs, commit(1))
        store.delete(theirs, HEAD)

        assert store.get(ours, HEAD) == mine
        assert store.get(theirs, HEAD) is None
        assert list(store.range(ours, "", "~~~", limit=10)) == [mine]

    # --- guards of puts -------------------------------------------------------------------------------------

    def test_guard_run_is_new_refuses_a_second_head_and_shows_the_first(self, store: Store) -> None:
        ref = fresh_ref()
        first, second = head(ref), head(ref, workflow="other")
        assert store.put(ref, first, Guard.RUN_IS_NEW) is None

        refusal = store.put(ref, second, Guard.RUN_IS_NEW)

        assert refusal == Refusal(first)
        assert store.get(ref, HEAD) == first

    def test_guard_commit_is_next_refuses_a_taken_number_and_shows_whose_it_is(self, store: Store) -> None:
        ref = fresh_ref()
        first, second = commit(1), commit(1, by="zombie")
        assert store.put(ref, first, Guard.COMMIT_IS_NEXT) is None

        refusal = store.put(ref, second, Guard.COMMIT_IS_NEXT)

        assert refusal == Refusal(first)
        assert store.get(ref, log_key(1)) == first

    def test_guard_commit_is_next_shows_a_writer_whose_reply_was_lost_its_own_commit(self, store: Store) -> None:
        ref = fresh_ref()
        item = commit(1)
        store.put(ref, item, Guard.COMMIT_IS_NEXT)

        assert store.put(ref, item, Guard.COMMIT_IS_NEXT) == Refusal(item)

    def test_guard_commit_is_next_lets_one_of_many_contenders_win_each_number(self, store: Store) -> None:
        ref = fresh_ref()
        contenders, numbers = 8, range(1, 13)

        def contend(name: int, start: threading.Barrier) -> list[Refusal | None]:
            answers = []
            for seq in numbers:
                start.wait(timeout=60)
                answers.append(store.put(ref, commit(seq, by=f"worker-{name}"), Guard.COMMIT_IS_NEXT))
            return answers

        answers = _at_once(contenders, contend)

        for place, seq in enumerate(numbers):
            winners = [name for name in range(contenders) if answers[name][place] is None]
            assert len(winners) == 1, f"commit {seq} was won {len(winners)} times"
            there = store.get(ref, log_key(seq))
            assert there == commit(seq, by=f"worker-{winners[0]}", token=getattr(there, "token", ""))
            assert {answers[name][place] for name in range(contenders)} == {None, Refusal(there)}

    def test_guard_event_is_new_refuses_a_second_event_of_an_id_and_shows_the_first(self, store: Store) -> None:
        ref = fresh_ref()
        first, second = inbox(), inbox(body=b"{}")
        assert store.put(ref, first, Guard.EVENT_IS_NEW) is None

        assert store.put(ref, second, Guard.EVENT_IS_NEW) == Refusal(first)
        assert store.put(ref, inbox("e-2", due_shard=first.due_shard), Guard.EVENT_IS_NEW) is None

    def test_guard_event_is_open_settles_an_event_once(self, store: Store) -> None:
        ref = fresh_ref()
        accepted = inbox()
        applied, refused = replace(accepted, due=None, seq=3), replace(accepted, due=None, refused="too late")
        assert store.put(ref, applied, Guard.EVENT_IS_OPEN) == Refusal(None), "there is no event to settle"
        store.put(ref, accepted, Guard.EVENT_IS_NEW)

        assert store.put(ref, applied, Guard.EVENT_IS_OPEN) is None
        assert store.put(ref, refused, Guard.EVENT_IS_OPEN) == Refusal(applied)

    def test_guard_key_as_seen_lets_one_take_a_key_that_nobody_holds(self, store: Store) -> None:
        keys = keys_of(fresh_token())
        mine, other = held("k", "mine#0"), held("k", "other#0")
        assert store.put(keys, mine, Guard.KEY_AS_SEEN) is None

        assert store.put(keys, other, Guard.KEY_AS_SEEN) == Refusal(mine)
        assert store.put(keys, held("k-2", "other#0"), Guard.KEY_AS_SEEN) is None
        assert store.put(keys_of(fresh_token()), other, Guard.KEY_AS_SEEN) is None

    def test_guard_key_as_seen_lets_a_key_go_over_from_who_was_seen_to_hold_it(self, store: Store) -> None:
        keys = keys_of(fresh_token())
        store.put(keys, held("k", "first#0"), Guard.KEY_AS_SEEN)
        over = held("k", "second#0", was="first#0")

        assert store.put(keys, over, Guard.KEY_AS_SEEN) is None
        assert store.put(keys, held("k", "third#0", was="first#0"), Guard.KEY_AS_SEEN) == Refusal(over)
        assert store.put(keys, held("k", "", was="first#0"), Guard.KEY_AS_SEEN) == Refusal(over), "it frees another's"

    def test_guard_key_as_seen_takes_a_key_that_was_freed_for_one_that_nobody_holds(self, store: Store) -> None:
        keys = keys_of(fresh_token())
        store.put(keys, held("k", "first#0"), Guard.KEY_AS_SEEN)
        free = held("k", "", was="first#0")
        assert store.put(keys, free, Guard.KEY_AS_SEEN) is None

        late = held("k", "late#0", was="first#0")
        assert store.put(keys, late, Guard.KEY_AS_SEEN) == Refusal(free), "it is not as it was seen"
        assert store.put(keys, held("k", "second#0"), Guard.KEY_AS_SEEN) is None

    def test_guard_key_as_seen_takes_a_key_that_has_vanished_for_one_that_nobody_holds(self, store: Store) -> None:
        assert store.put(keys_of(fresh_token()), held("k", "mine#1", was="gone#0"), Guard.KEY_AS_SEEN) is None

    # --- transactions -------------------------------------------------------------------------------------

    def test_a_transaction_writes_all_of_it_if_all_guards_hold(self, store: Store) -> None:
        ref = fresh_ref()
        accepted = inbox()
        settled, record = replace(accepted, due=None, seq=1), commit(1)
        store.put(ref, accepted, Guard.EVENT_IS_NEW)

        assert store.put_all([(ref, record, Guard.COMMIT_IS_NEXT), (ref, settled, Guard.EVENT_IS_OPEN)]) is None

        assert store.get(ref, record.key) == record
        assert store.get(ref, settled.key) == settled
        self.settled(lambda: list(store.due(accepted.due_shard, NOW + 10**9, 10)), [])

    def test_a_transaction_of_which_one_guard_says_no_writes_nothing_and_shows_what_it_met(self, store: Store) -> None:
        ref = fresh_ref()
        accepted, other = inbox(), commit(1, by="somebody else")
        settled, record = replace(accepted, due=None, seq=1), commit(1)
        store.put(ref, accepted, Guard.EVENT_IS_NEW)
        store.put(ref, other, Guard.COMMIT_IS_NEXT)

        refused = store.put_all([(ref, record, Guard.COMMIT_IS_NEXT), (ref, settled, Guard.EVENT_IS_OPEN)])

        assert refused is not None
        assert list(refused) == [Refusal(other), None]
        assert store.get(ref, settled.key) == accepted

    def test_a_transaction_whose_reply_was_lost_meets_what_it_has_written(self, store: Store) -> None:
        ref = fresh_ref()
        accepted = inbox()
        settled, record = replace(accepted, due=None, seq=1), commit(1)
        store.put(ref, accepted, Guard.EVENT_IS_NEW)
        puts: list[Put] = [(ref, record, Guard.COMMIT_IS_NEXT), (ref, settled, Guard.EVENT_IS_OPEN)]
        assert store.put_all(puts) is None

        refused = store.put_all(puts)

        assert refused is not None
        assert list(refused) == [Refusal(record), Refusal(settled)]

    def test_a_transaction_writes_to_several_partitions_or_to_none(self, store: Store) -> None:
        one, two, keys = fresh_ref(), fresh_ref(), keys_of(fresh_token())
        first, second = head(one, business_key="k"), head(two, business_key="k")

        mine = held("k", f"{one.run}#0")
        assert store.put_all([(one, first, Guard.RUN_IS_NEW), (keys, mine, Guard.KEY_AS_SEEN)]) is None
        yours = held("k", f"{two.run}#0")
        refused = store.put_all([(two, second, Guard.RUN_IS_NEW), (keys, yours, Guard.KEY_AS_SEEN)])

        assert refused is not None
        assert list(refused) == [None, Refusal(mine)]
        assert (store.get(one, HEAD), store.get(two, HEAD)) == (first, None)
        self.settled(lambda: list(store.due(first.due_shard, NOW * 2, 10)), [Due(one, NOW + 120_000)])
        self.settled(lambda: [entry.ref for entry in store.runs(first.listing, "", "~", 10)], [one])

    def test_of_many_runs_that_want_one_key_one_is_created(self, store: Store) -> None:
        keys = keys_of(fresh_token())
        refs = [fresh_ref() for _ in range(8)]

        def contend(name: int, start: threading.Barrier) -> Key | None:
            """Create a run with the key; gives who holds it, if that is another one."""
            ref = refs[name]
            key = held("k", f"{ref.run}#0")
            puts: list[Put] = [
                (ref, head(ref, business_key="k"), Guard.RUN_IS_NEW),
                (keys, key, Guard.KEY_AS_SEEN),
            ]
            start.wait(timeout=60)
            while True:
                try:
                    refused = store.put_all(puts)
                except Unavailable:  # transactions that meet are cancelled, and may be tried again
                    continue
                if refused is None or refused[0] is not None:  # the latter: an earlier try that was cut off
                    return None
                assert refused[1] is not None
                assert isinstance(refused[1].existing, Key)
                return refused[1].existing

        answers = _at_once(len(refs), contend)

        (winner,) = [ref for ref, answer in zip(refs, answers, strict=True) if answer is None]
        assert [answer.holder for answer in answers if answer is not None] == [f"{winner.run}#0"] * 7
        assert [ref for ref in refs if store.get(ref, HEAD) is not None] == [winner]

    def test_of_many_transactions_for_one_event_one_applies_it(self, store: Store) -> None:
        ref = fresh_ref()
        contenders = 8
        accepted = inbox()
        store.put(ref, accepted, Guard.EVENT_IS_NEW)

        def contend(name: int, start: threading.Barrier) -> bool:
            """Apply it at whatever number is free, until it is applied, by us or by somebody else."""
            start.wait(timeout=60)
            for seq in range(1, contenders + 1):
                record = commit(seq, by=f"worker-{name}")
                puts: list[Put] = [
                    (ref, record, Guard.COMMIT_IS_NEXT),
                    (ref, replace(accepted, due=None, seq=seq), Guard.EVENT_IS_OPEN),
                ]
                while True:
                    try:
                        refused = store.put_all(puts)
                        break
                    except Unavailable:  # transactions that meet are cancelled, and may be tried again
                        continue
                if refused is None:
                    return True
                if refused[1] is not None:
                    return False
            return False

        applied = _at_once(contenders, contend)

        assert applied.count(True) == 1
        settled = store.get(ref, accepted.key)
        assert isinstance(settled, Inbox)
        assert isinstance(store.get(ref, log_key(settled.seq)), Commit)
        assert store.get(ref, log_key(settled.seq + 1)) is None

    def test_guard_snapshot_forward_takes_the_first_and_every_newer_one(self, store: Store) -> None:
        ref = fresh_ref()

        for newer in (snapshot(16), snapshot(32), snapshot(32, fold=2), snapshot(33, fold=1)):
            assert store.put(ref, newer, Guard.SNAPSHOT_FORWARD) is None
            assert store.get(ref, SNAPSHOT) == newer

    @pytest.mark.parametrize(
        "older",
        [
            pytest.param(snapshot(31, fold=2), id="lower-number"),
            pytest.param(snapshot(31, fold=3), id="lower-number-newer-fold"),
            pytest.param(snapshot(32, fold=1), id="same-number-older-fold"),
            pytest.param(snapshot(32, fold=2, body=b"other"), id="same-number-same-fold"),
        ],
    )
    def test_guard_snapshot_forward_refuses_to_go_backwards(self, store: Store, older: Item) -> None:
        ref = fresh_ref()
        store.put(ref, snapshot(32, fold=2), Guard.SNAPSHOT_FORWARD)

        assert store.put(ref, older, Guard.SNAPSHOT_FORWARD) == Refusal(snapshot(32, fold=2))
        assert store.get(ref, SNAPSHOT) == snapshot(32, fold=2)

    # --- guards of head updates -----------------------------------------------------------------------------

    @pytest.mark.parametrize("guard", UPDATE_GUARDS)
    def test_guard_of_an_update_never_holds_on_a_head_that_is_not_there(self, store: Store, guard: Guard) -> None:
        ref = fresh_ref()
        store.put(ref, commit(1))

        refusal = store.update(ref, _change(guard, head(ref)))

        assert refusal == Refusal(None)
        assert list(store.range(ref, "", "~~~", limit=10)) == [store.get(ref, log_key(1))]

    @pytest.mark.parametrize("guard", UPDATE_GUARDS)
    def test_an_update_whose_guard_holds_changes_what_it_names_and_nothing_else(
        self, store: Store, guard: Guard
    ) -> None:
        ref = fresh_ref()
        before = head(ref)
        store.put(ref, before)
        change = _change(guard, before)

        assert store.update(ref, change) is None

        assert store.get(ref, HEAD) == _applied(before, change)

    def test_an_update_can_change_everything_that_may_change_at_once(self, store: Store) -> None:
        ref = fresh_ref()
        before = head(ref)
        store.put(ref, before)
        change = HeadUpdate(
            guard=Guard.FINALISE_IS_LATEST,
            look=fresh_token(),
            due_seq=7,
            status="completed",
            listing_order=f"completed#{NOW:013d}#{ref.run}",
            published=7,
            publish_failures=2,
            clear_due=True,
        )

        assert store.update(ref, change) is None

        assert store.get(ref, HEAD) == replace(
            before,
            look=change.look,
            due=None,
            due_seq=7,
            status="completed",
            listing_order=change.listing_order,
            published=7,
            publish_failures=2,
        )

    def test_a_refused_update_changes_nothing_and_shows_the_head_with_the_token_of_its_last_update(
        self, store: Store
    ) -> None:
        ref = fresh_ref()
        before = head(ref)
        store.put(ref, before)
        change = _change(Guard.WAKE_IS_NEWER, before, due_seq=5)
        store.update(ref, change)

        again = store.update(ref, change)  # its reply was lost, so it is repeated

        assert isinstance(again, Refusal)
        assert isinstance(again.existing, Head)
        assert again.existing.look == change.look
        assert store.get(ref, HEAD) == again.existing

    def test_guard_due_as_seen_lets_one_of_two_ticks_claim_a_run(self, store: Store) -> None:
        ref = fresh_ref()
        store.put(ref, head(ref, due=NOW))
        claim = HeadUpdate(guard=Guard.DUE_AS_SEEN, look=fresh_token(), due=NOW + 1, seen_due=NOW)
        late = HeadUpdate(guard=Guard.DUE_AS_SEEN, look=fresh_token(), due=NOW + 2, seen_due=NOW)

        assert store.update(ref, claim) is None
        refusal = store.update(ref, late)

        assert refusal == Refusal(head_of(store, ref))
        assert head_of(store, ref).due == NOW + 1

    def test_guard_due_as_seen_refuses_a_stale_index_entry_of_a_run_that_is_due_no_more(self, store: Store) -> None:
        ref = fresh_ref()
        store.put(ref, head(ref, due=None))

        refusal = store.update(ref, HeadUpdate(guard=Guard.DUE_AS_SEEN, look=fresh_token(), due=NOW + 1, seen_due=NOW))

        assert isinstance(refusal, Refusal)
        assert head_of(store, ref).due is None

    @pytest.mark.parametrize(
        ("due", "due_seq"),
        [
            pytest.param(NOW + 1, 4, id="due-was-moved"),
            pytest.param(NOW, 6, id="somebody-spoke-of-a-later-commit"),
            pytest.param(None, 4, id="due-was-cleared"),
        ],
    )
    def test_guard_sleep_is_latest_refuses_a_late_sleeper(self, store: Store, due: int | None, due_seq: int) -> None:
        ref = fresh_ref()
        before = head(ref, due=due, due_seq=due_seq)
        store.put(ref, before)

        refusal = store.update(ref, _sleep(seen_due=NOW, due_seq=5))

        assert refusal == Refusal(before)
        assert head_of(store, ref) == before

    @pytest.mark.parametrize("due_seq", [0, 4, 5])
    def test_guard_sleep_is_latest_lets_the_latest_sleeper_move_due_far_ahead(self, store: Store, due_seq: int) -> None:
        ref = fresh_ref()
        store.put(ref, head(ref, due=NOW, due_seq=due_seq))

        assert store.update(ref, _sleep(seen_due=NOW, due_seq=5)) is None

        assert (head_of(store, ref).due, head_of(store, ref).due_seq) == (NOW + 86_400_000, 5)

    @pytest.mark.parametrize("due_seq", [5, 6])
    def test_guard_wake_is_newer_refuses_a_waker_who_is_not_the_first(self, store: Store, due_seq: int) -> None:
        ref = fresh_ref()
        before = head(ref, due_seq=due_seq)
        store.put(ref, before)

        refusal = store.update(ref, HeadUpdate(guard=Guard.WAKE_IS_NEWER, look=fresh_token(), due=NOW, due_seq=5))

        assert refusal == Refusal(before)
        assert head_of(store, ref) == before

    def test_guard_wake_is_newer_brings_a_finished_run_back_into_the_due_index(self, store: Store) -> None:
        ref = fresh_ref()
        before = head(ref, due=None, due_seq=4, status="failed")
        store.put(ref, before)

        woken = store.update(
            ref,
            HeadUpdate(guard=Guard.WAKE_IS_NEWER, look=fresh_token(), due=NOW, due_seq=5, status="open"),
        )

        assert woken is None
        self.settled(lambda: list(store.due(before.due_shard, NOW, 10)), [Due(ref, NOW)])
        assert head_of(store, ref).status == "open"

    def test_guard_finalise_is_latest_refuses_a_late_finaliser(self, store: Store) -> None:
        ref = fresh_ref()
        reopened = head(ref, due_seq=6)
        store.put(ref, reopened)

        refusal = store.update(ref, _finalise(due_seq=5))

        assert refusal == Refusal(reopened)
        assert head_of(store, ref) == reopened

    @pytest.mark.parametrize("due_seq", [0, 5])
    def test_guard_finalise_is_latest_takes_a_finished_run_out_of_the_due_index(
        self, store: Store, due_seq: int
    ) -> None:
        ref = fresh_ref()
        before = head(ref, due=NOW, due_seq=due_seq)
        store.put(ref, before)

        assert store.update(ref, _finalise(due_seq=5)) is None

        assert (head_of(store, ref).due, head_of(store, ref).status) == (None, "completed")
        self.settled(lambda: list(store.due(before.due_shard, NOW * 2, 10)), [])

    @pytest.mark.parametrize(
        ("published", "failures"),
        [
            pytest.param(4, 0, id="somebody-published-more"),
            pytest.param(3, 1, id="somebody-counted-a-failure"),
            pytest.param(2, 0, id="the-cursor-is-behind"),
        ],
    )
    def test_guard_cursor_as_seen_refuses_a_second_flusher(self, store: Store, published: int, failures: int) -> None:
        ref = fresh_ref()
        before = head(ref, published=published, publish_failures=failures)
        store.put(ref, before)

        refusal = store.update(ref, _flush(seen=3, seen_failures=0, published=5))

        assert refusal == Refusal(before)
        assert head_of(store, ref) == before

    def test_guard_cursor_as_seen_lets_one_of_many_flushers_move_the_cursor(self, store: Store) -> None:
        ref = fresh_ref()
        store.put(ref, head(ref))
        flushers, rounds = 8, range(-1, 5)

        def flush(_name: int, start: threading.Barrier) -> list[bool]:
            moved = []
            for seen in rounds:
                start.wait(timeout=60)
                moved.append(store.update(ref, _flush(seen, 0, seen + 1)) is None)
            return moved

        answers = _at_once(flushers, flush)

        assert [sum(column) for column in zip(*answers, strict=True)] == [1] * len(rounds)
        assert head_of(store, ref).published == rounds.stop

    @pytest.mark.parametrize("status", ["completed", "parked"])
    def test_guard_status_as_seen_refuses_to_park_what_is_not_as_it_was(self, store: Store, status: str) -> None:
        ref = fresh_ref()
        before = head(ref, status=status)
        store.put(ref, before)
        park = _park(before.due_seq)

        assert store.update(ref, park) == Refusal(before)
        assert head_of(store, ref) == before

    def test_guard_status_as_seen_refuses_who_knows_nothing_of_a_later_commit(self, store: Store) -> None:
        ref = fresh_ref()
        store.put(ref, head(ref))
        store.update(ref, HeadUpdate(guard=Guard.WAKE_IS_NEWER, look=fresh_token(), due=NOW, due_seq=7))
        woken = head_of(store, ref)

        assert store.update(ref, _park(6)) == Refusal(woken)
        assert store.update(ref, _park(7)) is None
        assert head_of(store, ref).status == "parked"

    # --- ranges ---------------------------------------------------------------------------------------------

    def test_a_range_is_in_order_of_key_across_all_kinds_of_items(self, store: Store) -> None:
        ref = fresh_ref()
        ordered = _one_of_each(ref)
        for item in (*ordered[3:], *ordered[:3]):
            store.put(ref, item)

        assert list(store.range(ref, "", "~~~", limit=100)) == ordered
        assert list(store.range(ref, "", "~~~", limit=100, descending=True)) == ordered[::-1]

    def test_a_range_includes_both_of_its_bounds(self, store: Store) -> None:
        ref = fresh_ref()
        commits = [commit(seq) for seq in range(1, 13)]
        for item in commits:
            store.put(ref, item)

        assert list(store.range(ref, log_key(3), log_key(10), limit=100)) == commits[2:10]
        assert list(store.range(ref, log_key(12), log_key(9_999_999_999), limit=100)) == commits[11:]
        assert list(store.range(ref, log_key(7), log_key(7), limit=100)) == [commits[6]]
        assert list(store.range(ref, log_key(13), log_key(20), limit=100)) == []
        assert list(store.range(ref, log_key(5), log_key(4), limit=100)) == []

    def test_a_range_gives_the_first_of_its_end_up_to_the_limit(self, store: Store) -> None:
        ref = fresh_ref()
        commits = [commit(seq) for seq in range(1, 8)]
        for item in commits:
            store.put(ref, item)

        assert list(store.range(ref, "log#", "log#~", limit=3)) == commits[:3]
        assert list(store.range(ref, "log#", "log#~", limit=3, descending=True)) == commits[:3:-1]
        assert list(store.range(ref, "log#", "log#~", limit=7)) == commits

    def test_a_range_is_whole_however_big_its_items_are(self, store: Store) -> None:
        ref = fresh_ref()
        values = [data(key=f"data#{i:010d}#x", body=bytes([i]) * 290_000) for i in range(9)]  # 2.6 MB
        for item in values:
            store.put(ref, item)

        assert list(store.range(ref, "data#", "data#~", limit=100)) == values
        assert list(store.range(ref, "data#", "data#~", limit=8, descending=True)) == values[:0:-1]

    def test_a_range_knows_no_other_run_whose_id_begins_alike(self, store: Store) -> None:
        ref = fresh_ref()
        longer = RunRef(ref.tenant, ref.run + "0")
        mine, other = commit(1), commit(1)
        store.put(ref, mine)
        store.put(longer, other)

        assert list(store.range(ref, "", "~~~", limit=10)) == [mine]
        assert list(store.range(longer, "", "~~~", limit=10)) == [other]

    def test_a_range_sees_every_write_that_was_answered(self, store: Store) -> None:
        ref = fresh_ref()
        written = []

        for seq in range(1, 21):
            written.append(commit(seq))
            store.put(ref, written[-1], Guard.COMMIT_IS_NEXT)

            assert list(store.range(ref, "log#", "log#~", limit=100)) == written

    # --- the due index --------------------------------------------------------------------------------------

    def test_the_due_index_gives_the_runs_of_its_shard_that_are_due_earliest_first(self, store: Store) -> None:
        shard = f"due#{fresh_token()}"
        runs = [fresh_ref("acme"), fresh_ref("globex"), fresh_ref("acme"), fresh_ref("acme")]
        for ref, due in zip(runs, (NOW + 30, NOW + 10, NOW + 20, NOW + 40), strict=True):
            store.put(ref, head(ref, due_shard=shard, due=due))
        elsewhere = fresh_ref()
        store.put(elsewhere, head(elsewhere, due_shard=f"{shard}x", due=NOW))
        in_order = [Due(runs[1], NOW + 10), Due(runs[2], NOW + 20), Due(runs[0], NOW + 30)]

        self.settled(lambda: list(store.due(shard, NOW + 30, 10)), in_order)
        self.settled(lambda: list(store.due(shard, NOW + 29, 10)), in_order[:2])
        self.settled(lambda: list(store.due(shard, NOW + 99, 2)), in_order[:2])
        self.settled(lambda: list(store.due(shard, NOW + 9, 10)), [])

    def test_the_due_index_holds_only_runs_that_are_to_be_looked_at(self, store: Store) -> None:
        shard = f"due#{fresh_token()}"
        never, once, deleted = fresh_ref(), fresh_ref(), fresh_ref()
        store.put(never, head(never, due_shard=shard, due=None))
        store.put(once, head(once, due_shard=shard, due=NOW))
        store.put(deleted, head(deleted, due_shard=shard, due=NOW))
        store.put(once, commit(1))
        self.settled(lambda: len(store.due(shard, NOW, 10)), 2)

        store.delete(deleted, HEAD)
        store.update(once, _finalise(due_seq=1))

        self.settled(lambda: list(store.due(shard, NOW * 2, 10)), [])

    def test_the_due_index_holds_events_that_are_not_settled_beside_their_run(self, store: Store) -> None:
        ref, shard = fresh_ref(), f"due#{fresh_token()}"
        store.put(ref, head(ref, due_shard=shard, due=NOW), Guard.RUN_IS_NEW)
        event = inbox(due_shard=shard, due=NOW + 1)
        store.put(ref, event, Guard.EVENT_IS_NEW)
        self.settled(lambda: list(store.due(shard, NOW + 1, 10)), [Due(ref, NOW), Due(ref, NOW + 1, event.key)])

        store.put(ref, replace(event, due=None, seq=1), Guard.EVENT_IS_OPEN)

        self.settled(lambda: list(store.due(shard, NOW + 1, 10)), [Due(ref, NOW)])

    def test_the_due_index_follows_a_due_that_moves(self, store: Store) -> None:
        ref = fresh_ref()
        before = head(ref, due=NOW)
        store.put(ref, before)

        store.update(ref, _sleep(seen_due=NOW, due_seq=1))

        self.settled(lambda: list(store.due(before.due_shard, NOW + 1000, 10)), [])
        self.settled(lambda: list(store.due(before.due_shard, NOW * 2, 10)), [Due(ref, NOW + 86_400_000)])

    # --- the runs index -------------------------------------------------------------------------------------

    def test_the_runs_index_gives_the_latest_first_between_its_bounds(self, store: Store) -> None:
        listing = f"acme#order#{fresh_token()}"
        runs = [fresh_ref() for _ in range(5)]
        orders = [f"open#{NOW + i:013d}#{ref.run}" for i, ref in enumerate(runs)]
        for ref, order in zip(runs, orders, strict=True):
            store.put(ref, head(ref, listing=listing, listing_order=order))
        stranger = fresh_ref()
        store.put(stranger, head(stranger, listing=f"{listing}x", listing_order=orders[0]))

        def listed(low: str, high: str, limit: int) -> list[str]:
            return [entry.order for entry in store.runs(listing, low, high, limit)]

        self.settled(lambda: listed("open#", "open#~", 10), orders[::-1])
        self.settled(lambda: listed("", "~", 10), orders[::-1])
        self.settled(lambda: listed("open#", "open#~", 2), orders[:2:-1])
        # The lower bound belongs to it, the upper one does not: it is where the page before ended.
        self.settled(lambda: listed(orders[1], orders[3], 10), [orders[2], orders[1]])
        self.settled(lambda: listed("", orders[3], 2), [orders[2], orders[1]])
        self.settled(lambda: listed(orders[0], orders[3], 2), [orders[2], orders[1]])
        self.settled(lambda: listed("open#", orders[0], 10), [])
        self.settled(lambda: listed(orders[2], orders[2], 10), [])
        self.settled(lambda: listed("completed#", "completed#~", 10), [])

    def test_the_runs_index_tells_what_a_list_shows(self, store: Store) -> None:
        ref = fresh_ref()
        written = head(ref, workflow="onboarding", version=12, status="open", created=NOW - 5)
        store.put(ref, written)

        def entries() -> list[tuple[RunRef, str, int, str, int, str]]:
            return [
                (entry.ref, entry.workflow, entry.version, entry.status, entry.created, entry.order)
                for entry in store.runs(written.listing, "", "~", 10)
            ]

        self.settled(entries, [(ref, "onboarding", 12, "open", NOW - 5, written.listing_order)])

    def test_the_runs_index_follows_a_status_that_changes(self, store: Store) -> None:
        ref = fresh_ref()
        before = head(ref)
        store.put(ref, before)
        order = f"completed#{NOW:013d}#{ref.run}"

        store.update(ref, replace(_finalise(due_seq=1), listing_order=order))

        def listed(low: str, high: str) -> list[tuple[str, str]]:
            return [(entry.status, entry.order) for entry in store.runs(before.listing, low, high, 10)]

        self.settled(lambda: listed("completed#", "completed#~"), [("completed", order)])
        self.settled(lambda: listed("open#", "open#~"), [])

        store.delete(ref, HEAD)

        self.settled(lambda: listed("", "~"), [])


def head_of(store: Store, ref: RunRef) -> Head:
    """The head of a run that has one."""
    found = store.get(ref, HEAD)
    assert isinstance(found, Head)
    return found


def _one_of_each(ref: RunRef) -> list[Item]:
    """Items of all kinds in order of key: from the end, snapshot, head and newest commits come first."""
    return [
        data(key="data#0000000000#aa"),
        data(key="data#0000000002#aa"),
        dead(1, index=0),
        dead(1, index=1),
        dead(10, index=0),
        live(2),
        live(10),
        commit(1),
        commit(2),
        commit(10),
        commit(100),
        head(ref),
        snapshot(16),
    ]


def _at_once(count: int, work: Callable[[int, threading.Barrier], T]) -> list[T]:
    """Run ``work`` in so many threads, each with its number and a barrier to start rounds together."""
    barrier = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda name: work(name, barrier), range(count)))


def _change(guard: Guard, seen: Head, due_seq: int = 1) -> HeadUpdate:
    """A change that holds on the head that was seen."""
    base = HeadUpdate(guard=guard, look=fresh_token())
    match guard:
        case Guard.DUE_AS_SEEN:
            return replace(base, due=NOW + 1, seen_due=seen.due)
        case Guard.SLEEP_IS_LATEST:
            return replace(base, due=NOW + 1, due_seq=due_seq, seen_due=seen.due)
        case Guard.WAKE_IS_NEWER:
            return replace(base, due=NOW + 1, due_seq=due_seq)
        case Guard.FINALISE_IS_LATEST:
            return replace(base, due_seq=due_seq, clear_due=True, status="failed")
        case Guard.CURSOR_AS_SEEN:
            return replace(
                base,
                published=seen.published + 1,
                publish_failures=0,
                seen_published=seen.published,
                seen_failures=seen.publish_failures,
            )
        case _:
            return replace(base, status="parked", seen_status=seen.status, due_seq=due_seq)


def _applied(head: Head, change: HeadUpdate) -> Head:
    """The head as the change leaves it, by the words of ``HeadUpdate``: what is None stays as it is."""
    named = ("due", "due_seq", "status", "listing_order", "published", "publish_failures")
    new = {name: getattr(change, name) for name in named if getattr(change, name) is not None}
    if change.clear_due:
        new["due"] = None
    return replace(head, look=change.look, **new)


def _sleep(seen_due: int, due_seq: int) -> HeadUpdate:
    return HeadUpdate(
        guard=Guard.SLEEP_IS_LATEST,
        look=fresh_token(),
        due=NOW + 86_400_000,
        due_seq=due_seq,
        seen_due=seen_due,
    )


def _finalise(due_seq: int) -> HeadUpdate:
    return HeadUpdate(
        guard=Guard.FINALISE_IS_LATEST,
        look=fresh_token(),
        due_seq=due_seq,
        status="completed",
        clear_due=True,
    )


def _park(due_seq: int) -> HeadUpdate:
    return HeadUpdate(
        guard=Guard.STATUS_AS_SEEN,
        look=fresh_token(),
        due_seq=due_seq,
        status="parked",
        seen_status="open",
    )


def _flush(seen: int, seen_failures: int, published: int) -> HeadUpdate:
    return HeadUpdate(
        guard=Guard.CURSOR_AS_SEEN,
        look=fresh_token(),
        published=published,
        publish_failures=0,
        seen_published=seen,
        seen_failures=seen_failures,
    )

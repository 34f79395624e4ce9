"""What a consumer must be true to: a message comes until it is acknowledged, to one at a time, and not for ever."""

# ruff: noqa: S101, D102, PLR2004
# It is a suite: it asserts, each test's name is its sentence, and expected values stand as literals in it.

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from kernel.delivery import Consumer, Delivery
from kernel.ports import HIGH, Poke, Queue
from kernel.testing.conformance.examples import NOW, fresh_ref

FOREIGN = '{"to": "somebody else"}'


class ConsumerContract:
    """The suite for ``kernel.delivery.Consumer``. A subclass gives the two fixtures and the methods below.

    Attributes:
        visibility: of the consumers, in seconds.
        deliveries: after so many a message becomes a dead letter.
        lag: seconds by which the transport may be late.
        forgives: it can tell what was released from what was not acknowledged.
        tells_age: it knows for how long messages have waited.
    """

    visibility = 2.0
    deliveries = 2
    lag = 0.5
    forgives = True
    tells_age = True

    @pytest.fixture
    def queue(self) -> Queue:
        """The sending end, of a transport that is empty."""
        raise NotImplementedError

    @pytest.fixture
    def consumers(self, queue: Queue) -> Callable[[], Consumer]:
        """Makes consumers of what ``queue`` sends, each as a worker of its own would have one."""
        raise NotImplementedError

    def put(self, queue: Queue, body: str) -> None:
        """Put a message with any body into the transport."""
        raise NotImplementedError

    def dead(self, queue: Queue) -> int:
        """How many dead letters there are whose body is ``FOREIGN``."""
        raise NotImplementedError

    def wait(self, queue: Queue, seconds: float) -> None:
        """Let this time pass for the transport."""
        raise NotImplementedError

    @pytest.fixture
    def consumer(self, consumers: Callable[[], Consumer]) -> Consumer:
        return consumers()

    @pytest.fixture
    def other(self, consumers: Callable[[], Consumer]) -> Consumer:
        return consumers()

    def one(self, consumer: Consumer) -> Delivery:
        """The message that is there, or comes within a second or so."""
        [delivery] = consumer.receive(1, 1 + 2 * self.lag)
        return delivery

    def pass_over(self, queue: Queue) -> None:
        """Let the visibility of what is in hand pass."""
        self.wait(queue, self.visibility + self.lag)

    # --- receiving --------------------------------------------------------------------------------

    def test_a_message_is_received_as_it_was_sent(self, queue: Queue, consumer: Consumer) -> None:
        ref = fresh_ref()
        pokes = [
            Poke(ref.tenant, ref.run),
            Poke(ref.tenant, ref.run, stage="größe 🌟", at=NOW),
            Poke(ref.tenant, ref.run, stage="z", event="e-1.a:b_c"),
            Poke(ref.tenant, ref.run, stage="urgent", priority=HIGH),
        ]
        queue.send([(poke, 0) for poke in pokes])

        received = take(consumer, len(pokes))

        assert sorted((each.poke for each in received if each.poke), key=str) == sorted(pokes, key=str)
        assert {each.problem for each in received} == {""}
        assert {each.count for each in received} <= {0, 1}

    def test_no_more_are_received_than_were_asked_for(self, queue: Queue, consumer: Consumer) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, f"s-{i}", priority=HIGH if i % 2 else ""), 0) for i in range(8)])

        sizes = []
        while received := consumer.receive(3, 0):
            sizes.append(len(received))

        assert sum(sizes) == 8
        assert max(sizes) <= 3

    def test_where_there_is_none_it_waits_as_long_as_it_was_told_and_not_longer(self, consumer: Consumer) -> None:
        started = time.monotonic()

        assert list(consumer.receive(1, 0)) == []
        assert list(consumer.receive(1, 1)) == []

        assert time.monotonic() - started < 2 + self.lag

    def test_waiting_ends_early_when_a_message_becomes_due(self, queue: Queue, consumer: Consumer) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, priority=HIGH), 1)])
        started = time.monotonic()

        [received] = consumer.receive(1, 15)

        assert received.poke == Poke(ref.tenant, ref.run, priority=HIGH)
        assert time.monotonic() - started < 8

    def test_a_message_that_is_no_poke_arrives_with_the_reason(self, queue: Queue, consumer: Consumer) -> None:
        self.put(queue, FOREIGN)

        received = self.one(consumer)

        assert received.poke is None
        assert received.problem.startswith("not a poke: ")

    # --- acknowledging, and not -------------------------------------------------------------------

    def test_a_message_in_hand_is_hidden_from_everybody(
        self, queue: Queue, consumer: Consumer, other: Consumer
    ) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run), 0)])
        self.one(consumer)

        assert list(other.receive(1, 0)) == []
        assert list(consumer.receive(1, 0)) == []

    def test_two_consumers_share_the_messages_and_never_hold_the_same(
        self, queue: Queue, consumer: Consumer, other: Consumer
    ) -> None:
        ref = fresh_ref()
        sent = {f"s-{i:02d}" for i in range(20)}
        queue.send([(Poke(ref.tenant, ref.run, stage), 0) for stage in sent])

        taken = []
        for _ in range(10):
            taken += [*consumer.receive(2, 0), *other.receive(2, 0)]

        stages = [each.poke.stage for each in taken if each.poke]
        assert sorted(stages) == sorted(sent)

    def test_what_is_not_acknowledged_comes_again_after_the_visibility_to_anybody(
        self, queue: Queue, consumer: Consumer, other: Consumer
    ) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run), 0)])
        first = self.one(consumer)

        self.pass_over(queue)
        again = self.one(other)

        assert again.poke == first.poke == Poke(ref.tenant, ref.run)
        assert (first.count, again.count) in {(1, 2), (0, 0)}

    def test_what_is_acknowledged_never_comes_again(self, queue: Queue, consumer: Consumer, other: Consumer) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, f"s-{i}", priority=HIGH if i % 2 else ""), 0) for i in range(12)])
        consumer.acknowledge(take(consumer, 12))

        self.pass_over(queue)

        assert list(other.receive(10, 0)) == []
        assert list(consumer.receive(10, 0)) == []

    def test_acknowledging_twice_or_nothing_is_no_error(self, queue: Queue, consumer: Consumer) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run), 0)])
        received = [self.one(consumer)]

        consumer.acknowledge(received)
        consumer.acknowledge(received)
        consumer.acknowledge([])
        consumer.release([])
        consumer.keep([])

    # --- giving back, and keeping -----------------------------------------------------------------

    def test_what_is_released_comes_again_at_once(self, queue: Queue, consumer: Consumer, other: Consumer) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, "größe 🌟", priority=HIGH), 0)])
        consumer.release([self.one(consumer)])

        assert self.one(other).poke == Poke(ref.tenant, ref.run, "größe 🌟", priority=HIGH)

    def test_what_is_released_for_later_comes_again_then_and_not_before(
        self, queue: Queue, consumer: Consumer, other: Consumer
    ) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, priority=HIGH), 0)])
        consumer.release([self.one(consumer)], 2)

        assert list(other.receive(1, 0)) == []
        self.wait(queue, 2 + self.lag)
        assert self.one(other).poke == Poke(ref.tenant, ref.run, priority=HIGH)

    def test_releasing_is_not_held_against_a_message_unless_the_transport_cannot_tell(
        self, queue: Queue, consumer: Consumer
    ) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run), 0)])

        for _ in range(self.deliveries):
            consumer.release([self.one(consumer)])

        assert [each.poke for each in consumer.receive(1, 1)] == [Poke(ref.tenant, ref.run)] * self.forgives

    def test_what_is_kept_stays_in_hand_for_the_visibility_once_more(
        self, queue: Queue, consumer: Consumer, other: Consumer
    ) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run), 0)])
        received = [self.one(consumer)]

        for _ in range(2):
            self.wait(queue, self.visibility * 0.6)
            consumer.keep(received)
        assert list(other.receive(1, 0)) == []
        self.pass_over(queue)
        assert self.one(other).count in {0, 2}  # keeping is no delivery

    # --- dead letters, priorities, the rest -------------------------------------------------------

    def test_what_is_delivered_too_often_becomes_a_dead_letter_and_does_not_come_again(
        self, queue: Queue, consumer: Consumer, other: Consumer
    ) -> None:
        self.put(queue, FOREIGN)
        for _ in range(self.deliveries):
            self.one(consumer)
            self.pass_over(queue)

        assert list(other.receive(1, 1)) == []
        assert other.backlog().dead == 1
        assert self.dead(queue) == 1

    def test_high_priority_comes_first_but_does_not_starve_the_rest(self, queue: Queue, consumer: Consumer) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, f"n-{i}"), 0) for i in range(3)])
        queue.send([(Poke(ref.tenant, ref.run, f"h-{i:02d}", priority=HIGH), 0) for i in range(20)])

        received = [each.poke for _ in range(8) for each in consumer.receive(1, 1) if each.poke]

        assert received[0].priority == HIGH
        assert 1 <= sum(poke.priority != HIGH for poke in received) <= 3

    def test_the_backlog_counts_what_waits_what_is_in_hand_and_what_is_delayed(
        self, queue: Queue, consumer: Consumer
    ) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, f"s-{i}", priority=HIGH if i % 2 else ""), 0) for i in range(5)])
        queue.send([(Poke(ref.tenant, ref.run, "later", priority=priority), 600) for priority in ("", HIGH)])
        take(consumer, 2)

        backlog = consumer.backlog()

        assert (backlog.waiting, backlog.in_hand, backlog.delayed, backlog.dead) == (3, 2, 2, 0)
        assert (backlog.oldest is not None and 0 <= backlog.oldest < 60) if self.tells_age else backlog.oldest is None

    def test_where_nothing_waits_nothing_has_waited_for_any_time(self, consumer: Consumer) -> None:
        assert consumer.backlog().oldest == (0 if self.tells_age else None)

    def test_who_has_closed_receives_nothing_and_others_get_all_that_was_not_handed_out(
        self, queue: Queue, consumer: Consumer, other: Consumer
    ) -> None:
        ref = fresh_ref()
        queue.send([(Poke(ref.tenant, ref.run, f"s-{i}", priority=HIGH if i % 2 else ""), 0) for i in range(6)])
        mine = consumer.receive(1, 1)

        consumer.close()
        consumer.close()

        assert list(consumer.receive(1, 5)) == []
        assert len(mine) + len(take(other, 5)) == 6


def take(consumer: Consumer, count: int) -> Sequence[Delivery]:
    """Receive so many messages, in a few calls."""
    received: list[Delivery] = []
    for _ in range(count + 2):
        if len(received) < count:
            received += consumer.receive(count - len(received), 1)
    assert len(received) == count
    return received

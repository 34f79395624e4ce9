"""What a queue must be true to: pokes arrive as they were sent, and not before their time."""

# ruff: noqa: S101, D102
# It is a suite: it asserts, and each test's name is its sentence.

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel.ports import HIGH, Poke
from kernel.testing.conformance.examples import NOW, fresh_ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel.ports import Queue


class QueueContract:
    """The suite for ``kernel.ports.Queue``. A subclass gives the three below."""

    @pytest.fixture
    def queue(self) -> Queue:
        """The queue under test, empty."""
        raise NotImplementedError

    def receive(self, queue: Queue) -> Sequence[Poke]:
        """Take all pokes that can be received now."""
        raise NotImplementedError

    def wait(self, queue: Queue, seconds: float) -> None:
        """Let this time pass for the queue."""
        raise NotImplementedError

    def test_a_poke_arrives_as_it_was_sent(self, queue: Queue) -> None:
        ref = fresh_ref()
        pokes = [
            Poke(ref.tenant, ref.run),
            Poke(ref.tenant, ref.run, stage="charge"),
            Poke(ref.tenant, ref.run, event="e-1.a:b_c"),
            Poke(ref.tenant, ref.run, stage="größe 🌟", at=NOW),
            Poke(ref.tenant, ref.run, stage="urgent", priority=HIGH),
        ]

        queue.send([(poke, 0) for poke in pokes])

        assert _sorted(self.receive(queue)) == _sorted(pokes)

    def test_any_number_of_pokes_may_be_sent_at_once(self, queue: Queue) -> None:
        ref = fresh_ref()
        pokes = [Poke(ref.tenant, ref.run, stage=f"stage-{i:02d}") for i in range(25)]

        queue.send([(poke, 0) for poke in pokes])

        assert _sorted(self.receive(queue)) == pokes

    def test_pokes_of_both_priorities_sent_at_once_all_arrive_each_with_its_own(self, queue: Queue) -> None:
        ref = fresh_ref()
        pokes = [Poke(ref.tenant, ref.run, f"s-{i:02d}", priority=HIGH if i % 2 else "") for i in range(25)]

        queue.send([(poke, 0) for poke in pokes])

        assert _sorted(self.receive(queue)) == pokes

    def test_a_delay_is_kept_whatever_the_priority(self, queue: Queue) -> None:
        ref = fresh_ref()
        now, later = Poke(ref.tenant, ref.run), Poke(ref.tenant, ref.run, priority=HIGH)

        queue.send([(later, 2), (now, 0)])

        assert list(self.receive(queue)) == [now]
        self.wait(queue, 2.5)
        assert list(self.receive(queue)) == [later]

    def test_sending_nothing_sends_nothing(self, queue: Queue) -> None:
        queue.send([])

        assert list(self.receive(queue)) == []

    def test_a_delayed_poke_arrives_after_its_delay_and_not_before(self, queue: Queue) -> None:
        ref = fresh_ref()
        now, later = Poke(ref.tenant, ref.run, stage="now"), Poke(ref.tenant, ref.run, stage="later")

        queue.send([(later, 2), (now, 0)])

        assert list(self.receive(queue)) == [now]
        self.wait(queue, 2.5)
        assert list(self.receive(queue)) == [later]

    def test_pokes_of_several_tenants_all_arrive(self, queue: Queue) -> None:
        pokes = [Poke(tenant, fresh_ref().run) for tenant in ("acme", "globex", "Å mit Leerzeichen", "x" * 200)]

        queue.send([(poke, 0) for poke in pokes])

        assert _sorted(self.receive(queue)) == _sorted(pokes)


def _sorted(pokes: Sequence[Poke]) -> list[Poke]:
    """A queue keeps no order."""
    return sorted(pokes, key=lambda poke: (poke.tenant, poke.run, poke.stage))

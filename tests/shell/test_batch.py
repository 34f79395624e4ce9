"""Attending what a transport has delivered: an answer for each message, whatever becomes of its run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from kernel.delivery import Backlog, Delivery
from kernel.errors import Unavailable
from kernel.metrics import Count, Duration
from kernel.ports import HEAD, Poke, RunRef
from kernel.shell.batch import answer, attend_all, process_available
from kernel.testing.faults import Fault
from kernel.testing.play import Play
from onewrite import Context
from tests.shell.script import Note, Script, line, unreadable, work


class Tray:
    """A ``Consumer`` with messages that are just there."""

    visibility = 30.0

    def __init__(self, pokes: Sequence[Poke | None]) -> None:
        self.waiting = [
            Delivery(id=str(i), poke=poke, problem="" if poke else "not a poke") for i, poke in enumerate(pokes)
        ]
        self.acknowledged: list[str] = []
        self.released: list[tuple[str, float]] = []
        self.failing: set[str] = set()
        self.waits: list[float] = []

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        self._fail("receive")
        self.waits.append(wait)
        taken, self.waiting = self.waiting[:most], self.waiting[most:]
        return taken

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        self._fail("acknowledge")
        self.acknowledged += [each.id for each in deliveries]

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        self.released += [(each.id, delay) for each in deliveries]

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        raise NotImplementedError

    def backlog(self) -> Backlog:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def _fail(self, what: str) -> None:
        if what in self.failing:
            raise Unavailable(what)


class Seen:
    """``Metrics`` that remembers."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, int, dict[str, str]]] = []
        self.times: list[str] = []

    def count(self, name: Count, value: int = 1, **labels: str) -> None:
        self.counts.append((name, value, labels))

    def observe(self, name: Duration, seconds: float, **labels: str) -> None:
        self.times.append(name)

    def flush(self) -> None:
        raise NotImplementedError


def started(script: Script, runs: int = 3) -> tuple[Play, list[RunRef], list[Poke]]:
    play = Play(flow := line(script.stage("a")))
    refs = [play.start(flow, Note()) for _ in range(runs)]
    play.queue.clear()
    return play, refs, [Poke(ref.tenant, ref.run) for ref in refs]


def available(play: Play, tray: Tray, limit: int = 100, seconds: float = 300.0) -> tuple[int, int, int, bool]:
    done = process_available(play.env, tray, limit, play.clock.monotonic() + seconds)
    return done.attended, done.failed, done.stages, done.left


def test_all_that_there_is_is_attended_and_acknowledged(script: Script) -> None:
    play, refs, pokes = started(script)
    tray = Tray(pokes)

    assert available(play, tray) == (3, 0, 3, False)

    assert tray.acknowledged == ["0", "1", "2"]
    assert {play.ended(ref).status for ref in refs} == {"completed"}


def test_no_more_than_the_limit_is_taken(script: Script) -> None:
    play, _, pokes = started(script)
    tray = Tray(pokes)

    assert available(play, tray, limit=2) == (2, 0, 2, True)
    assert len(tray.waiting) == 1


def test_nothing_is_taken_once_the_time_is_up_or_the_worker_stops(script: Script) -> None:
    play, _, pokes = started(script)
    tray = Tray(pokes)

    assert available(play, tray, seconds=0.0) == (0, 0, 0, True)
    done = process_available(play.env, tray, 9, play.clock.monotonic() + 300, stopping=lambda: True)
    assert (done.attended, len(tray.waiting)) == (0, 3)


def test_what_is_none_of_ours_is_left_to_become_a_dead_letter_and_harms_no_other(script: Script) -> None:
    play, _, pokes = started(script)
    tray = Tray([pokes[0], None, pokes[1]])

    assert available(play, tray) == (2, 1, 2, False)
    assert (tray.acknowledged, tray.released) == (["0", "2"], [])


def test_without_the_store_messages_are_given_back_and_no_more_are_taken(script: Script) -> None:
    play, refs, pokes = started(script)
    tray = Tray(pokes)
    play.faults.choose = lambda call: Fault.UNAVAILABLE if call.port == "store" else None

    attended, failed, _, left = available(play, tray)

    assert (attended, failed, left) == (0, 1, True)
    assert [id_ for id_, delay in tray.released if delay > 0] == ["0"]
    assert len(tray.waiting) == 2
    play.faults.choose = lambda _call: None
    play.play(refs)
    assert {play.ended(ref).status for ref in refs} == {"completed"}


def test_a_run_that_cannot_be_read_is_not_given_back_so_that_its_message_is_counted(script: Script) -> None:
    """A message that was given back counts anew: given back each time, it would come for ever."""
    play, refs, pokes = started(script)
    tray = Tray(pokes)
    unreadable(play, refs[0], HEAD)

    assert available(play, tray) == (2, 1, 2, False)
    assert (tray.acknowledged, tray.released) == (["1", "2"], [])


def test_what_takes_longer_than_there_is_time_is_left_to_others_and_not_taken_again(script: Script) -> None:
    play, refs, pokes = started(script, runs=1)

    class Again(Tray):
        """What is sent comes back at once."""

        def receive(self, most: int, wait: float) -> Sequence[Delivery]:
            while (poke := play.queue.receive()) is not None:
                self.waiting.append(Delivery(id="again", poke=poke))
            return super().receive(most, wait)

    tray = Again(pokes)

    assert available(play, tray, seconds=30.0) == (2, 0, 0, True)
    assert play.queue.waiting == [Poke(refs[0].tenant, refs[0].run, "a")]


def test_no_look_for_messages_goes_on_after_the_time(script: Script) -> None:
    play, _, _ = started(script, runs=0)
    tray = Tray([])

    available(play, tray, seconds=0.25)
    assert tray.waits == [0.25]


def test_a_transport_that_fails_at_first_is_an_error_and_later_the_end(script: Script) -> None:
    play, _, pokes = started(script)
    tray = Tray(pokes)
    tray.failing = {"receive"}
    with pytest.raises(Unavailable):
        available(play, tray)

    tray.failing = {"acknowledge"}
    assert available(play, tray) == (3, 0, 3, False)
    assert tray.acknowledged == [], "they come again, and do no harm"


def test_each_message_is_told_of_and_measured(script: Script) -> None:
    play, _, pokes = started(script)
    work(play)
    seen, begun = Seen(), list[str]()
    tray = Tray([*pokes, None])
    env = replace(play.env, metrics=seen)

    batch = attend_all(
        env, tray.receive(9, 0.0), play.clock.monotonic() + 300, begins=lambda each: begun.append(each.id)
    )

    assert [each.id for each in batch.attended] == begun == ["0", "1", "2"]
    assert [each.id for each in batch.foreign] == ["3"]
    assert (Count.POKES_ATTENDED, 1, {"outcome": "attended"}) in seen.counts
    assert (Count.POKES_FAILED, 1, {}) in seen.counts
    assert seen.times.count(Duration.ATTEND) == 3


def test_what_a_worker_that_stops_has_not_come_to_is_for_others_at_once(script: Script) -> None:
    stopping = False

    def told_to_stop(_ctx: Context) -> None:
        nonlocal stopping
        stopping = True

    play = Play(flow := line(script.stage("a", told_to_stop)))
    pokes = [Poke(ref.tenant, ref.run) for ref in (play.start(flow, Note()) for _ in range(3))]
    tray = Tray(pokes)

    batch = attend_all(play.env, tray.receive(9, 0.0), play.clock.monotonic() + 300, stopping=lambda: stopping)
    answer(tray, batch)

    assert (tray.acknowledged, tray.released, script.calls) == (["0"], [("1", 0.0), ("2", 0.0)], ["a"])

"""Redis lost with what is in it: as often as was wanted, noted with whose messages vanished, and back in the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import takewhile
from random import Random

from bench.soak.chaos import Rates
from bench.soak.losses import Losses
from hosts.engines import EngineMissing


class Fake:
    """Redis and what it holds."""

    def __init__(self, *, comes_back: bool = True) -> None:
        self.calls: list[str] = []
        self.comes_back = comes_back

    def kill(self) -> None:
        self.calls.append("kill")

    def restart(self) -> None:
        if not self.comes_back:
            raise EngineMissing("the port is taken")
        self.calls.append("restart")

    def unattended(self) -> list[str]:
        return ["a", "b", "b"]

    def flush(self) -> None:
        self.calls.append("flush")


def losses(fake: Fake, **rates: float) -> Losses:
    return Losses(Random(1), Rates(**rates), fake, fake)


def until(done: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_five_minutes_restart_redis_more_than_five_times_and_empty_it_once_in_the_middle() -> None:
    made = losses(Fake(), flush_at=150.0)

    times = list(takewhile(lambda each: each[0] < 300, made.timeline()))

    flushes = [at for at, away in times if away is None]
    restarts = [away for _, away in times if away is not None]
    assert flushes == [150.0]
    assert [at for at, _ in times] == sorted(at for at, _ in times)
    assert 7 <= len(restarts) <= 11
    assert restarts.count(10.0) >= 2
    assert set(restarts) == {0.0, 10.0}


def test_without_a_time_for_it_redis_is_never_emptied() -> None:
    times = takewhile(lambda each: each[0] < 1_000, losses(Fake()).timeline())

    assert None not in [away for _, away in times]


def test_each_loss_is_noted_with_the_runs_whose_messages_vanished() -> None:
    fake = Fake()
    made = losses(fake, restart_every=0.02, away=0.0, flush_at=0.03)

    made.start()
    until(lambda: made.restarts >= 2 and made.flushes)
    made.stop()

    assert {loss.kind: loss.runs for loss in made.done} == dict.fromkeys(("restart", "flush"), ("a", "b", "b"))
    assert fake.calls == [call for loss in made.done for call in CALLS[loss.kind]]
    assert (made.flushes, made.wrong) == (1, [])


CALLS = {"restart": ["kill", "restart"], "flush": ["flush"]}


def test_once_stopped_redis_is_back_at_once_however_long_it_was_to_stay_away() -> None:
    fake = Fake()
    made = losses(fake, restart_every=0.01, away=3_600.0)

    made.start()
    until(lambda: fake.calls.count("kill") == 2)
    made.stop()

    assert fake.calls == ["kill", "restart"] * 2
    assert made.done[1].away < 10


def test_a_redis_that_does_not_come_back_is_wrong() -> None:
    made = losses(Fake(comes_back=False), restart_every=0.01)

    made.start()
    until(lambda: made.wrong)
    made.stop()

    assert made.wrong == ["Redis does not come back: the port is taken"]
    assert not made.done


def test_what_never_began_can_be_stopped() -> None:
    losses(Fake()).stop()

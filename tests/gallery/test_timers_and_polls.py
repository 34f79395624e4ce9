"""Timers and polls: each comes at its time, for what set it, at its pace and to its end, whatever happens meanwhile."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.core.codec import FORMAT
from kernel.core.events import StageChecked, StageFailed
from kernel.testing.play import Play
from onewrite import Context, Pending, Retry
from tests.gallery.stage import attempts, finish, restart
from tests.gallery.traps import trap
from tests.shell.script import (
    HOUR,
    MINUTE,
    SECOND,
    Act,
    Note,
    Script,
    dies,
    events,
    head_of,
    line,
    pending,
    throws,
    work,
)

ALGA, BRATSOS, LUNO = "AlgaPSA", "bratsos/workflow-engine", "luno/workflow"


@trap(ALGA, "Waits and listeners live in memory: a restart forgets them.")
def test_a_restart_forgets_no_wait_of_any_length(script: Script) -> None:
    def waits(name: str, wait: timedelta) -> Any:
        """Fails, or hands over to a provider, and goes on after that time."""

        def act(ctx: Context) -> Any:
            begun = times.setdefault(name, play.clock.now())
            if begun == play.clock.now():
                raise ConnectionError("later")
            times[name] = play.clock.now() - begun

        def check(ctx: Context) -> None:
            times[name] = play.clock.now() - created

        if name.startswith("poll"):
            return line(script.job("a", check, every=wait, limit=timedelta(days=5)), id=name)
        return line(script.stage("a", act, retry=Retry(2, first=wait, cap=wait, jitter=0.0)), id=name)

    times: dict[str, int] = {}
    wanted = {
        f"{kind}-{minutes}": timedelta(minutes=minutes)
        for kind in ("poll", "retry")
        for minutes in (3, 14, 16, 360, 2_880)
    }
    flows = {name: waits(name, wait) for name, wait in wanted.items()}
    play = Play(*flows.values())
    created = play.clock.now()
    refs = [play.start(flow, Note()) for flow in flows.values()]
    work(play)
    play.queue.clear()  # everything stops, and every message is lost
    for _ in range(2_880 + 10):
        restart(play, *flows.values())
        play.clock.move(MINUTE)
        play.tick()
        work(play)
    limits = play.env.limits
    for name, wait in wanted.items():
        late = times[name] - wait // timedelta(milliseconds=1)
        assert 0 <= late <= limits.look_grace + 2 * limits.tick + limits.max_skew, f"{name}: {late}"
    for ref in refs:
        finish(play, ref)


@trap(LUNO, "A timer is looked up by business key, so the first run's timer fires on the second run.")
def test_a_timer_fires_for_nothing_but_the_very_wait_that_set_it(script: Script) -> None:
    """A run is cancelled while it waits to try again. What comes after it waits, too, and is not woken by its timer."""
    wait = timedelta(minutes=10)
    retry = Retry(2, first=wait, cap=wait, jitter=0.0)
    for again in ("another run for the same order", "another generation of the run"):
        script.calls.clear()
        play = Play(flow := line(script.stage("a", throws(ConnectionError("later"), 2), retry=retry)))
        first = play.start(flow, Note(text="order 7"))
        work(play)
        (message,) = play.queue.waiting
        play.cancel(first)
        play.clock.move(5 * MINUTE)
        if again.startswith("another run"):
            second = play.start(flow, Note(text="order 7"))
        else:
            play.rerun(second := first, "a")
        work(play)
        assert script.calls == ["a", "a"]
        play.clock.move(5 * MINUTE + 2 * SECOND)
        assert message in play.queue.waiting
        work(play)
        assert message not in play.queue.waiting
        assert script.calls == ["a", "a"], "the first timer has come, and it is not the second one's time"
        play.clock.move(5 * MINUTE)
        work(play)
        assert script.calls == ["a", "a", "a"]
        finish(play, second)


@trap(LUNO, "A failing timer handler is retried hundreds of times a second without a log line.")
def test_what_fails_at_its_time_is_tried_at_its_pace_and_each_failure_is_told(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    def check(_ctx: Context) -> None:
        times.append(play.clock.now())
        if len(times) < 10:
            raise ConnectionError("no")

    times: list[int] = []
    play = Play(flow := line(script.job("a", check)))
    ref = play.start(flow, Note())
    finish(play, ref)
    assert len(times) == 10
    assert all(after - before >= MINUTE for before, after in pairwise(times))
    assert [each.error.kind for each in events(play, ref, StageChecked)] == ["ConnectionError"] * 9

    bad = play.start(flow, Note())
    play.store.put(bad, replace(head_of(play, bad), v=FORMAT + 1))
    caplog.clear()
    with caplog.at_level(logging.ERROR, "onewrite"):
        failed = 0
        for _ in range(60):
            play.clock.move(play.env.limits.tick)
            failed += play.tick().failed
    assert failed == 30, "once in two minutes"
    assert [getattr(record, "run", "") for record in caplog.records] == [bad.run] * failed


@trap(BRATSOS, "One network error in a poll's check fails the whole run.")
def test_a_network_error_while_polling_fails_neither_the_stage_nor_the_run(script: Script) -> None:
    errors: list[BaseException] = [ConnectionError("reset"), TimeoutError("slow"), OSError("no route to host")]

    def check(_ctx: Context) -> Pending | None:
        looks = script.calls.count("check:a")
        if looks % 4 == 0:
            return Pending() if looks < 12 else None
        raise errors[looks % 4 - 1]

    play = Play(flow := line(script.job("a", check), script.stage("b")))
    ref = play.start(flow, Note())
    finish(play, ref)
    assert script.calls == ["a", *["check:a"] * 12, "b"]
    assert (attempts(play, ref), events(play, ref, StageFailed)) == ([1], [])


@trap(BRATSOS, "`maxWait` is accepted and ignored.")
def test_a_wait_ends_at_its_limit_whatever_its_checks_do(script: Script) -> None:
    checks: dict[str, Act] = {
        "are not ready": pending(1_000),
        "throw": throws(ConnectionError("no")),
        "kill their process": dies(),
        "are poked for in vain": pending(1_000),
    }
    for what, check in checks.items():
        for limit in (30 * MINUTE, 3 * HOUR):
            every = timedelta(milliseconds=limit / 3)
            flow = line(script.job("a", check, every=every, limit=timedelta(milliseconds=limit)))
            play = Play(flow)
            ref = play.start(flow, Note())
            play.step()
            if what == "are poked for in vain":
                for _ in range(limit // MINUTE + 10):
                    play.queue.clear()  # what workers send is lost; what a tick sends at once arrives
                    play.clock.move(MINUTE)
                    play.tick()
                    work(play)
            view = finish(play, ref, "failed", days=1 / 4).view
            assert view.error is not None
            assert (view.error.kind, view.error.stage) == ("WaitLimitReached", "a"), what
            limits = play.env.limits
            late = view.updated - view.created - limit
            assert 0 <= late <= 2 * (limits.look_grace + limits.tick) + MINUTE + limits.lease_grace, (what, late)

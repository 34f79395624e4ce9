"""Random workflows: shapes, retries, suspensions, compensation, conditions. What their stages do is in ``bodies``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from kernel.define.context import Context
from kernel.define.policy import OnCancel, Retry
from kernel.define.startable import Startable
from kernel.define.workflow import Workflow
from kernel.testing.simulator.bodies import (
    Bodies,
    Note,
    Options,
    Ticket,
    configured,
    given,
    make_stage,
    suspending,
    taking,
)
from kernel.testing.simulator.chance import Chance, mix
from kernel.testing.simulator.stagehand import Stagehand
from kernel.testing.simulator.world import EPOCH

MANY = 300
"""Checks that make a log which is read in more than one page."""

Flow = Startable[Any]


def make_flow(hand: Stagehand, seed: int, id_: str, version: int = 1, build: int = 0) -> Flow:
    """A workflow of one to ten stages, or now and then of thirty.

    Another ``build`` of the same version has the same fingerprint, but other policies for failure.
    """
    return Maker(hand, seed, id_, version, build).flow()


class Maker:
    """Makes one workflow."""

    def __init__(self, hand: Stagehand, seed: int, id_: str, version: int, build: int) -> None:
        """Of a seed and a name, its version and its build."""
        self._seed = mix(seed, crc32(id_.encode()), version)
        self._policies = Chance(self._seed, f"build-{build}") if build else None
        self._chance = Chance(self._seed, "flow")
        self._id = id_
        self._version = version
        self._undoing = self._chance.happens(0.45)
        self._trouble = self._chance.pick((0.0, 0.1, 0.3, 0.6))
        self._bodies = Bodies(hand, self._seed, self._trouble)
        self._presets: dict[str, Any] = {}
        pauses = Chance(self._seed, "pauses")
        waits = Chance(self._seed, "waits")
        self._waits = waits if waits.happens(0.35) else None
        self._pauses = pauses if pauses.happens(0.25) else None
        callbacks = Chance(self._seed, "callbacks")
        self._callbacks = callbacks if callbacks.happens(0.4) else None

    def flow(self) -> Flow:
        """It."""
        chance = self._chance
        long = chance.happens(0.06)
        wide = not long and chance.happens(0.02)  # many stages after one, none of which begins
        count = chance.between(20, 32) if long or wide else chance.between(1, 9)
        shape = [[0] if wide and number else self._sources(number, long=long) for number in range(count)]
        stages: list[Any] = []
        plain = []
        for number, sources in enumerate(shape):
            made, has_options = self._made(number, len(sources))
            stages.append(made)
            plain.append((made, sources))
            if has_options:
                self._presets[made.id] = Options(size=2)
        chain, on_failure = chance.happens(0.7), self._on_failure()
        on_cancel: OnCancel = chance.pick(("stop", "compensate"))
        deadline = chance.pick((None, None, *(timedelta(minutes=minutes) for minutes in (3, 3, 20, 300))))
        flow: Any = Workflow(
            self._id,
            input=Ticket,
            version=self._version,
            chain=chain,
            on_failure=on_failure,
            on_cancel=on_cancel,
            deadline=deadline,
            presets={"big": self._presets} if self._presets else None,
        )
        for made, sources in plain:
            flow = self._pausing(flow, deadline)
            after = tuple(stages[source] for source in sources)
            if len(after) == 1 and (wide or chance.happens(0.2)):
                flow = flow.output(*after).then_if(_condition(None) if wide else self._condition(), made)
            elif not after:
                flow = flow.then(made)
            elif len(after) == 1 and self._waits is not None and self._waits.happens(0.6):
                flow = self._waiting(flow.output(*after), deadline).then(made)
            else:
                flow = flow.step(made, after=after)
        finished: Flow = flow
        return finished

    def _pausing(self, flow: Any, deadline: timedelta | None) -> Any:  # noqa: ANN401 - a workflow, of whatever type
        """A wait before the next stage, in a workflow that has any."""
        pauses = self._pauses
        if pauses is None or not pauses.happens(0.4):
            return flow
        seconds = pauses.pick((0.001, 1, 30, 600, 1_200, 7_200))
        length = timedelta(seconds=seconds)
        if pauses.happens(0.5) and (deadline is None or length < deadline):
            return flow.sleep(length)
        return flow.sleep_until(_instant(pauses.pick((seconds, seconds, -1_000, None))))

    def _waiting(self, flow: Any, deadline: timedelta | None) -> Any:  # noqa: ANN401 - the same
        """A wait for an event before the next stage."""
        waits = self._waits
        assert waits is not None  # noqa: S101 - the caller asked
        timeout = waits.pick((None, 30, 600, 1_200, 7_200))
        options: dict[str, Any] = {"match": waits.pick((None, None, None, is_even, _broken))}
        if timeout is not None and (deadline is None or timedelta(seconds=timeout) < deadline):
            options |= {"timeout": timedelta(seconds=timeout), "on_timeout": waits.pick(("fail", "proceed"))}
        return flow.wait_for(Note, **options)

    def _sources(self, number: int, *, long: bool) -> list[int]:
        """Which earlier stages a stage comes after."""
        if not number:
            return []
        wanted = 1 if long else self._chance.pick((1, 1, 1, 2, 3))
        if long or self._chance.happens(0.4):
            return [number - 1]
        chosen = {self._chance.below(number) for _ in range(wanted)}
        return sorted(chosen)

    def _on_failure(self) -> Any:  # noqa: ANN401 - one of a few texts, or nothing
        strategies = (None, None, "stop", "proceed")
        chosen = self._chance.pick(strategies)
        return self._policies.pick(strategies) if self._policies else chosen

    def _condition(self) -> Callable[[object], bool]:
        return _condition(self._chance.pick((True, True, False, None)))

    def _made(self, number: int, inputs: int, takes: Any = None) -> tuple[Any, bool]:  # noqa: ANN401 - a type
        """A stage, and whether it has a configuration; one that takes something else than others may say so."""
        chance = self._chance
        id_ = f"s{number}"
        once = chance.happens(0.1)
        pending = chance.below(4) if inputs == 1 and chance.happens(0.3) else None
        doomed = chance.happens(0.08 if self._trouble else 0.02)
        timeout = chance.pick((20, 60, 60, 200))
        has_options = pending is None and inputs == 1 and chance.happens(0.1)
        options: dict[str, Any] = {
            "timeout": timedelta(seconds=timeout),
            "on_failure": self._on_failure(),
            "at_most_once": once,
        }
        if not once:
            first = timedelta(seconds=chance.pick((0, 1, 30, 1_200, 1_200)))
            steep = chance.pick((2.0, 2.0, 1e200))
            kinds: dict[str, Any] = {"on": chance.pick(((ValueError,), (OSError,)))} if chance.happens(0.1) else {}
            options["retry"] = Retry(chance.between(1, 5), first=first, factor=steep, cap=timedelta(hours=3), **kinds)
        body = self._bodies.body(id_, timeout * 1000, doomed=doomed)
        if self._undoing and chance.happens(0.7):
            options["compensate"] = self._bodies.undo(id_, timeout * 1000, doomed=chance.happens(0.15))
        if pending is not None:
            every = chance.pick((30, 600, 1_000, 1_000, 7_200))
            if chance.happens(0.02):
                every, pending = 30, MANY
            options |= {
                "check": self._bodies.check(id_, pending, hopeless=chance.happens(0.1)),
                "every": timedelta(seconds=every),
                "limit": timedelta(seconds=chance.pick((2, 5, 20) if pending < MANY else (MANY + 9,)) * every),
            }
            return make_stage(**options)(given(takes, suspending(body))).named(id_), False
        if inputs == 1 and not has_options and self._callbacks and self._callbacks.happens(0.6):
            return self._asking(body, options, takes).named(id_), False
        function = configured(body) if has_options else taking(body)[inputs]
        return make_stage(**options)(given(takes, function)).named(id_), has_options

    def _asking(self, body: Callable[[Context[Any]], Note], options: dict[str, Any], takes: Any) -> Any:  # noqa: ANN401 - a stage, of whatever type
        """A stage that a third party answers, in a workflow that has any."""
        assert self._callbacks is not None  # noqa: S101 - the caller asked
        limit = self._callbacks.pick((20, 600, 1_000, 7_200, 7_200))
        heartbeat = self._callbacks.pick((None, None, 20, 20, 300, 1_200))
        options["callback"] = timedelta(seconds=limit)
        if heartbeat is not None and heartbeat <= limit:
            options["callback_heartbeat"] = timedelta(seconds=heartbeat)
        else:
            heartbeat = None
        silent = None if heartbeat is None else heartbeat * 1_000
        return make_stage(**options)(given(takes, self._bodies.asking(body, limit * 1_000, silent)))


def is_even(_given: object, event: Note) -> bool:
    """Whether an event is one of those that are waited for."""
    return len(event.text) % 2 == 0


def _broken(_given: object, event: Note) -> bool:
    """Cannot tell, of some."""
    if len(event.text) == 1:
        message = "cannot tell"
        raise KeyError(message)
    return True


def _instant(seconds: float | None) -> Callable[[*tuple[object, ...]], datetime]:
    """A time to sleep until, some time after every history began, or one that cannot be told."""

    def when(*_given: object) -> datetime:
        if seconds is None:
            message = "cannot tell"
            raise KeyError(message)
        return datetime.fromtimestamp(EPOCH / 1000 + seconds, UTC)

    return when


def _condition(answer: bool | None) -> Callable[[object], bool]:  # noqa: FBT001 - it is the answer
    """A condition that gives this answer, or throws."""

    def condition(_given: object) -> bool:
        if answer is None:
            message = "cannot tell"
            raise KeyError(message)
        return answer

    return condition

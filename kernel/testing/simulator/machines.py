"""Random machines: states that run something, transitions on events, time and finished work, loops, and quotas."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from kernel.define.machine import Machine
from kernel.define.states import State, Transition
from kernel.define.workflow import Workflow
from kernel.testing.simulator.bodies import Note, Options, Ticket
from kernel.testing.simulator.flows import Flow, Maker, is_even
from kernel.testing.simulator.stagehand import Stagehand

ROLES = ("clerk", "boss")
"""What people may act as."""
_machine: Any = Machine


class Tally(BaseModel):
    """A machine's data.

    Attributes:
        count: how often it has changed.
        text: some more, to be of any size.
    """

    count: int = 0
    text: str = ""


class Push(BaseModel):
    """An event."""

    text: str = ""


class Pull(BaseModel):
    """An event of another kind."""

    text: str = ""


EVENTS: Mapping[str, type[BaseModel]] = {event.__name__: event for event in (Note, Push, Pull)}
"""What machines may be told."""


def make_machine(hand: Stagehand, seed: int, id_: str, version: int = 1, build: int = 0) -> Flow:
    """A machine of two to five states and what ends it; builds are as those of workflows."""
    return _Maker(hand, seed, id_, version, build).flow()


class _Maker(Maker):
    """Makes one machine."""

    def flow(self) -> Flow:
        """It."""
        chance = self._chance
        self._undoing = False  # machines are not undone
        self._numbered = 0
        self._deadline = chance.pick((None, None, None, *(timedelta(minutes=minutes) for minutes in (3, 20, 300))))
        count = chance.between(1, 6)
        states = [self._state(f"at{number}") for number in range(count)]
        ends = [State("end", Tally, final=True), State("void", Tally, final=True)][: chance.between(1, 3)]
        ways: list[Transition[Tally]] = []
        for number, state in enumerate(states):
            others = [*states, *states, *ends]
            ways += self._ways(state, others, (states[number + 1 :] or ends)[0])
        told = {way.to for way in ways}
        ways += [states[0].on(Pull, to=end, when=_is_even, update=_one_more) for end in ends if end not in told]
        chain, quota = chance.happens(0.7), chance.pick((2, 4, 8, 30))
        begin = chance.pick((_begun, _begun, _begun, _begun_wrong))
        flow: Flow = _machine(
            self._id,
            input=Ticket,
            begin=begin,
            start=states[0],
            transitions=tuple(self._in_order(ways)),
            version=self._version,
            chain=chain,
            deadline=self._deadline,
            quota=quota,
            presets={"big": self._presets} if self._presets else None,
        )
        return flow

    @staticmethod
    def _in_order(ways: list[Transition[Tally]]) -> list[Transition[Tally]]:
        """Those without conditions last, and of these the ones for everybody, so that each may be taken."""
        return sorted(ways, key=lambda way: (way.way.when is None, not way.way.roles))

    def _state(self, id_: str) -> State[Tally]:
        return State(id_, Tally, enter=self._work() if self._chance.happens(0.6) else None)

    def _work(self) -> Any:  # noqa: ANN401 - a stage or a workflow
        """One stage, or several, with a timer, a condition or a fork among them."""
        chance = self._chance
        first = self._stage(1, Tally)
        if chance.happens(0.5):
            return first
        work: Any = Workflow("work", input=Tally, on_failure=self._on_failure())
        work = work.then(first)
        shape = chance.below(4)
        if shape == 0:
            work = work.sleep(timedelta(seconds=chance.pick((0.001, 5, 100, 1_000))))
        if shape == 1:
            return work.together(self._stage(1), self._stage(1)).then(self._stage(2))
        if shape == 2:  # noqa: PLR2004 - the third one
            return work.then_if(self._condition(), self._stage(1))
        return work.then(self._stage(1))

    def _stage(self, inputs: int, takes: Any = None) -> Any:  # noqa: ANN401 - a type; a stage
        self._numbered += 1
        made, has_options = self._made(self._numbered, inputs, takes)
        if has_options:
            self._presets[made.id] = Options(size=2)
        return made

    def _ways(self, state: State[Tally], others: list[State[Tally]], onwards: State[Tally]) -> list[Transition[Tally]]:
        """The ways out of a state, of which one leads onwards whatever the data is."""
        chance = self._chance
        self._for_some: set[object] = set()
        ways = [self._way(state, chance.pick(others), sure=False) for _ in range(chance.below(5))]
        # All that has no condition comes last, and of each kind there is but one.
        ways.append(self._way(state, onwards, sure=True))
        return ways

    def _way(self, state: State[Tally], to: State[Tally], *, sure: bool) -> Transition[Tally]:
        chance = self._chance
        kinds = ("on", "on", "after", "done") if state.enter is not None else ("on", "after", "on")
        kind = chance.pick(kinds)
        inside = not sure and chance.happens(0.3)
        if kind == "done":
            when = None if sure else chance.pick((_is_done, _is_done, _few, _broken))
            entered: Any = state.enter
            return state.done(entered, to=to, when=when, update=self._update())
        if kind == "after":
            # The sure one is the last to come.
            seconds = chance.pick((100, 600, 1_200, 7_200) if sure else (0.001, 1, 30, 60))
            delay = timedelta(seconds=seconds)
            if self._deadline is not None:
                delay = min(delay, self._deadline / 2)
            when_time = None if sure else chance.pick((_few_now, _few_now, _broken_now))
            return state.after(delay, to=None if inside else to, when=when_time, update=self._update(least=inside))
        event = chance.pick((Note, Push, Pull))
        roles: tuple[str, ...] = () if sure or chance.happens(0.4) else chance.pick((ROLES[:1], ROLES[1:], ROLES))
        when = None if sure else chance.pick((_is_even, _is_even, _few, _broken))
        if roles and event not in self._for_some and chance.happens(0.5):
            self._for_some.add(event)
            when = None
        options: dict[str, Any] = {"when": when, "update": self._update(least=inside), "roles": roles}
        if not inside and chance.happens(0.4):
            options |= {"work": self._work(), "result": chance.pick((None, _noted, _noted, _broken_result))}
        on: Any = state.on
        way: Transition[Tally] = on(event, to=None if inside else to, **options)
        return way

    def _update(self, *, least: bool = False) -> Any:  # noqa: ANN401 - a function of one or two values
        updates = (_one_more, _one_more, _one_more, _as_told, _big, _one_more_or_not)
        rare = (_too_much, _wrong)
        if self._chance.happens(0.05):
            return self._chance.pick(rare)
        return self._chance.pick(updates if least else (None, *updates))


# --- what people write: functions that are pure, and of which some throw or give the wrong thing ----------------------


def _begun(ticket: Ticket) -> Tally:
    return Tally(text=ticket.text)


def _begun_wrong(ticket: Ticket) -> Any:  # noqa: ANN401 - the mistake
    return None if len(ticket.text) == 10 else Tally()  # noqa: PLR2004 - of some


def _text(of: object) -> str:
    return str(getattr(of, "text", ""))


def _is_even(_data: Tally, of: object) -> bool:
    return is_even(None, Note(text=_text(of)))


def _is_done(_data: Tally, of: object) -> bool:
    return isinstance(of, Note)


def _few(data: Tally, _of: object) -> bool:
    return data.count < 3  # noqa: PLR2004 - a few


def _few_now(data: Tally) -> bool:
    return data.count < 3  # noqa: PLR2004 - a few


def _broken(data: Tally, of: object) -> bool:
    if len(_text(of)) == 1:
        message = "cannot tell"
        raise KeyError(message)
    return data.count % 2 == 0


def _broken_now(data: Tally) -> bool:
    if data.count == 1:
        message = "cannot tell"
        raise KeyError(message)
    return True


def _one_more(data: Tally, *_of: object) -> Tally:
    return Tally(count=data.count + 1, text=data.text)


def _as_told(data: Tally, *of: object) -> Tally:
    return Tally(count=data.count + 1, text=_text(of[0]) if of else "")


def _big(data: Tally, *_of: object) -> Tally:
    return Tally(count=data.count + 1, text="x" * 900)


def _one_more_or_not(data: Tally, *of: object) -> Tally:
    if data.count % 4 == 3:  # noqa: PLR2004 - of some
        message = "cannot count"
        raise ValueError(message)
    return _one_more(data, *of)


def _too_much(data: Tally, *_of: object) -> Tally:
    return Tally(text="x" * 100_000) if data.count % 2 else _one_more(data)


def _wrong(data: Tally, *_of: object) -> Any:  # noqa: ANN401 - the mistake
    return 7 if data.count % 2 else _one_more(data)


def _noted(data: Tally, of: object) -> Tally:
    return Tally(count=data.count + 1, text=_text(of)[:50])


def _broken_result(data: Tally, of: object) -> Tally:
    if data.count % 3 == 2:  # noqa: PLR2004 - of some
        message = "cannot count"
        raise ValueError(message)
    return _noted(data, of)

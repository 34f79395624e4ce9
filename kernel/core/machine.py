"""The machine program: a run is in one state, and external events, time and finished work take it to the next.

Its data changes only by pure functions of the user's, and what they give is recorded: nothing is computed again when
the log is folded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import Struct

from kernel.core.definition import DATA, QUOTA, Available, Later, MissingValue, Values
from kernel.core.directives import Complete, Depart, Directive, Enter, Fail, Reject, SetTimer, Stay
from kernel.core.events import (
    AnyEvent,
    ErrorRecord,
    EventReceived,
    RunCreated,
    RunReopened,
    StateEntered,
    TimerFired,
    TransitionStarted,
    TransitionTaken,
)
from kernel.core.failures import describe
from kernel.core.graph import Graph
from kernel.core.state import Place, State
from kernel.errors import Conflict, Forbidden, LogError, ProcessEnds


class Transition(Struct, frozen=True, kw_only=True):
    """A way out of a state, or within it. Its functions are pure user code, so they may throw.

    Without ``event`` and ``after`` it is taken once the work of its state is done.

    Attributes:
        id: unique in the machine.
        source: id of the state that it leads out of.
        to: id of the state that it leads to; None if it stays in its own, where all that is under way goes on.
        event: name of the external event that it is taken on.
        after: milliseconds in its state after which it is taken; a timer of its id fires then.
        roles: whoever sends the event has one of these; nobody needs any if there are none.
        when: says from recorded values and the event's id whether it is taken.
        update: gives the new data, as JSON text, from the same.
        work: stages that run between the states.
        finish: gives the new data once these are done.
    """

    id: str
    source: str
    to: str | None
    event: str = ""
    after: int | None = None
    roles: tuple[str, ...] = ()
    when: Callable[[Values, str], bool] | None = None
    update: Callable[[Values, str], bytes] | None = None
    work: Graph | None = None
    finish: Callable[[Values], bytes] | None = None


class StateSpec(Struct, frozen=True):
    """A state.

    Attributes:
        id: unique in the machine.
        work: stages that run once it is entered, unless it is left before they are done.
        final: the run is complete with it.
    """

    id: str
    work: Graph | None = None
    final: bool = False


class Machine:
    """States, and transitions between them: the first one that fits is taken."""

    def __init__(
        self,
        states: Sequence[StateSpec],
        transitions: Sequence[Transition],
        *,
        start: str,
        begin: Callable[[Values], bytes],
        quota: int,
    ) -> None:
        """Index the parts.

        Args:
            states: all of them.
            transitions: all of them, in the order in which they are tried.
            start: id of the first state.
            begin: gives the data at the beginning, as JSON text, from the run's input.
            quota: how many transitions a run may take.
        """
        self._states: Mapping[str, StateSpec] = {state.id: state for state in states}
        self._transitions: Mapping[str, Transition] = {each.id: each for each in transitions}
        self._start = start
        self._data_at_first = begin
        self._quota = quota
        works = (*(state.work for state in states), *(each.work for each in transitions))
        self._works: Mapping[str, Graph] = {id_: work for work in works if work is not None for id_ in work.ids}

    # --- what follows from an event ---------------------------------------------------------------------------------

    def react(self, state: State, event: AnyEvent, values: Values) -> Sequence[Directive]:  # noqa: PLR0911 - one case for each event
        """Enter, leave, begin the work of a state, or go on with it."""
        match event:
            case RunCreated():
                return self._begin(values)
            case StateEntered():
                return self._entered(state, values)
            case TransitionStarted():
                work = self._work(state)
                return () if work is None else work.begin(state, values)
            case TransitionTaken():
                return ()
            case EventReceived(event=id_, name=name):
                return self._take(state, values, id_, name)
            case TimerFired(timer=timer) if timer in self._transitions:
                return self._fired(state, values, timer)
            case RunReopened():
                return self._resume(state, event, values)
            case _:
                work = self._work(state)
                return () if work is None else work.react(state, event, values)

    def settle(self, state: State, values: Values) -> Sequence[Directive]:
        """What follows once the work of the state or transition is done, or has failed; nothing while it is not."""
        work, place = self._work(state), _place(state)
        if work is None or not work.ids.isdisjoint(state.active):
            return ()
        ends = work.settle(state, values)
        if ends != (Complete(),):
            return ends
        if place.transition:
            taken = self._transitions[place.transition]
            return self._guarded(taken.id, lambda: (self._arrive(taken, values),))
        return self._first(state, values, self._of(place.state, lambda each: not each.event and each.after is None))

    def _begin(self, values: Values) -> Sequence[Directive]:
        return self._guarded("", lambda: (Enter(self._start, data=self._data_at_first(values)),))

    def _entered(self, state: State, values: Values) -> Sequence[Directive]:
        spec = self._states[_place(state).state]
        if spec.final:
            return (Complete(),)
        work = () if spec.work is None else spec.work.begin(state, values)
        return (*work, *self._timers(state))

    def _timers(self, state: State) -> Iterable[Directive]:
        """Those of the state that are not set: each for so long after it was entered, whenever this is asked."""
        place = _place(state)
        for each in self._of(place.state, lambda each: each.after is not None):
            if each.after is not None and each.id not in state.stages:
                yield SetTimer(each.id, place.since + each.after)

    def _fired(self, state: State, values: Values, timer: str) -> Sequence[Directive]:
        """What follows from a timer. One that fails the run has failed with it, so that a retry sets it again."""
        taken = self._first(state, values, (self._transitions[timer],))
        if taken and isinstance(taken[0], Fail):
            return (Reject(timer, taken[0].error), *taken)
        return taken

    def _resume(self, state: State, event: RunReopened, values: Values) -> Sequence[Directive]:
        """Go on where the run failed: with the work that is left, and the timers that have come to nothing."""
        if state.place is None:
            return self._begin(values)
        work = self._work(state)
        begun = () if work is None else work.react(state, event, values)
        return begun if state.place.transition else (*begun, *self._timers(state))

    def _take(self, state: State, values: Values, id_: str, name: str) -> Sequence[Directive]:
        """The transition that an external event is for, if its conditions hold."""
        roles = state.events[id_].roles
        fit = self._of(_place(state).state, lambda each: each.event == name and _allows(each, roles))
        return self._first(state, values, fit, id_)

    def _first(
        self, state: State, values: Values, transitions: Iterable[Transition], event: str = ""
    ) -> Sequence[Directive]:
        """Take the first of these whose condition holds."""
        for each in transitions:
            if found := self._guarded(each.id, lambda each=each: self._taken(state, each, values, event)):  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                return found
        return ()

    def _taken(self, state: State, each: Transition, values: Values, event: str) -> Sequence[Directive]:
        if each.when is not None and not each.when(values, event):
            return ()
        if _place(state).taken >= self._quota:
            text = f"the run has taken {self._quota} transitions: give the machine a higher quota, or an end"
            return (Fail(ErrorRecord("limit", QUOTA, text, each.id)),)
        data = None if each.update is None else each.update(values, event)
        if each.to is None:
            return (Stay(each.id, event, data),)
        if each.work is not None:
            return (Depart(each.id, event, data),)
        return (Enter(each.to, each.id, event, data),)

    @staticmethod
    def _arrive(taken: Transition, values: Values) -> Directive:
        assert taken.to is not None  # noqa: S101 - only a transition to another state has work
        return Enter(taken.to, taken.id, data=None if taken.finish is None else taken.finish(values))

    @staticmethod
    def _guarded(transition: str, ask: Callable[[], Sequence[Directive]]) -> Sequence[Directive]:
        """What user code says; if it throws, the run fails with that. What cannot be read is not its fault."""
        try:
            return ask()
        except (MissingValue, LogError, KeyboardInterrupt, ProcessEnds):
            raise
        except BaseException as error:  # noqa: BLE001 - it may throw anything
            return (Fail(describe(error, "condition", transition, 0)),)

    def _work(self, state: State) -> Graph | None:
        """What is under way where the machine is."""
        place = _place(state)
        return self._transitions[place.transition].work if place.transition else self._states[place.state].work

    def _of(self, source: str, fits: Callable[[Transition], bool]) -> list[Transition]:
        return [each for each in self._transitions.values() if each.source == source and fits(each)]

    # --- external events --------------------------------------------------------------------------------------------

    def require_event(self, state: State, event: str, roles: Collection[str]) -> None:
        """See to it that an event is for the state that the machine is in, or enters next."""
        where = self._ahead(state)
        declared = self._of(where, lambda each: each.event == event)
        if not declared:
            known = ", ".join(dict.fromkeys(each.event for each in self._of(where, lambda each: bool(each.event))))
            message = f"state {where} takes no event {event}; it takes: {known or 'none'}"
            raise Conflict(message)
        if not any(_allows(each, roles) for each in declared):
            wanted = ", ".join(dict.fromkeys(role for each in declared for role in each.roles))
            message = f"state {where} takes event {event} from these roles only: {wanted}"
            raise Forbidden(message)
        if state.place is None or state.place.transition:
            raise Later

    def available(self, state: State) -> Sequence[Available]:
        """The events of the state that the machine is in, or enters next."""
        found: dict[str, list[Transition]] = {}
        for each in self._of(self._ahead(state), lambda each: bool(each.event)):
            found.setdefault(each.event, []).append(each)
        return [
            Available(
                name,
                () if any(not each.roles for each in ways) else _each(role for each in ways for role in each.roles),
                _each(each.source if each.to is None else each.to for each in ways),
            )
            for name, ways in found.items()
        ]

    def _ahead(self, state: State) -> str:
        """The state that the machine is in, or enters next."""
        if state.place is None:
            return self._start
        return (self._transitions[state.place.transition].to if state.place.transition else None) or state.place.state

    # --- reruns, and what comes of it all ---------------------------------------------------------------------------

    def require_rerun(self, state: State, stage: str) -> None:
        """Refuse: what led to where a machine is would be the same log, but another story."""
        place = "its beginning" if state.place is None else state.place.state
        message = f"cannot run again from {stage!r}: a machine goes on from {place} only; retry it if it has failed"
        raise Conflict(message)

    def undo(self, state: State) -> tuple[str, ...]:  # noqa: ARG002 - other programs look
        """Nothing: what is to be undone, a machine says by its transitions."""
        return ()

    def closure(self, stages: Sequence[str]) -> Sequence[str]:
        """The stages themselves and everything that depends on them; timers as they are."""
        works = dict.fromkeys(self._works[id_] for id_ in stages if id_ in self._works)
        timers = [id_ for id_ in stages if id_ in self._transitions]
        return [*timers, *(id_ for work in works for id_ in work.closure(stages))]

    def needs(self, stage: str) -> Sequence[str]:
        """The ids of the stages that ``stage`` directly depends on."""
        return self._works[stage].needs(stage) if stage in self._works else ()

    def outcome(self) -> Sequence[str]:
        """Its data, which is the run's result."""
        return (DATA,)


def _place(state: State) -> Place:
    assert state.place is not None  # noqa: S101 - only what has been entered is asked for what follows
    return state.place


def _allows(transition: Transition, roles: Collection[str]) -> bool:
    return not transition.roles or not set(transition.roles).isdisjoint(roles)


def _each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))

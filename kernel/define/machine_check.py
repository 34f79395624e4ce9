"""What can be wrong with a machine as a whole: states without a way in or out, transitions that are never taken."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from kernel.define.external import require_events
from kernel.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel.define.machine_plan import MachinePlan, Way


def require_sound(plan: MachinePlan) -> None:
    """See to it that every state is reached and left, and every transition can be taken.

    Raises:
        DefinitionError: it is not so; the message says what to change.
    """
    what = f"machine {plan.id!r}"
    _require_events(plan, what)
    _require_ids(plan, what)
    _require_reached(plan, what)
    _require_taken(plan, what)
    for way in plan.ways:
        if way.after is not None and plan.deadline is not None and way.after >= plan.deadline:
            raise DefinitionError(f"{what}: {way.what} comes after the machine's deadline: give it a longer one")


def _require_events(plan: MachinePlan, what: str) -> None:
    known: list[tuple[type, ...]] = []
    for way in plan.ways:
        if way.event is not None and (way.event,) not in known:
            require_events((way.event,), known, f"{what}, {way.what}")
            known.append((way.event,))


def _require_ids(plan: MachinePlan, what: str) -> None:
    """Stages are told apart by their ids in all of the machine."""
    owners: dict[str, str] = {}
    for owner, work in plan.works():
        for id_ in work.steps:
            if owners.setdefault(id_, owner) != owner:
                raise DefinitionError(
                    f"{what}: {owners[id_]} and {owner} both have a stage {id_!r}: give one of them another id, such "
                    f"as {id_}.named({f'{id_}-2'!r})"
                )


def _require_reached(plan: MachinePlan, what: str) -> None:
    forward, backward = _ways(plan.ways), _ways(plan.ways, back=True)
    reached = _closure((plan.start,), forward)
    for state in plan.states:
        if state not in reached:
            raise DefinitionError(f"{what}: state {state!r} is never entered: give a transition to it, or leave it out")
    if not plan.final:
        raise DefinitionError(f"{what} has no final state, so its runs could only fail: give one, with final=True")
    ends = _closure(plan.final, backward)
    for state in plan.states:
        if state not in ends:
            raise DefinitionError(f"{what}: from state {state!r} no final state can be reached: give it a way out")


def _ways(ways: Iterable[Way], *, back: bool = False) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for way in ways:
        if way.to is not None:
            one, other = (way.to, way.source) if back else (way.source, way.to)
            found.setdefault(one, set()).add(other)
    return found


def _closure(states: Iterable[str], ways: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    frontier = list(states)
    while frontier:
        state = frontier.pop()
        if state not in found:
            found.add(state)
            frontier.extend(ways.get(state, ()))
    return found


def _require_taken(plan: MachinePlan, what: str) -> None:
    for number, way in enumerate(plan.ways):
        for earlier in plan.ways[:number]:
            if _hides(earlier, way):
                raise DefinitionError(
                    f"{what}: a transition of {way.what} is never taken, since one before it always is: put it first, "
                    "or give the other one a condition"
                )
        sooner = (other for other in plan.ways if other is not way and _comes_first(other, way))
        if (first := next(sooner, None)) is not None:
            raise DefinitionError(
                f"{what}: {way.what} {_length(way)} is never taken, since the state is left after {_length(first)}: "
                "leave it out, or give the other one a condition"
            )


def _length(way: Way) -> timedelta:
    return timedelta(milliseconds=way.after or 0)


def _hides(earlier: Way, way: Way) -> bool:
    """Whether ``way`` is never taken because ``earlier`` always is, on whatever it would be."""
    if (earlier.source, earlier.trigger, earlier.event, earlier.after) != (
        way.source,
        way.trigger,
        way.event,
        way.after,
    ):
        return False
    everybody = not earlier.roles or (bool(way.roles) and set(way.roles) <= set(earlier.roles))
    return earlier.when is None and everybody and (way.after is None or earlier.to is not None)


def _comes_first(other: Way, way: Way) -> bool:
    """Whether ``other`` always leads out of the state before the time of ``way`` has come."""
    if way.after is None or other.after is None or other.source != way.source:
        return False
    return other.after < way.after and other.when is None and other.to is not None

"""Diagrams: a machine, or a run of it with where it is, as a Mermaid state diagram."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from kernel.define.diagram import STYLES, duration, name_of_function, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel.define.diagram import Progress
    from kernel.define.machine_plan import MachinePlan, Way


class Whereabouts(Protocol):
    """Where a run is, as ``RunView`` says it."""

    @property
    def status(self) -> str:
        """Where the run stands."""

    @property
    def state(self) -> str:
        """The state that it is in, or has left last."""

    @property
    def transition(self) -> str:
        """The transition whose work is under way."""

    @property
    def stages(self) -> Iterable[Progress]:
        """The stages of the state or transition."""


def state_diagram(plan: MachinePlan, title: str, run: Whereabouts | None = None) -> str:
    """The text of a diagram, for anything that draws Mermaid.

    Args:
        plan: the machine.
        title: stands above it.
        run: whose progress is drawn in.
    """
    lines = ["---", f"title: {quoted(title)}", "---", "stateDiagram-v2", "    direction TB"]
    names = {id_: f"s{number}" for number, id_ in enumerate(plan.states, start=1)}
    works = dict(plan.works())
    here = None if run is None else run.transition or run.state
    at_work = [] if run is None else [f"{each.stage}: {each.status}" for each in run.stages]
    for id_, name in names.items():
        work = works.get(id_)
        runs = [] if work is None else [f"runs {' then '.join(work.placed)}"]
        lines.append(f"    state {quoted(id_, *runs, *(at_work if here == id_ else ()))} as {name}")
    lines.append(f"    [*] --> {names[plan.start]}")
    for number, (id_, way) in enumerate(plan.named().items(), start=1):
        lines += _way(f"t{number}", way, names, at_work if here == id_ else None)
    lines += (f"    {names[id_]} --> [*]" for id_ in plan.final)
    if run is not None and here in names:
        status = "waiting" if run.status == "running" and not at_work else run.status
        lines.append(f"    classDef here {STYLES.get(status, STYLES['running'])}")
        lines.append(f"    class {names[here]} here")
    return "\n".join(lines) + "\n"


def _way(name: str, way: Way, names: dict[str, str], at_work: list[str] | None) -> Iterator[str]:
    """A transition; with the work between its states, as a place of its own."""
    source, to = names[way.source], names[way.source if way.to is None else way.to]
    label = _escaped(" ".join(_label(way)))
    if way.work is None:
        yield f"    {source} --> {to} : {label}"
        return
    runs = f"runs {' then '.join(way.work.placed)}"
    yield f"    state {quoted(runs, *(at_work or ()))} as {name}"
    yield f"    {source} --> {name} : {label}"
    yield f"    {name} --> {to}"
    if at_work is not None:
        yield f"    classDef between {STYLES['running']}"
        yield f"    class {name} between"


def _label(way: Way) -> Iterator[str]:
    yield f"after {duration(timedelta(milliseconds=way.after))}" if way.after is not None else way.trigger
    if way.when is not None:
        yield f"[{name_of_function(way.when) or 'on a condition'}]"
    if way.roles:
        yield f"by {' or '.join(way.roles)}"
    if way.to is None:
        yield "(stays)"


def _escaped(text: str) -> str:
    """A label ends at none of its characters: of names, ids and roles only a role may hold a colon."""
    return text.replace(":", "#58;")

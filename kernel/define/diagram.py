"""Diagrams: a workflow, or a run of it with how far it has come, as a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from kernel.core.definition import RUN_INPUT
from kernel.core.events import COMPENSATE
from kernel.define.plan import Placed, Timer, Wait
from kernel.define.shape import name_of

if TYPE_CHECKING:
    from kernel.define.plan import Plan

STYLES: Mapping[str, str] = {
    "completed": "fill:#dcfce7,stroke:#15803d,color:#14532d",
    "running": "fill:#dbeafe,stroke:#1d4ed8,color:#1e3a8a,stroke-width:3px",
    "retrying": "fill:#fef9c3,stroke:#a16207,color:#713f12",
    "sleeping": "fill:#e0e7ff,stroke:#4338ca,color:#312e81",
    "waiting": "fill:#ede9fe,stroke:#6d28d9,color:#4c1d95",
    "suspended": "fill:#ede9fe,stroke:#6d28d9,color:#4c1d95",
    "failed": "fill:#fee2e2,stroke:#b91c1c,color:#7f1d1d,stroke-width:3px",
    "skipped": "fill:#f3f4f6,stroke:#9ca3af,color:#6b7280,stroke-dasharray:4 3",
    "scheduled": "fill:#f0f9ff,stroke:#0369a1,color:#0c4a6e",
    "expired": "fill:#ffedd5,stroke:#c2410c,color:#7c2d12",
}
"""How a stage looks in each status; one that has not begun is left as the renderer has it."""


class Progress(Protocol):
    """How far a stage of a run has come, as ``StageView`` says it."""

    @property
    def stage(self) -> str:
        """Its id."""

    @property
    def status(self) -> str:
        """Where it stands."""

    @property
    def attempt(self) -> int:
        """The number of the latest attempt; 0 before the first."""

    @property
    def progress(self) -> float | None:
        """As last reported."""


def flowchart(plan: Plan, title: str, progress: Iterable[Progress] = ()) -> str:
    """The text of a diagram, for anything that draws Mermaid.

    Args:
        plan: the workflow.
        title: stands above it.
        progress: of a run's stages; those that have not begun are left out of it.
    """
    shown = {each.stage: each for each in progress}
    names = {id_: f"s{number}" for number, id_ in enumerate(plan.steps, start=1)} | {RUN_INPUT: "input"}
    lines = ["---", f"title: {quoted(title)}", "---", "flowchart TD"]
    lines.append(f"    input([{quoted(name_of(plan.input))}])")
    for id_, step in plan.steps.items():
        held = {source for gate in step.gates for source in plan.steps[gate].sources}  # what leads to its timer
        leading = [names[source] for source in (*dict.fromkeys(step.sources), *step.gates) if source not in held]
        lines += (f"    {line}" for line in _step(names[id_], id_, step, leading, shown))
    result = ", ".join(name_of(plan.gives(source)) for source in plan.current)
    lines.append(f"    result([{quoted(result)}])")
    lines += (f"    {names[source]} --> result" for source in plan.gates or plan.current)
    used = {each.status for each in shown.values()}
    lines += (f"    classDef {status} {style}" for status, style in STYLES.items() if status in used)
    return "\n".join(lines) + "\n"


def _step(
    name: str, id_: str, step: Placed | Timer | Wait, leading: Iterable[str], shown: Mapping[str, Progress]
) -> Iterator[str]:
    """A stage, a timer or a wait, what leads to it, and what undoes it."""
    progress = shown.get(id_)
    if not isinstance(step, Placed):
        left, right = ("{{", "}}") if isinstance(step, Timer) else ("[/", "/]")
        yield _node(name, (*_wait(step), *_progress(progress)), progress, left, right)
        yield from (f"{source} --> {name}" for source in leading)
        return
    undo, undone = step.stage.options.compensate, shown.get(COMPENSATE + id_)
    yield _node(name, (id_, *_details(step), *_progress(progress)), progress)
    arrow = "-->" if step.condition is None else f"-->|{quoted(_condition(step))}|"
    yield from (f"{source} {arrow} {name}" for source in leading)
    if undo is not None:
        yield _node(f"{name}u", (undo.__name__, *_progress(undone)), undone)
        yield f"{name} -. undone by .-> {name}u"


def _node(name: str, label: Iterable[str], shown: Progress | None, left: str = "[", right: str = "]") -> str:
    style = f":::{shown.status}" if shown is not None and shown.status in STYLES else ""
    return f"{name}{left}{quoted(*label)}{right}{style}"


def _wait(step: Timer | Wait) -> Iterator[str]:
    if isinstance(step, Wait):
        yield f"wait for {' or '.join(event.__name__ for event in step.events)}"
        if step.match is not None:
            yield f"if {name_of_function(step.match) or 'it matches'}"
        if step.timeout is not None:
            yield f"for {duration(step.timeout)} at most"
        return
    match step.until:
        case timedelta() as length:
            yield f"sleep {duration(length)}"
        case datetime() as instant:
            yield f"sleep until {instant.isoformat(sep=' ', timespec='seconds')}"
        case when:
            yield f"sleep until {name_of_function(when) or 'a time'}"


def _details(placed: Placed) -> Iterator[str]:
    """What is not as it is in most stages."""
    options = placed.stage.options
    if options.at_most_once:
        yield "at most once"
    if options.every is not None and options.limit is not None:
        yield f"checked every {duration(options.every)}"
        yield f"for {duration(options.limit)} at most"


def _progress(shown: Progress | None) -> Iterator[str]:
    if shown is None:
        return
    percent = "" if shown.progress is None else f", {shown.progress:.0%}"
    again = "" if shown.attempt <= 1 else f", attempt {shown.attempt}"
    yield f"{shown.status}{percent}{again}"


def _condition(placed: Placed) -> str:
    name = name_of_function(placed.condition)
    return f"if {name}" if name else "on a condition"


def name_of_function(function: object) -> str:
    """Its name, if it has one that says anything."""
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() else ""


def duration(length: timedelta) -> str:
    """It, in the largest unit that it is a whole number of."""
    seconds = length.total_seconds()
    for unit, lasts in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if seconds >= lasts and seconds % lasts == 0:
            return f"{seconds / lasts:g} {unit}"
    return f"{seconds:g} s"


def quoted(*lines: str) -> str:
    """A text that Mermaid takes for nothing else; of several lines."""
    return f'"{"<br/>".join(line.translate(_ENTITIES) for line in lines)}"'


_ENTITIES = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;"})

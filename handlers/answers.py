"""What operations answer with. Times are milliseconds since the epoch; what is not said is left out."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from kernel.core.definition import Available
from kernel.core.events import AnyEvent
from kernel.shell.read import LogEntry, RunView


class StartedRun(Struct, frozen=True):
    """A run that exists now; ``replay`` if the same start had been asked for before."""

    run: str
    workflow: str
    version: int
    status: str
    replay: bool


class RunAnswer(RunView, frozen=True, omit_defaults=True):
    """A run, with its result once it is completed: one value, or a list where several stages end it.

    Attributes:
        output: the result.
        output_omitted: size in bytes of a result that is too large for an answer.
    """

    output: Raw | UnsetType = UNSET
    output_omitted: int = 0


class ListedRun(Struct, frozen=True):
    """A run in a list."""

    run: str
    workflow: str
    version: int
    status: str
    created: int


class RunList(Struct, frozen=True):
    """A page of runs, newest first; ``cursor`` leads to the next one, if there is more."""

    runs: list[ListedRun]
    cursor: str | None


class LogPage(Struct, frozen=True):
    """A page of a run's log; ``after`` leads to the next one, if there is more."""

    entries: list[LogEntry]
    after: int | None


class Step(Struct, frozen=True):
    """A commit, and the run as it left it."""

    seq: int
    at: int
    events: tuple[AnyEvent, ...]
    state: RunView


class StepPage(Struct, frozen=True):
    """A page of the fold of a run's log; ``after`` leads to the next one, if there is more."""

    steps: list[Step]
    after: int | None


class DeadLetter(Struct, frozen=True):
    """An event that could not be published."""

    seq: int
    index: int
    at: int
    error: str
    event: Raw


class DeadLetterList(Struct, frozen=True):
    """The oldest hundred dead letters of a run; and what is wrong with those of them that cannot be read."""

    dead_letters: list[DeadLetter]
    unreadable: list[str]


class Replayed(Struct, frozen=True):
    """How many dead letters were published, and whether that were all."""

    published: int
    clean: bool


class VersionInfo(Struct, frozen=True):
    """A version of a workflow: its stages in order, names of presets, and JSON Schemas of its input and events."""

    version: int
    fingerprint: str
    stages: list[str]
    presets: list[str]
    input: dict[str, Any]
    events: dict[str, dict[str, Any]]


class AvailableEvents(Struct, frozen=True):
    """The events that a run can take as it stands."""

    events: list[Available]


class WorkflowInfo(Struct, frozen=True):
    """A workflow of this deployment; runs start with the latest version unless they ask for another."""

    id: str
    latest: int
    versions: list[VersionInfo]


class WorkflowList(Struct, frozen=True):
    """The workflows of this deployment."""

    workflows: list[WorkflowInfo]


class Diagram(Struct, frozen=True):
    """A picture of a workflow, or of a run of it with its progress, as a Mermaid diagram."""

    workflow: str
    version: int
    mermaid: str


class Health(Struct, frozen=True):
    """The table answers."""

    status: Literal["ok"]

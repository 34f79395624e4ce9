"""The scenarios leave nothing out: every command, every event and every operation, before any blow strikes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest

from handlers.direct import COMMANDS
from handlers.operations import Operations
from kernel.core.commands import Command
from kernel.core.decide import decide
from kernel.core.events import AnyEvent
from kernel.ports import Guard
from kernel.shell import commit
from tests.crashes.histories import Trial
from tests.crashes.scenarios import SCENARIOS


def test_every_command_event_operation_and_guard_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: set[type[Any]] = set()
    operations: set[str] = set()
    events: set[type[Any]] = set()
    guards: set[Guard] = set()

    def decided(definition: Any, state: Any, command: Any, *more: Any) -> Any:
        decision = decide(definition, state, command, *more)
        commands.add(type(command))
        return decision

    def noted(operation: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            operations.add(operation.__name__)
            return operation(*given, **named)

        return called

    monkeypatch.setattr(commit, "decide", decided)
    for _, operation in COMMANDS.values():
        monkeypatch.setattr(Operations, operation.__name__, noted(operation))

    for scenario in SCENARIOS.values():
        found = Trial(scenario).undisturbed
        events |= {type(event) for event in found.events}
        for line in found.trace:
            for each in line.call.arguments:
                guards |= _guards(each)

    assert commands == set(get_args(Command))
    assert events == set(get_args(AnyEvent))
    assert operations == {operation.__name__ for _, operation in COMMANDS.values()}
    assert guards == set(Guard)


def _guards(argument: Any) -> set[Guard]:
    """The guards in an argument of a call: itself, that of a change, or those of a transaction's puts."""
    if isinstance(argument, list):
        parts = [each for each in argument if isinstance(each, tuple)]
        return {guard for *_, guard in parts if isinstance(guard, Guard)}
    found = argument if isinstance(argument, Guard) else getattr(argument, "guard", None)
    return {found} if isinstance(found, Guard) else set()

"""Guards of machines: by what they move on, what they leave behind, and what is recorded of their data."""

from __future__ import annotations

from kernel.testing.simulator.breaks.taking import part

MACHINE = "kernel.core.machine:Machine"
EVOLVE = "kernel.core.evolve"

_FORGET_ALL_BUT_TIMERS = """\
for id_ in [id_ for id_ in state.stages if state.stages[id_].status is not StageStatus.SLEEPING]:
        del state.stages[id_]
        state.active.pop(id_, None)"""

MOVES = (
    part(
        "left-is-stale",
        "What was under way in a state that was left comes to nothing.",
        ("stale-cannot-commit", "recorded-is-immutable"),
        (f"{EVOLVE}:_state_entered", "_forget(state)", "pass"),
    ),
    part(
        "departed-is-stale",
        "What was under way in a state that was left for the work of a transition comes to nothing.",
        ("stale-cannot-commit", "timers-fire-once"),
        (f"{EVOLVE}:_transition_started", "_forget(state)", "pass"),
    ),
    part(
        "left-timers",
        "A timer of a state that was left never fires.",
        ("timers-fire-once", "stale-cannot-commit"),
        (
            f"{EVOLVE}:_forget",
            "state.stages.clear()\n    state.active.clear()",
            _FORGET_ALL_BUT_TIMERS,
        ),
    ),
    part(
        "visits-apart",
        "What a state runs once more when it is entered again has another key.",
        "keys-tell-visits-apart",
        (f"{EVOLVE}:_forget", "state.redone.get(stage, 0) + 1", "state.redone.get(stage, 0)"),
    ),
    part(
        "event-in-state",
        "A machine takes an event only where its state declares it.",
        "transitions-fit",
        (f"{MACHINE}._of", "each.source == source and ", ""),
    ),
    part(
        "event-or-refused",
        "An event that no transition is taken on is refused.",
        "applied-once",
        ("kernel.core.decide:_require_taken", "if command.event in state.events:", "if False:"),
    ),
    part(
        "event-waits",
        "An event that comes while a machine is between two states waits.",
        "transitions-fit",
        (f"{MACHINE}.require_event", "raise Later", 'raise Conflict("not now")'),
    ),
    part(
        "roles",
        "A transition is taken only for who has one of its roles.",
        "transitions-fit",
        ("kernel.core.machine:_allows", "return ", "return True or "),
    ),
    part(
        "roles-asked",
        "Whoever has no role for an event is told so only if that is so.",
        "transitions-fit",
        ("kernel.core.machine:_allows", "not transition.roles or ", ""),
    ),
    part(
        "transition-condition",
        "A transition is taken only if its condition holds.",
        "transitions-fit",
        (f"{MACHINE}._taken", "if each.when is not None and not each.when(values, event):", "if False:"),
    ),
    part(
        "first-that-fits",
        "Of several transitions that fit the first is taken.",
        "transitions-fit",
        (f"{MACHINE}._first", "for each in transitions:", "for each in reversed(list(transitions)):"),
    ),
    part(
        "work-is-done",
        "A machine moves on by the work of its state only once that is done.",
        ("transitions-fit", "no-unexpected-error"),
        (f"{MACHINE}.settle", " or not work.ids.isdisjoint(state.active)", ""),
    ),
    part(
        "transition-quota",
        "A machine takes no more transitions than it may.",
        "transitions-fit",
        (f"{MACHINE}._taken", ".taken >= self._quota", ".taken > self._quota"),
    ),
    part(
        "final-ends",
        "A machine in a final state is complete.",
        "transitions-fit",
        (f"{MACHINE}._entered", "if spec.final:", "if False:"),
    ),
    part(
        "timers-are-set",
        "What a state waits for begins when it is entered.",
        "timers-fire-once",
        (f"{MACHINE}._entered", "return (*work, *self._timers(state))", "return work"),
    ),
    part(
        "timers-are-set-again",
        "A machine that is retried waits for all that its state waits for.",
        "timers-fire-once",
        (f"{MACHINE}._resume", "(*begun, *self._timers(state))", "begun"),
    ),
    part(
        "update-is-recorded",
        "What a transition makes of the data is recorded.",
        "data-is-as-computed",
        (f"{MACHINE}._taken", "None if each.update is None else each.update(values, event)", "None"),
    ),
    part(
        "result-is-recorded",
        "What is made of the data once the work of a transition is done is recorded.",
        "data-is-as-computed",
        (f"{MACHINE}._arrive", "None if taken.finish is None else taken.finish(values)", "None"),
    ),
    part(
        "data-is-the-latest",
        "Functions are given the data as the last transition left it.",
        ("data-is-as-computed", "no-unexpected-error"),
        (f"{EVOLVE}:_moved_on", "_place(state).seq if event.data is None else state.seq", "_place(state).seq"),
    ),
    part(
        "unreadable-is-no-answer",
        "A machine whose data cannot be read just now is left as it is.",
        "order-holds",
        (f"{MACHINE}._guarded", "LogError, ", ""),
    ),
)
"""How machines move."""

"""How a run ends, is undone and goes on again: what may be the end of what."""

from __future__ import annotations

from kernel.core.definition import Strategy
from kernel.core.events import (
    COMPENSATE,
    CompensationStarted,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunReopened,
)
from kernel.testing.simulator.books import HELD, Books


def undoing(books: Books, event: CompensationStarted, when: int) -> None:
    """A run is undone because a stage that says so has failed, or because a workflow that says so was cancelled."""
    expected = books.to_undo()
    if list(event.stages) != expected:
        books.fail("order-holds", f"{event.stages} are undone, not {expected}")
    if event.cancelled is not None:
        if not books.definition.undo_on_cancel:
            books.fail("what-is-to-be-undone-is", "a cancelled run is undone, though its workflow does not say so")
    elif not any(Strategy.COMPENSATE in strategies for strategies in books.failed()):
        books.fail("what-is-to-be-undone-is", "a run is undone, though no stage has failed that says so")
    books.undo = event.stages
    books.cancelled = event.cancelled is not None
    if books.cancelled:
        books.goes_on(when)
    for stage in books.stages.values():
        if stage.status in HELD:
            stage.status = "left"


def ends(books: Books, event: RunCompleted | RunFailed | RunCancelled, when: int, *, timers: bool) -> None:
    """A run completes with every stage; it fails because a stage has, or at its deadline; it is undone before that."""
    books.over = True
    books.goes_on(when)
    match event:
        case RunCompleted():
            if books.cancelled:
                books.fail("cancel-wins-whole", "a cancelled run completes")
            stages = (id_ for id_ in books.definition.stages if not id_.startswith(COMPENSATE))
            left = [id_ for id_ in stages if not books.passed(id_)]
            if books.moves is not None:
                books.moves.completes()
                left = []
            if left:
                books.fail("order-holds", f"the run completes without {', '.join(left)}")
        case RunFailed() if event.error.kind == "DeadlineExceeded":
            if timers and when < books.deadline:
                early = books.deadline - when
                books.fail("timers-are-never-early", f"the run is failed {early} ms before its deadline")
        case _ if books.undo is not None:
            if books.undone != len(books.undo):
                books.fail("what-is-to-be-undone-is", f"the run ends with {books.undone} of {books.undo} undone")
            if books.cancelled is not isinstance(event, RunCancelled):
                books.fail("cancel-wins-whole", f"{event} ends a run that was undone for another reason")
        case _:
            _nothing_to_undo(books, event)


def _nothing_to_undo(books: Books, event: RunFailed | RunCancelled) -> None:
    """A run ends at once: it was cancelled, or a stage has failed, and nothing says that it is to be undone."""
    failed = books.failed()
    if isinstance(event, RunCancelled):
        promised = books.definition.undo_on_cancel
    elif any(failed):
        promised = all(Strategy.COMPENSATE in strategies for strategies in failed)
    elif books.moves is not None and books.moves.may_fail(event.error):
        return
    else:
        books.fail("order-holds", f"the run fails, though no stage has: {event.error.kind}: {event.error.message}")
    if promised and books.to_undo():
        books.fail("what-is-to-be-undone-is", f"{type(event).__name__}, and nothing of {books.done} is undone")


def reopened(books: Books, event: RunReopened) -> None:
    """A run that is over goes on in a new generation."""
    if not books.over:
        books.fail("cancel-wins-whole", "a run that goes on was reopened")
    _resets(books, event)
    if books.moves is not None:
        books.moves.reopened()
        if not event.reason:
            books.fail("transitions-fit", "a machine goes on from another place than where it is")
    books.over = books.cancelled = False
    books.deadline = event.deadline
    books.undo, books.undone = None, 0
    for id_ in event.reset:
        books.stages.pop(id_, None)
        if taken := books.taken.pop(id_, None):
            books.spent.add(taken)
    books.done = [id_ for id_ in books.done if id_ not in event.reset]


def _resets(books: Books, event: RunReopened) -> None:
    """What has an outcome that stands is kept: all but what depends on what has none, or on one named stage."""
    stages = {id_: stage for id_, stage in books.stages.items() if stage.status and not id_.startswith(COMPENSATE)}
    undone = {id_.removeprefix(COMPENSATE) for id_ in books.stages if id_.startswith(COMPENSATE)}
    needed = books.closure({id_ for id_ in stages if id_ in undone or not books.passed(id_)})
    wanted = books.closure({id_ for id_ in stages if id_ in undone or not books.surely_passed(id_)})
    reset = {id_ for id_ in event.reset if not id_.startswith(COMPENSATE)}
    if missing := (needed & stages.keys()) - reset:
        books.fail("recorded-is-immutable", f"{sorted(missing)} have no outcome that stands, and are not run again")
    extra = reset - wanted
    named = not event.reason  # who retries gives a reason here, who reruns from a stage gives none
    if extra and not (named and any(extra <= books.closure({id_}) for id_ in extra)):
        books.fail("recorded-is-immutable", f"{sorted(extra)} have an outcome that stands, and are run again")

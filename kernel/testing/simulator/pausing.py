"""Pauses: nothing of a run begins, starts, is checked or fires while it is paused, and none ends too early."""

from __future__ import annotations

from kernel.core.events import (
    AnyEvent,
    RunPaused,
    StageChecked,
    StageCompleted,
    StageFailed,
    StageScheduled,
    StageSkipped,
    StageStarted,
    StateEntered,
    TimerFired,
    TimerSet,
)
from kernel.ports import Commit
from kernel.testing.simulator.books import Books

PEOPLE = "api"
"""Who writes what somebody has asked for."""


def holds(books: Books, event: AnyEvent) -> None:
    """What happens may happen in a run that is paused: what was running may end, and what follows be made ready."""
    if books.paused is None:
        return
    match event:
        case StageChecked(stage=id_) if books.spec(id_).callback:
            pass  # a third party is not paused: it says that it is still at work
        case StageStarted(stage=id_) | StageChecked(stage=id_) | TimerFired(timer=id_):
            books.fail("paused-is-paused", f"{id_} starts, is checked or fires in a paused run: {event}")
        case StageCompleted(answer=answer) | StageFailed(answer=answer) if answer:
            pass  # nor is what it says lost
        case StageCompleted(stage=id_) | StageFailed(stage=id_) if books.of(id_).status == "suspended":
            books.fail("paused-is-paused", f"{id_} is checked in a paused run: {event}")
        case StageScheduled() | StageSkipped() | StageFailed() | TimerSet() | StateEntered() if not books.begun:
            books.fail("paused-is-paused", f"a paused run begins: {event}")
        case _:
            pass


def pauses(books: Books, event: RunPaused, commit: Commit, when: int) -> None:
    """A run that goes on is paused."""
    if books.paused is not None:
        books.fail("paused-is-paused", "a paused run is paused")
    if books.undo is not None:
        books.fail("paused-is-paused", "a run is paused that is being undone")
    books.paused = when
    books.resumes = None if event.until is None else when + event.until - commit.at


def resumes(books: Books, commit: Commit, when: int, *, timers: bool) -> None:
    """A paused run goes on: because somebody asked for it, or since its time has come."""
    if books.paused is None:
        books.fail("paused-is-paused", "a run is resumed that is not paused")
    if commit.by != PEOPLE:
        if books.resumes is None:
            books.fail("timers-are-never-early", "a run is resumed by itself that nobody wanted to be")
        early = books.resumes - when
        if timers and early > 0:
            books.fail("timers-are-never-early", f"the end of a pause is {early} ms early")
    books.goes_on(when)

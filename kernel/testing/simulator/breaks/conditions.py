"""The conditions of writes."""

from __future__ import annotations

from kernel.ports import Guard
from kernel.testing.simulator.breaks.taking import condition

CONDITIONS = (
    condition(Guard.RUN_IS_NEW, "A start creates a run once, whatever is repeated.", "accepted-is-kept"),
    condition(Guard.COMMIT_IS_NEXT, "A commit takes a number that is free.", "one-commit-per-number"),
    condition(Guard.SNAPSHOT_FORWARD, "A slow writer never takes the snapshot backwards.", "snapshots-go-forward"),
    condition(Guard.EVENT_IS_NEW, "An external event is accepted once, whatever is repeated.", "accepted-is-kept"),
    condition(Guard.EVENT_IS_OPEN, "An external event is settled once.", "applied-once"),
    condition(Guard.KEY_AS_SEEN, "No two runs under way have the same business key.", "one-run-per-key"),
    condition(Guard.DUE_AS_SEEN, "Two ticks do not do the same work.", "one-look-at-a-time"),
    condition(Guard.SLEEP_IS_LATEST, "A late sleeper hides no run.", "no-run-is-forgotten"),
    condition(Guard.WAKE_IS_NEWER, "A frozen waker changes nothing.", "no-run-is-forgotten"),
    condition(Guard.FINALISE_IS_LATEST, "A late finaliser hides no run that was reopened.", "no-run-is-forgotten"),
    condition(Guard.CURSOR_AS_SEEN, "The outbox cursor never goes backwards.", "cursor-never-goes-back"),
    condition(Guard.STATUS_AS_SEEN, "A finished run is never shown as parked.", "status-is-true"),
)

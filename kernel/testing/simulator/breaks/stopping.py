"""Guards of workers that are told to stop: what they still begin, what they hand back, and whose it is."""

from __future__ import annotations

from kernel.testing.simulator.breaks.taking import part

ATTEND = "kernel.shell.attend:_Worker"
HAND_BACK = "kernel.shell.hand_back"

STOPPING = (
    part(
        "stops-beginning",
        "A worker that was told to stop begins no further stage, and pokes others for it.",
        "who-stops-begins-nothing",
        (f"{ATTEND}._may_begin", " and not self.stopping()", ""),
    ),
    part(
        "worker-signs",
        "A commit says which worker made it.",
        "commits-tell-their-worker",
        (f"{ATTEND}._commit", "by=self.by", 'by="worker"'),
    ),
    part(
        "hand-back-own",
        "A worker hands back its own attempts, and nobody else's.",
        "timers-are-never-early",
        (f"{HAND_BACK}:_given", " or claim.by != by", ""),
    ),
    part(
        "hand-back-poke",
        "Others are poked for what is handed back.",
        "timers-are-hardly-late",
        (f"{HAND_BACK}:hand_back", "if given and session.state.paused is None:", "if False:"),
    ),
    part(
        "result-comes-first",
        "A result that is committed before its attempt is handed back stays.",
        "no-unexpected-error",
        (f"{HAND_BACK}:_given", "except Stale:", "except MemoryError:"),
    ),
    part(
        "given-up-counts",
        "An attempt whose lease ran out, or that was handed back, counts.",
        "attempts-are-bounded",
        (
            "kernel.core.evolve:_lease_expired",
            "replace(state.stages[event.stage], status=StageStatus.EXPIRED, at=0)",
            (
                "replace(state.stages[event.stage], status=StageStatus.EXPIRED, at=0, "
                "attempt=state.stages[event.stage].attempt - 1)"
            ),
        ),
    ),
)
"""Who goes, and how."""

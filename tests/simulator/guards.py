"""For each guard that can be taken away, a seed at which that shows."""

from __future__ import annotations

from kernel.testing.simulator.breaks import BREAKS

SEEDS = {
    "run-is-new": 0,
    "commit-is-next": 0,
    "snapshot-forward": 462,
    "due-as-seen": 0,
    "sleep-is-latest": 131,
    "wake-is-newer": 171,
    "finalise-is-latest": 61,
    "cursor-as-seen": 2,
    "status-as-seen": 692,
    "attempt-fence": 1,
    "check-fence": 0,
    "deadline-fence": 1732,
    "sleep-fence": 1319,
    "close-fence": 1474,
    "cancel-fence": 0,
    "cut-off": 490,
    "attempt-limit": 1,
    "commit-token": 0,
    "start-digest": 14,
    "wake-first": 0,
    "recovery-poke": 4,
    "publish-first": 2,
    "sign-of-life": 61,
    "timer-skew": 110,
    "lease-before-body": 44,
    "fits-the-invocation": 21,
}
"""Found by ``python -m bench.simulate --break <guard>``."""

BY_SEED = {name: (guard, SEEDS[name]) for name, guard in BREAKS.items()}

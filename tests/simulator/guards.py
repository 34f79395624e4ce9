"""For each guard that can be taken away, a seed at which that shows."""

from __future__ import annotations

from kernel.testing.simulator.breaks import BREAKS

SEEDS = {
    "run-is-new": 0,
    "commit-is-next": 0,
    "snapshot-forward": 51,
    "due-as-seen": 0,
    "sleep-is-latest": 33,
    "wake-is-newer": 202,
    "finalise-is-latest": 11,
    "cursor-as-seen": 5,
    "status-as-seen": 154,
    "attempt-fence": 1,
    "check-fence": 0,
    "deadline-fence": 1027,
    "sleep-fence": 979,
    "close-fence": 614,
    "cancel-fence": 5,
    "cut-off": 675,
    "attempt-limit": 1,
    "commit-token": 5,
    "start-digest": 0,
    "wake-first": 1,
    "publish-first": 2,
    "sign-of-life": 110,
    "timer-skew": 28,
    "lease-before-body": 4,
    "fits-the-invocation": 17,
}
"""Found by ``python -m bench.simulate --break <guard>``."""

BY_SEED = {name: (guard, SEEDS[name]) for name, guard in BREAKS.items()}

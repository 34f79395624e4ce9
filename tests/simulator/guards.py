"""For each guard that can be taken away, a seed at which that shows."""

from __future__ import annotations

from kernel.testing.simulator.breaks import BREAKS

SEEDS = {
    "run-is-new": 0,
    "commit-is-next": 2,
    "snapshot-forward": 5,
    "due-as-seen": 4,
    "sleep-is-latest": 33,
    "wake-is-newer": 21,
    "finalise-is-latest": 92,
    "cursor-as-seen": 5,
    "status-as-seen": 245,
    "attempt-fence": 21,
    "check-fence": 19,
    "deadline-fence": 1027,
    "sleep-fence": 643,
    "close-fence": 1014,
    "cancel-fence": 5,
    "cut-off": 675,
    "attempt-limit": 1,
    "commit-token": 2,
    "start-digest": 0,
    "wake-first": 5,
    "publish-first": 4,
    "sign-of-life": 4,
    "timer-skew": 626,
    "lease-before-body": 4,
    "fits-the-invocation": 17,
}
"""Found by ``python -m bench.simulate --break <guard>``, without the examples among the workflows."""

BY_SEED = {name: (guard, SEEDS.get(name, 0)) for name, guard in BREAKS.items()}

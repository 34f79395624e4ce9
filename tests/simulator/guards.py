"""For each guard that can be taken away, a seed at which that shows.

    python -m tests.simulator.guards                     # look for all of them anew, and print them
    python -m tests.simulator.guards cut-off begin-fence

Whatever changes what happens in histories changes the seeds: the kernel as well as the simulator.
"""

from __future__ import annotations

import json
import subprocess
import sys

from kernel.testing.simulator.breaks import BREAKS

SEEDS = {
    "run-is-new": 0,
    "commit-is-next": 0,
    "snapshot-forward": 10,
    "due-as-seen": 1,
    "sleep-is-latest": 21,
    "wake-is-newer": 53,
    "finalise-is-latest": 16,
    "cursor-as-seen": 0,
    "status-as-seen": 83,
    "attempt-fence": 423,
    "reaped-fence": 1087,
    "ended-fence": 16,
    "check-fence": 393,
    "begin-fence": 59,
    "deadline-fence": 460,
    "expire-fence": 418,
    "sleep-fence": 854,
    "close-fence": 1467,
    "cancel-fence": 1,
    "undo-fence": 1943,
    "cut-off": 1344,
    "reopen-fence": 23,
    "attempt-limit": 6,
    "at-most-once": 4,
    "join-waits": 1,
    "failed-stops": 90,
    "left-out-begins": 669,
    "failed-is-told": 4,
    "end-is-last": 0,
    "undo-on-failure": 7,
    "undo-on-cancel": 64,
    "undo-has-its-code": 722,
    "undo-in-reverse": 7,
    "undo-waits": 324,
    "undo-drops": 293,
    "undo-starts-nothing": 324,
    "undone-runs-again": 172,
    "undoing-is-forgotten": 172,
    "commit-time": 0,
    "timer-skew": 33,
    "retry-time": 7,
    "check-time": 0,
    "commit-token": 6,
    "creation-token": 0,
    "claim-token": 1,
    "start-digest": 0,
    "expired-key": 580,
    "value-key": 6,
    "values-first": 6,
    "wake-first": 4,
    "sleep-last": 6,
    "forget-what-is-gone": 46,
    "publish-first": 12,
    "publish-in-order": 15,
    "settled-is-settled": 38,
    "bury-first": 1,
    "announced-is-closed": 67,
    "deadline-by-tick": 23,
    "recovery-poke": 6,
    "sign-of-life": 34,
    "lease-time": 45,
    "lease-end": 19,
    "tick-skew": 1079,
    "lease-before-body": 13,
    "lease-from-before": 13,
    "fits-the-invocation": 30,
    "gaps-are-seen": 386,
    "snapshots-are-spare": 705,
    "gone-is-gone": 6,
    "pinned-code": 32,
    "pinned-version": 4,
    "condition-may-throw": 1,
    "one-bad-run": 10,
    "rerun-of-what": 1,
    "listed-by-tenant": 161,
    "reason-limit": 0,
    "run-id": 80,
    "tenant-name": 0,
}
"""Found by ``python -m bench.simulate --break <guard>``."""

BY_SEED = {name: (guard, SEEDS[name]) for name, guard in BREAKS.items()}


def main() -> int:
    """Print a seed for each guard that is named, or for all; the exit status is 1 if one is not missed."""
    missed = True
    for name in sys.argv[1:] or BREAKS:
        command = [sys.executable, "-m", "bench.simulate", "--break", name, "--json"]
        figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)
        missed = missed and figures["caught"]
        print(f'    "{name}": {figures["seed"]},', flush=True)  # noqa: T201 - a table for a person
    return 0 if missed else 1


if __name__ == "__main__":
    sys.exit(main())

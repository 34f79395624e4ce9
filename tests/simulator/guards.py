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
    "sleep-is-latest": 75,
    "wake-is-newer": 59,
    "finalise-is-latest": 53,
    "cursor-as-seen": 0,
    "status-as-seen": 254,
    "attempt-fence": 220,
    "reaped-fence": 1176,
    "ended-fence": 20,
    "check-fence": 53,
    "begin-fence": 59,
    "deadline-fence": 53,
    "expire-fence": 33,
    "sleep-fence": 26,
    "timer-fence": 28,
    "close-fence": 1137,
    "cancel-fence": 1,
    "undo-fence": 329,
    "cut-off": 788,
    "reopen-fence": 23,
    "attempt-limit": 10,
    "at-most-once": 4,
    "join-waits": 1,
    "failed-stops": 33,
    "left-out-begins": 110,
    "failed-is-told": 1,
    "end-is-last": 0,
    "undo-on-failure": 7,
    "undo-on-cancel": 108,
    "undo-has-its-code": 108,
    "undo-in-reverse": 7,
    "undo-waits": 741,
    "undo-drops": 181,
    "undo-starts-nothing": 741,
    "undone-runs-again": 108,
    "undoing-is-forgotten": 172,
    "commit-time": 0,
    "timer-skew": 33,
    "retry-time": 1,
    "check-time": 0,
    "timer-time": 32,
    "commit-token": 6,
    "creation-token": 0,
    "claim-token": 1,
    "start-digest": 0,
    "expired-key": 241,
    "value-key": 16,
    "values-first": 6,
    "wake-first": 1,
    "sleep-last": 17,
    "forget-what-is-gone": 46,
    "publish-first": 0,
    "publish-in-order": 15,
    "settled-is-settled": 47,
    "bury-first": 1,
    "announced-is-closed": 27,
    "deadline-by-tick": 23,
    "recovery-poke": 0,
    "sign-of-life": 55,
    "lease-time": 86,
    "lease-end": 24,
    "tick-skew": 1079,
    "lease-before-body": 26,
    "lease-from-before": 26,
    "fits-the-invocation": 25,
    "gaps-are-seen": 529,
    "snapshots-are-spare": 82,
    "gone-is-gone": 1,
    "pinned-code": 6,
    "pinned-version": 5,
    "condition-may-throw": 1,
    "one-bad-run": 5,
    "rerun-of-what": 1,
    "listed-by-tenant": 161,
    "reason-limit": 0,
    "run-id": 80,
    "tenant-name": 0,
}
"""Found by ``python -m bench.simulate --break <guard>``."""

BY_SEED = {name: (guard, SEEDS.get(name, 0)) for name, guard in BREAKS.items()}


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

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
    "snapshot-forward": 341,
    "event-is-new": 127,
    "event-is-open": 11,
    "key-as-seen": 3,
    "due-as-seen": 1,
    "sleep-is-latest": 81,
    "wake-is-newer": 28,
    "finalise-is-latest": 48,
    "cursor-as-seen": 0,
    "status-as-seen": 92,
    "attempt-fence": 1014,
    "reaped-fence": 1256,
    "ended-fence": 20,
    "check-fence": 84,
    "begin-fence": 35,
    "deadline-fence": 423,
    "expire-fence": 59,
    "sleep-fence": 26,
    "receive-fence": 4,
    "timer-fence": 36,
    "callback-attempt": 298,
    "callback-limit": 381,
    "callback-cut-off": 208,
    "heartbeat-fence": 595,
    "close-fence": 954,
    "cancel-fence": 3,
    "undo-fence": 348,
    "cut-off": 208,
    "reopen-fence": 0,
    "attempt-limit": 10,
    "at-most-once": 16,
    "paused-begin": 99,
    "paused-claim": 125,
    "paused-chain": 50,
    "paused-check": 55,
    "paused-timer": 281,
    "pause-fence": 319,
    "pause-once": 0,
    "resume-fence": 0,
    "end-pause-fence": 44,
    "cancel-ends-pause": 0,
    "end-ends-pause": 42,
    "join-waits": 1,
    "failed-stops": 142,
    "left-out-begins": 110,
    "failed-is-told": 1,
    "end-is-last": 0,
    "undo-on-failure": 36,
    "undo-on-cancel": 0,
    "undo-has-its-code": 677,
    "undo-in-reverse": 0,
    "undo-waits": 181,
    "undo-drops": 0,
    "undo-starts-nothing": 121,
    "undone-runs-again": 144,
    "undoing-is-forgotten": 490,
    "commit-time": 0,
    "timer-skew": 624,
    "retry-time": 0,
    "check-time": 8,
    "timer-time": 32,
    "pause-time": 0,
    "commit-token": 6,
    "creation-token": 4,
    "claim-token": 1,
    "start-digest": 0,
    "expired-key": 580,
    "callback-secret": 23,
    "callback-once": 30,
    "value-key": 10,
    "values-first": 0,
    "wake-first": 0,
    "sleep-last": 3,
    "forget-what-is-gone": 46,
    "key-goes-last": 58,
    "key-of-its-own": 13,
    "key-of-a-run-under-way": 5,
    "key-is-taken-over": 3,
    "key-with-the-reopening": 5,
    "publish-first": 0,
    "publish-in-order": 15,
    "settled-is-settled": 24,
    "bury-first": 0,
    "announced-is-closed": 67,
    "deadline-by-tick": 6,
    "recovery-poke": 0,
    "pause-end-by-tick": 257,
    "status-sleeps": 0,
    "status-is-latest": 81,
    "sign-of-life": 83,
    "lease-time": 22,
    "lease-end": 34,
    "tick-skew": 1079,
    "lease-before-body": 0,
    "lease-from-before": 0,
    "fits-the-invocation": 25,
    "gaps-are-seen": 529,
    "snapshots-are-spare": 705,
    "gone-is-gone": 6,
    "pinned-code": 6,
    "pinned-version": 5,
    "condition-may-throw": 1,
    "one-bad-run": 1,
    "rerun-of-what": 1,
    "listed-by-tenant": 572,
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

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
    "event-is-new": 1221,
    "event-is-open": 13,
    "key-as-seen": 3,
    "due-as-seen": 1,
    "sleep-is-latest": 81,
    "wake-is-newer": 28,
    "finalise-is-latest": 48,
    "cursor-as-seen": 10,
    "status-as-seen": 142,
    "attempt-fence": 222,
    "reaped-fence": 11,
    "ended-fence": 6,
    "check-fence": 331,
    "begin-fence": 35,
    "deadline-fence": 423,
    "expire-fence": 123,
    "sleep-fence": 193,
    "receive-fence": 4,
    "timer-fence": 36,
    "callback-attempt": 298,
    "callback-limit": 381,
    "callback-cut-off": 109,
    "heartbeat-fence": 1765,
    "close-fence": 1605,
    "cancel-fence": 2,
    "undo-fence": 348,
    "cut-off": 109,
    "reopen-fence": 85,
    "attempt-limit": 10,
    "at-most-once": 16,
    "paused-begin": 328,
    "paused-claim": 393,
    "paused-chain": 57,
    "paused-check": 55,
    "paused-timer": 1096,
    "pause-fence": 33,
    "pause-once": 0,
    "resume-fence": 0,
    "end-pause-fence": 339,
    "cancel-ends-pause": 2325,
    "end-ends-pause": 42,
    "join-waits": 1,
    "failed-stops": 142,
    "left-out-begins": 1240,
    "failed-is-told": 1,
    "end-is-last": 0,
    "undo-on-failure": 36,
    "undo-on-cancel": 33,
    "undo-has-its-code": 1420,
    "undo-in-reverse": 144,
    "undo-waits": 33,
    "undo-drops": 33,
    "undo-starts-nothing": 41,
    "undone-runs-again": 144,
    "undoing-is-forgotten": 490,
    "commit-time": 0,
    "timer-skew": 624,
    "retry-time": 0,
    "check-time": 8,
    "timer-time": 0,
    "pause-time": 0,
    "commit-token": 6,
    "creation-token": 4,
    "claim-token": 1,
    "start-digest": 0,
    "expired-key": 646,
    "callback-secret": 150,
    "callback-once": 117,
    "value-key": 6,
    "values-first": 0,
    "wake-first": 1,
    "sleep-last": 3,
    "forget-what-is-gone": 46,
    "key-goes-last": 39,
    "key-of-its-own": 13,
    "key-of-a-run-under-way": 5,
    "key-is-taken-over": 3,
    "key-with-the-reopening": 39,
    "publish-first": 0,
    "publish-in-order": 15,
    "settled-is-settled": 24,
    "bury-first": 1,
    "announced-is-closed": 5,
    "deadline-by-tick": 23,
    "recovery-poke": 0,
    "pause-end-by-tick": 257,
    "status-sleeps": 0,
    "status-is-latest": 81,
    "sign-of-life": 58,
    "lease-time": 90,
    "lease-end": 3,
    "tick-skew": 1776,
    "lease-before-body": 85,
    "lease-from-before": 85,
    "fits-the-invocation": 39,
    "stops-beginning": 203,
    "worker-signs": 5,
    "hand-back-own": 131,
    "hand-back-poke": 74,
    "result-comes-first": 194,
    "given-up-counts": 10,
    "gaps-are-seen": 529,
    "snapshots-are-spare": 475,
    "gone-is-gone": 17,
    "pinned-code": 106,
    "pinned-version": 22,
    "condition-may-throw": 1,
    "one-bad-run": 1,
    "rerun-of-what": 1,
    "listed-by-tenant": 572,
    "reason-limit": 0,
    "run-id": 835,
    "tenant-name": 0,
    "left-is-stale": 79,
    "event-or-refused": 13,
    "roles": 21,
    "first-that-fits": 75,
    "transition-quota": 13,
    "result-is-recorded": 21,
    "visits-apart": 11,
    "event-in-state": 84,
    "transition-condition": 6,
    "final-ends": 10,
    "timers-are-set-again": 109,
    "unreadable-is-no-answer": 355,
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

"""Signals of a worker: heard whatever the main thread is doing at that moment."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import os, signal, sys, threading, time
from hosts.worker.signals import Signals

signals = Signals()
signals.install(member=sys.argv[1] == "member")
main = threading.get_ident()

early = False

def shower():
    global early
    for _ in range(3000):
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(0.0002)
    time.sleep(0.2)
    early = signals.hurry.is_set()
    signal.pthread_kill(main, signal.SIGUSR1 if sys.argv[1] == "member" else signal.SIGTERM)

threading.Thread(target=shower, daemon=True).start()
signals.stop.wait()
end = time.monotonic() + 20
while time.monotonic() < end and not signals.hurry.is_set():
    signals.hurry.wait(0.0001)
    signals.stop.wait(0.0001)
print(signals.stop.is_set(), signals.hurry.is_set(), early, flush=True)
os._exit(0)
"""


def child(kind: str) -> str:
    done = subprocess.run([sys.executable, "-c", CHILD, kind], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()[-1]


def test_a_shower_of_signals_stops_a_worker_and_hurries_it_and_never_wedges_it() -> None:
    assert child("alone").startswith("True True")


def test_the_member_of_several_hurries_only_when_its_supervisor_says_so() -> None:
    """A platform may signal all processes at once, and the supervisor tells them to stop as well."""
    assert child("member") == "True True False"

"""The first code of a function's process, in place of Lambda's /var/runtime/bootstrap.

Run by path, isolated: `python -I -S -B bootstrap.py HANDLER FOLDER...`, the folders being those of the function's
code, its layers and the runtime client. The process sees them and the standard library, and nothing that happens to be
installed beside the interpreter: what a package leaves out is missing here as it would be in Lambda. It ends when its
owner does, however that ends: then standard input is at its end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def main(handler: str, *folders: str) -> None:
    """Serve invocations until the Runtime API is gone."""
    owner = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with, args=(owner,), name="owner", daemon=True).start()
    sys.path[:0] = folders
    from awslambdaric.__main__ import main as serve  # noqa: PLC0415 - is on the path only now

    serve(["awslambdaric", handler])


def _end_with(owner: int) -> None:
    # Signals are the main thread's: a stage's time limit is one.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while os.read(owner, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)  # at once, whatever the handler is doing


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The Lambda package for this machine, as `make artefact` builds it, of the code as it is."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARTEFACT = ROOT / "build" / "lambda"


def built() -> Path:
    """The folder with the package; made first where it is not there, or older than the code."""
    ARTEFACT.parent.mkdir(exist_ok=True)
    # What make tells those that it starts would have this one take its options.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    with (ARTEFACT.parent / "artefact.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes may ask at the same time
        made = subprocess.run(
            ["make", "artefact"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    assert made.returncode == 0, made.stdout
    compiled = ARTEFACT / "handlers" / "__pycache__" / f"job.{sys.implementation.cache_tag}.pyc"
    assert compiled.is_file(), f"{ARTEFACT} is for another Python than {sys.version}: run the tests by .venv's"
    return ARTEFACT

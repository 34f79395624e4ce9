"""Both checkers infer what ``accepts.py`` asserts and reject just the marked lines of ``rejects.py``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

_MARK = re.compile(r"  # type: ignore\[.*")


def mypy(folder: Path) -> set[tuple[str, int]]:
    """The lines of a folder's files that ``mypy --strict`` reports."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={folder / 'cache'}", "."],
        cwd=folder,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    found = re.findall(r"^(\w+)\.py:(\d+): error", done.stdout, re.MULTILINE)
    assert found or "Success" in done.stdout, done.stdout
    return {(name, int(line)) for name, line in found}


def pyright(folder: Path) -> set[tuple[str, int]]:
    """The lines of a folder's files that pyright reports in its strict mode."""
    config = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "reportUnusedFunction": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "."],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"], done.stdout
    return {
        (Path(each["file"]).stem, each["range"]["start"]["line"] + 1)
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_exactly_the_marked_lines_are_rejected_and_every_asserted_type_is_inferred(
    checker: Callable[[Path], set[tuple[str, int]]], tmp_path: Path
) -> None:
    (tmp_path / "accepts.py").write_text((HERE / "accepts.py").read_text())
    lines = (HERE / "rejects.py").read_text().splitlines()
    # Without the marks, so that a checker cannot be silenced by them.
    (tmp_path / "rejects.py").write_text("\n".join(_MARK.sub("", line) for line in lines) + "\n")
    marked = {("rejects", number) for number, line in enumerate(lines, 1) if _MARK.search(line)}

    assert len(marked) >= 40
    assert checker(tmp_path) == marked

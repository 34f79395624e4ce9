"""The folder that stands for Lambda's /var/runtime: the runtime client with what it needs, and nothing else."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from hosts.engines.environment import EngineMissing

CLIENT = "awslambdaric"


def runtime_folder(into: Path) -> Path:
    """Link the runtime client of this interpreter's environment, and its dependencies, into a new folder.

    Args:
        into: the folder to make. The links are its only content, so it is removed as easily as it was made.

    Returns:
        The same folder.

    Raises:
        EngineMissing: the runtime client is not installed.
    """
    into.mkdir(parents=True)
    for name in _with_dependencies(CLIENT):
        for file in distribution(name).files or ():
            top = into / file.parts[0]
            if file.parts[0] not in {"..", "__pycache__"} and not top.exists():
                top.symlink_to(Path(str(distribution(name).locate_file(file.parts[0]))).resolve())
    return into


def _with_dependencies(name: str) -> set[str]:
    try:
        required = distribution(name).requires or []
    except PackageNotFoundError as error:
        raise EngineMissing(f"{name} is not installed beside this Python: run `make setup`") from error
    found = {name}
    for requirement in required:
        if "extra ==" not in requirement:
            found |= _with_dependencies(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    return found

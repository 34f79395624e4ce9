"""What of a lock goes into the artefact: what is for the function's platform, whichever machine builds it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from tests.artefact import ROOT

LOCK = """\
# made by a tool ; not a requirement
anyio==4.9.0 \\
    --hash=sha256:aa \\
    --hash=sha256:ab
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:ba
backport==1.0 ; python_full_version < '3.13' and platform_machine == 'aarch64' \\
    --hash=sha256:ca
six==1.17.0
"""


@pytest.fixture(scope="module")
def applicable() -> Callable[[str, str, str], str]:
    spec = importlib.util.spec_from_file_location("artefact_script", ROOT / "scripts" / "artefact.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    chosen: Callable[[str, str, str], str] = module.applicable
    return chosen


@pytest.mark.parametrize(
    ("version", "machine", "names"),
    [
        ("3.12", "aarch64", ["anyio==4.9.0", "backport==1.0", "six==1.17.0"]),
        ("3.12", "x86_64", ["anyio==4.9.0", "six==1.17.0"]),
        ("3.13", "aarch64", ["anyio==4.9.0", "six==1.17.0"]),
    ],
)
def test_markers_are_read_for_the_functions_platform(
    applicable: Callable[[str, str, str], str], version: str, machine: str, names: list[str]
) -> None:
    lines = applicable(LOCK, version, machine).splitlines()

    assert [line.split(" ")[0] for line in lines if line[0] not in "# "] == names
    assert not any(";" in line for line in lines[1:])


def test_every_hash_stays_with_its_requirement(applicable: Callable[[str, str, str], str]) -> None:
    text = applicable(LOCK, "3.12", "aarch64").replace("\\\n", "")

    assert [line.split() for line in text.splitlines()[1:]] == [
        ["anyio==4.9.0", "--hash=sha256:aa", "--hash=sha256:ab"],
        ["backport==1.0", "--hash=sha256:ca"],
        ["six==1.17.0"],
    ]


def test_a_lock_without_markers_is_taken_as_it_is(applicable: Callable[[str, str, str], str]) -> None:
    lock = (ROOT / "requirements" / "runtime.txt").read_text()

    assert applicable(lock, "3.13", "aarch64") == lock

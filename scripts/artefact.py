"""Builds the folder that runs in Lambda: this repository's packages, the locked wheels, and their bytecode.

Run by the Makefile (`make artefact`, `make build`, and through it `sam build`). It needs nothing but the
standard library and pip. Three things here are worth their lines, all for the cold start:

- Wheels come from the lock that pyproject.toml names, for the function's platform, not this machine's.
- botocore keeps only the services that pyproject.toml lists: the first client of a process lists all of their
  folders.
- Bytecode is compiled as `unchecked-hash`. SAM's own Python builder strips bytecode, and bytecode that
  remembers a source's time is rejected once the zip has set every time to 1980: each cold start would compile
  everything anew.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from pip._vendor.packaging.markers import Marker  # the build has nothing else that can read them

ROOT = Path(__file__).resolve().parent.parent
TASK_ROOT = "/var/task"  # where Lambda unpacks a function, so what tracebacks should show
# Lambda's name of an architecture: the wheels' name of it.
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
# The C library of the runtimes: Amazon Linux 2 up to Python 3.11, Amazon Linux 2023 from 3.12 on.
GLIBC_MINOR = {"3.11": 26}
GLIBC_MINOR_DEFAULT = 34


class BuildError(Exception):
    """The artefact cannot be built; the message says what to do."""


def main() -> int:
    """Parse the command line, build, and answer with an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder to build; replaced when it exists")
    parser.add_argument("--runtime", default="python3.13", help="the function's runtime (default: %(default)s)")
    parser.add_argument("--arch", choices=sorted(MACHINES), default="arm64", help="the function's architecture")
    parser.add_argument("--host", action="store_true", help="for this interpreter and platform, and read-only")
    choice = parser.parse_args()
    try:
        if choice.host:
            build(choice.into, version=None, arch=None)
        else:
            build(choice.into, version=choice.runtime.removeprefix("python"), arch=choice.arch)
    except BuildError as error:
        print(f"artefact: {error}", file=sys.stderr)
        return 1
    return 0


def build(into: Path, *, version: str | None, arch: str | None) -> None:
    """Build into a folder beside `into` and move it there when it is whole.

    Args:
        into: the finished artefact; an older one is replaced.
        version: minor version of the runtime, as in "3.13"; None for the interpreter that runs this.
        arch: Lambda's name of the architecture; None for this machine.

    Raises:
        BuildError: a wheel is missing, or a setting is wrong.
    """
    settings = _settings()
    into = into.resolve()
    into.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".artefact-", dir=into.parent))
    try:
        scratch.chmod(0o755)
        _install_wheels(ROOT / settings["lock"], scratch, version, arch)
        _trim(scratch, settings["aws-services"])
        _copy_packages(scratch, settings["packages"], settings["exclude"])
        compiled = _compile(scratch, version, shown_as=str(into) if version is None else TASK_ROOT)
        if version is None:
            _make_read_only(scratch)
        _replace(scratch, into)
    finally:
        _remove(scratch)
    size = sum(file.stat().st_size for file in into.rglob("*") if file.is_file())
    state = "with bytecode" if compiled else "WITHOUT bytecode"
    print(f"artefact: {_shown(into)}, {size / 1e6:.1f} MB, {state}")


def _settings() -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    table: dict[str, Any] = project["tool"]["onewrite"]["artefact"]
    return table


def _copy_packages(target: Path, packages: list[str], exclude: list[str]) -> None:
    left_out = {(ROOT / path).resolve() for path in exclude}

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {
            name
            for name in names
            if name in {"__pycache__", "tests"} or name.endswith((".pyc", ".pyi")) or Path(folder, name) in left_out
        }

    for package in packages:
        source = ROOT / package
        if not (source / "__init__.py").is_file():
            raise BuildError(f"{package}/, listed in pyproject.toml (tool.onewrite.artefact), is no package")
        shutil.copytree(source, target / package, ignore=ignored)


def _install_wheels(lock: Path, target: Path, version: str | None, arch: str | None) -> None:
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    command += ["--no-input", "--root-user-action=ignore", "--target", str(target)]
    command += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile", "-r", str(lock)]
    if version is not None and arch is not None:
        machine = MACHINES[arch]
        chosen = target / "lock.txt"
        chosen.write_text(applicable(lock.read_text(), version, machine))
        command[-1] = str(chosen)
        glibc = GLIBC_MINOR.get(version, GLIBC_MINOR_DEFAULT)
        tags = [
            f"manylinux2014_{machine}",
            *(f"manylinux_2_{minor}_{machine}" for minor in range(17, glibc + 1)),
        ]
        command += ["--implementation", "cp", "--python-version", version]
        command += [word for tag in tags for word in ("--platform", tag)]
    done = subprocess.run(command, check=False, cwd=ROOT)
    (target / "lock.txt").unlink(missing_ok=True)
    if done.returncode:
        raise BuildError(
            "pip could not install the locked wheels (its own message is above); "
            "needed: a way to a package index, and pip 23 or later"
        )


def applicable(lock: str, version: str, machine: str) -> str:
    """What of a lock is for the function's platform, without its environment markers.

    pip would evaluate them for this machine, whatever platform it installs for, and choose wrongly in silence.
    """
    platform_of_function = {
        "implementation_name": "cpython",
        "implementation_version": f"{version}.0",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{version}.0",
        "python_version": version,
        "sys_platform": "linux",
    }
    kept: list[str] = []
    applies = True
    for line in lock.splitlines():
        text = line
        if line[:1].strip() and not line.startswith("#"):  # a requirement; its hashes are indented
            requirement, _, marker = line.removesuffix("\\").partition(" ;")
            applies = not marker or Marker(marker).evaluate(platform_of_function)
            text = requirement.rstrip() + (" \\" if line.endswith("\\") else "")
        if applies:
            kept.append(text)
    return "\n".join(kept) + "\n"


def _trim(target: Path, services: list[str]) -> None:
    """Drop what no function reads: scripts, stubs, examples, and the models of services that are not used."""
    shutil.rmtree(target / "bin", ignore_errors=True)
    shutil.rmtree(target / "boto3" / "examples", ignore_errors=True)
    for pattern in ("*.pyi", "examples-1.json*", "completions-1.json*"):
        for file in [found for found in target.rglob(pattern) if found.is_file()]:
            file.unlink()
    if services == ["*"]:
        return
    models = target / "botocore" / "data"
    unknown = sorted(name for name in services if not (models / name).is_dir())
    if unknown:
        raise BuildError(f"botocore does not know {', '.join(unknown)} (aws-services in pyproject.toml)")
    # Files beside the folders (endpoints, partitions, retry rules) are common to all services and stay.
    for folder in (models, target / "boto3" / "data"):
        for service in folder.iterdir():
            if service.is_dir() and service.name not in services:
                shutil.rmtree(service)


def _compile(target: Path, version: str | None, *, shown_as: str) -> bool:
    """Compile everything by the runtime's own minor version: another one's bytecode is ignored there."""
    interpreter = sys.executable if version is None else _interpreter(version)
    if interpreter is None:
        rule = "!" * 100
        print(
            f"{rule}\n"
            f"!! Bytecode was NOT precompiled: no Python {version} here (looked on PATH, at uv and pyenv).\n"
            f"!! The artefact works, but every cold start compiles it anew: about three times as slow.\n"
            f"!! Install Python {version} (for example `uv python install {version}`) and build again.\n"
            f"{rule}",
            file=sys.stderr,
        )
        return False
    command = [interpreter, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(target), "-p", shown_as, str(target)]
    if subprocess.run(command, check=False).returncode:
        raise BuildError("a module does not compile (compileall's message is above)")
    return True


def _interpreter(version: str) -> str | None:
    """Find an interpreter of that minor version; a shim that refuses to run does not count."""
    candidates = [sys.executable, shutil.which(f"python{version}")]
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", version], capture_output=True, text=True, check=False)
        candidates.append(found.stdout.strip())
    pyenv = Path.home() / ".pyenv" / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"{version}*/bin/python{version}"), reverse=True)]
    probe = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        answer = subprocess.run([candidate, "-I", "-c", probe], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip() == f"cpython {version}":
            return candidate
    return None


def _make_read_only(target: Path) -> None:
    """Take the write bits away, as in Lambda: nothing can be compiled there behind a bench's back."""
    for path in [*target.rglob("*"), target]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def _replace(source: Path, target: Path) -> None:
    _remove(target)
    mode = source.stat().st_mode
    source.chmod(0o755)  # a folder that is moved must be writable, its ".." changes
    source.rename(target)
    target.chmod(mode)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        for path in [folder, *(found for found in folder.rglob("*") if found.is_dir())]:
            path.chmod(0o755)
        shutil.rmtree(folder)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    if platform.system() == "Windows":
        sys.exit("artefact: build on Linux or macOS (or in WSL)")
    sys.exit(main())

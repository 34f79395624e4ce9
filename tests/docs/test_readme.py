"""The examples of the pages run and type-check, and everything that the pages name exists."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from aws_lambda_powertools import Logger

from handlers.api import Api
from handlers.direct import START
from handlers.openapi import document
from handlers.operations import Operations
from handlers.problems import _KINDS
from infra.settings import Settings
from kernel import ports
from kernel.core import state
from kernel.core.events import AnyEvent
from kernel.ports import Guard
from kernel.shell.heads import COARSE
from kernel.shell.tick import Counts
from onewrite.testing import Play
from tests.docs.pages import (
    DOCS,
    PAGES,
    README,
    ROOT,
    anchors,
    commands,
    examples,
    fences,
    files,
    links,
    name_of,
    spans,
)
from workflows.examples import registry

WITH_EXAMPLES = (README, *(DOCS / f"{name}.md" for name in ("workflows", "waiting", "machines", "locks")))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)


# --- the examples ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=WITH_EXAMPLES, ids=name_of)
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that a page's examples make."""
    return made(request.param, tmp_path_factory.mktemp("project"))


def made(page: Path, folder: Path) -> Path:
    """Write the files that a page's examples make."""
    for name, code in files(page).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
    if (folder / "workflows").is_dir():
        (folder / "workflows" / "examples").symlink_to(ROOT / "workflows" / "examples")
    return folder


def run(project: Path, *command: str, **variables: str) -> str:
    """Run a module over a project; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def path_of(project: Path) -> str:
    return os.pathsep.join((str(project), str(ROOT)))


def test_the_examples_run(project: Path) -> None:
    options = ("-q", "-p", "no:cacheprovider", "-o", "addopts=", "-W", "error", "--import-mode=importlib")
    output = run(project, "pytest", *options, "--rootdir=.", ".", PYTHONPATH=path_of(project))

    assert re.search(r"\d+ passed", output), output


def test_the_examples_are_typed(project: Path) -> None:
    output = run(
        project,
        *("mypy", "--strict", "--config-file=", "--python-version=3.11", "--cache-dir=cache"),
        *sorted(str(file.relative_to(project)) for file in project.rglob("*.py") if "examples" not in file.parts),
        MYPYPATH=path_of(project),
    )

    assert "Success" in output


def test_the_registry_of_the_readme_is_what_the_setting_leads_to(tmp_path: Path) -> None:
    project = made(README, tmp_path)
    lines = (
        "from infra import compose",
        "from infra.settings import Settings",
        "settings = Settings(workflows='workflows:registry', table_name='t', queue_url='q')",
        "print(*(each.id for each in compose.registry(settings)))",
    )

    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=project,
        env={"PYTHONPATH": path_of(project)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == [
        "approval",
        "media",
        "onboarding",
        "order",
        "shipment",
        "subscription",
        "trip",
    ]


@EVERY_PAGE
def test_every_example_is_a_piece_of_a_file_that_is_run(page: Path) -> None:
    if page in WITH_EXAMPLES:
        assert [each.code for each in examples(page) if not each.file] == []
    else:
        assert examples(page) == []


@EVERY_PAGE
def test_what_is_quoted_stands_in_the_file_that_it_is_from(page: Path) -> None:
    for each in examples(page):
        if each.quoted:
            assert each.code in (ROOT / each.file).read_text(encoding="utf-8"), each.code


def test_the_files_of_the_readme_are_the_ones_that_it_names() -> None:
    named = set(spans(README))
    assert set(files(README)) <= named


# --- what the pages name --------------------------------------------------------------------------------


@EVERY_PAGE
def test_every_target_of_make_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    known = set(re.findall(r"^([a-z][a-z-]*):.*##", makefile, re.MULTILINE))

    for line in commands(page):
        if re.match(r"(GUARD=\S+ )?make [a-z]", line):
            words = line.partition("#")[0].partition("make ")[2].split()
            targets = {word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)}
            assert targets <= known, line


@EVERY_PAGE
def test_every_module_that_is_run_exists(page: Path) -> None:
    for line in commands(page):
        for module in re.findall(r"python3? -m ([\w.]+)", line):
            assert importlib.util.find_spec(module), line


@EVERY_PAGE
def test_every_command_of_the_local_host_exists(page: Path) -> None:
    pytest.importorskip("typer", reason="a part of the extra `local`")
    cli = importlib.import_module("hosts.local.cli")
    known = {each.name or each.callback.__name__ for each in cli.app.registered_commands}

    for line in commands(page):
        for command in re.findall(r"hosts\.local ([a-z]+)", line):
            assert command in known, line


@EVERY_PAGE
def test_every_path_exists(page: Path) -> None:
    made_by_readers = {*files(README), "tests/workflows/", "tests/workflows", "build/lambda"}
    folders = "onewrite|kernel|infra|handlers|hosts|workflows|bench|tests|docs|scripts|requirements"

    for span in spans(page):
        if re.fullmatch(rf"({folders})(/[\w.-]+)*/?", span) and "/" in span and span not in made_by_readers:
            assert (ROOT / span).exists(), span


@EVERY_PAGE
def test_every_name_of_our_own_can_be_imported(page: Path) -> None:
    for span in spans(page):
        if re.fullmatch(r"(onewrite|kernel|infra|handlers|hosts|bench)(\.\w+)+", span) and span != START:
            assert resolves(span), span


def resolves(dotted: str) -> bool:
    """Whether it is a module, or something in one."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            if attribute == "handler":  # made when it is asked for, of an environment that is not here
                return hasattr(found, "make_handler")
            found = getattr(found, attribute, None)
        return found is not None
    return False


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in links(page):
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


@EVERY_PAGE
def test_no_path_of_anybodys_machine(page: Path) -> None:
    assert not re.findall(r"/(?:work|root|home|Users)/\S*", page.read_text(encoding="utf-8"))


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {path for path, _ in links(README)}
    assert {name_of(page) for page in PAGES if page != README} <= linked


@EVERY_PAGE
def test_every_json_is_json(page: Path) -> None:
    for block in fences(page, "json"):
        assert json.loads(block), block


# --- what must not be left out --------------------------------------------------------------------------


def operations() -> str:
    return (DOCS / "operations.md").read_text(encoding="utf-8")


def test_every_setting_is_described_with_its_default_and_bounds() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|(.*)$", operations(), re.MULTILINE))
    read = inspect.getsource(Settings.from_env)

    for name, default in zip(Settings.__struct_fields__, _defaults(), strict=True):
        if name == "localstack_host":  # not a variable of its own
            continue
        row = rows[name.upper()]
        if isinstance(default, bool):
            assert f"`{default:d}`" in row, row
        elif isinstance(default, int):
            bounds = re.search(rf'"{name.upper()}", (\S+), (\S+), default=(\d+)', read)
            assert bounds is not None
            low, high, value = (int(each.replace("_", "")) for each in bounds.groups())
            assert value == default
            assert row.startswith(f" {value:,} | {low:,} to {high:,} |"), row
        elif isinstance(default, str):
            assert (f"`{default}`" if default else " required |") in row, row
    for name in ("LOCALSTACK_HOST", "LOCALSTACK_HOSTNAME", "EDGE_PORT", "LOCALSTACK", "AWS_ENDPOINT_URL", "LOG_LEVEL"):
        assert f"`{name}`" in operations(), name


def _defaults() -> list[object]:
    given = Settings.__struct_defaults__
    required = len(Settings.__struct_fields__) - len(given)
    return [None] * required + list(given)


def template() -> dict[str, Any]:
    """template.yaml, with its short functions as plain text."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda _loader, suffix, node: f"!{suffix} {node.value}")
    found: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader)  # noqa: S506 - a SafeLoader
    return found


def test_every_parameter_and_output_of_the_template_is_described() -> None:
    found = template()
    for name in (*found["Parameters"], *found["Outputs"]):
        assert f"`{name}`" in operations(), name


def test_every_route_of_the_openapi_document_is_described() -> None:
    described = set(re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", operations(), re.MULTILINE))
    found = _document()
    routes = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}

    assert routes == described


def _document() -> dict[str, Any]:
    settings = Settings(workflows="workflows:registry", table_name="t", queue_url="q")
    api = Api(settings, Operations(Play(registry=registry).env, registry), Logger(), rest=False)
    return document(api._app, "")


def test_every_problem_status_count_and_stage_status_is_described() -> None:
    text = operations()
    for status, (kind, _) in _KINDS.items():
        assert re.search(rf"^\| {status} \|.*`{kind}`", text, re.MULTILINE), kind
    words = {*state.RunStatus, *state.StageStatus, *COARSE, *Counts.__struct_fields__}
    for word in words:
        assert f"`{word}`" in text, word


def test_every_guard_is_described() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for guard in Guard:
        assert re.search(rf"^\| `{guard.value}` \|", text, re.MULTILINE), guard


def test_every_kind_of_item_is_described() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for key in (ports.HEAD, ports.SNAPSHOT, ports.LOG, ports.DATA, ports.LIVE, ports.DEAD):
        assert f"`{key}" in text, key


def test_every_event_is_described() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for event in get_args(AnyEvent):
        assert f"`{event.__name__}`" in text, event


def test_every_dependency_is_described() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *(each for extra in project["project"]["optional-dependencies"].values() for each in extra),
        *(each for group in project["dependency-groups"].values() for each in group),
    ]
    text = (DOCS / "dependencies.md").read_text(encoding="utf-8")

    described = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))

    assert described == {re.split(r"[\[<>=~!; ]", each)[0] for each in wanted}

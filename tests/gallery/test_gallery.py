"""The gallery itself: every test of it is an entry, no entry hangs twice, and the list can be printed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.gallery.__main__ import entries, main

FILES = [path for path in sorted(Path(__file__).parent.glob("test_*.py")) if path != Path(__file__)]


def test_every_test_of_the_gallery_is_an_entry() -> None:
    tests = [
        (f"tests.gallery.{path.stem}", node.name)
        for path in FILES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [(entry.module, entry.test) for entry in entries()] == tests
    assert tests


def test_no_trap_and_no_test_is_there_twice() -> None:
    gallery = entries()
    for names in ([entry.text for entry in gallery], [entry.test for entry in gallery]):
        assert len(names) == len(set(names))


def test_every_entry_says_whose_it_is_and_what_went_wrong_in_a_sentence() -> None:
    for entry in entries():
        assert entry.system.strip(), entry
        assert all(number > 0 for number in entry.numbers), entry
        assert entry.text.endswith("."), entry
        assert len(entry.text.split()) >= 4, entry
        assert len(entry.test.split("_")) >= 8, f"a sentence that says what cannot happen: {entry.test}"


def test_an_entry_is_one_test_and_counts_once() -> None:
    """With parameters it would count for each of them."""
    for path in FILES:
        assert "parametrize" not in path.read_text(), path.name


def test_the_list_names_every_entry_with_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gallery"])

    main()

    printed = " ".join(capsys.readouterr().out.split())
    for entry in entries():
        assert f"{entry.source}: {entry.text} -> {entry.test}" in printed


def test_an_argument_is_refused_since_it_would_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gallery", "nonsense"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2

"""A world outside in which nothing has happened yet, and in which nobody has to wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from workflows.examples.outside import VARIABLE, World, warehouse


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "world.jsonl"))
    monkeypatch.setattr(warehouse, "HEAVY_SECONDS", 0.0)
    return World(tmp_path / "world.jsonl")

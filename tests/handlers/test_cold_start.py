"""What a cold start loads: the tick runs no user code, so it must not pay for any."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import sys, handlers.{handler}; print(*(name for name in {names} if name in sys.modules))"


def loaded(handler: str, *names: str) -> list[str]:
    script = LOADED.format(handler=handler, names=names)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_tick_loads_neither_pydantic_nor_any_workflow() -> None:
    assert loaded("tick", "pydantic", "workflows", "onewrite", "kernel.define") == []


@pytest.mark.parametrize("handler", ["job", "tick", "intake"])
def test_importing_a_handler_composes_nothing(handler: str) -> None:
    """Without a single setting: it is ``handler`` that asks for them, when Lambda first looks it up."""
    assert loaded(handler, "workflows") == []

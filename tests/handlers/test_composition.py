"""How handlers come to be: when first asked for, from the environment, with one error that lists everything wrong."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from kernel.errors import SettingsError

MODULES = ["handlers.intake", "handlers.job", "handlers.tick"]
ENVIRONMENT = {
    "WORKFLOWS": "tests.handlers.shop:registry",
    "TABLE_NAME": "onewrite",
    "QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/onewrite-pokes",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = importlib.import_module(request.param)
    monkeypatch.delitem(vars(found), "handler", raising=False)
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    return found


def test_a_handler_is_composed_when_it_is_first_asked_for(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    handler = module.handler

    assert callable(handler)
    assert module.handler is handler
    monkeypatch.delitem(vars(module), "handler")


def test_a_deployment_that_is_set_up_wrong_fails_before_its_first_event(module: ModuleType) -> None:
    with pytest.raises(SettingsError) as raised:
        _ = module.handler

    for name in ("WORKFLOWS", "TABLE_NAME", "QUEUE_URL"):
        assert name in str(raised.value)


def test_a_module_has_no_other_lazy_names(module: ModuleType) -> None:
    with pytest.raises(AttributeError, match="'nope'"):
        _ = module.nope


def test_the_document_costs_nothing_until_somebody_asks_for_it() -> None:
    """A cold start that has to be fast must not build what few requests need."""
    late = ["handlers.openapi", "aws_lambda_powertools.event_handler.openapi.models", "boto3"]
    code = f"import sys, handlers.intake; print([name for name in {late!r} if name in sys.modules])"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"

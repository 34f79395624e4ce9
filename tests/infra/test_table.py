"""What template.yaml deploys is what the code expects: the table, and a variable for each setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.dynamodb import table
from infra.settings import Settings

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (``!Ref``, ``!Sub``) as what stands behind them."""


def _short_form(loader: _Loader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _short_form)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return dict(yaml.load(TEMPLATE.read_text(), _Loader))  # noqa: S506  # a safe loader, with short forms


def _sorted(entries: list[Any], name: str) -> list[Any]:
    return sorted(entries, key=lambda entry: str(entry[name]))


def test_the_template_deploys_the_table_that_the_tests_run_on(template: dict[str, Any]) -> None:
    tables = [entry for entry in template["Resources"].values() if entry["Type"] == "AWS::DynamoDB::Table"]
    properties = tables[0]["Properties"]

    assert properties["KeySchema"] == table.KEY_SCHEMA
    assert _sorted(properties["AttributeDefinitions"], "AttributeName") == _sorted(
        list(table.ATTRIBUTE_DEFINITIONS), "AttributeName"
    )
    assert _sorted(properties["GlobalSecondaryIndexes"], "IndexName") == _sorted(list(table.INDEXES), "IndexName")
    assert properties["BillingMode"] == table.BILLING_MODE
    assert properties["TimeToLiveSpecification"] == {"AttributeName": table.TTL_ATTRIBUTE, "Enabled": True}


def test_the_template_sets_every_setting(template: dict[str, Any]) -> None:
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    settings = {name.upper() for name in Settings.__struct_fields__} - {"LOCALSTACK_HOST"}

    assert settings <= set(variables)

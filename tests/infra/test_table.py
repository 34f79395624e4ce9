"""What template.yaml deploys is what the code expects: the table, and a variable for each setting."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.dynamodb import table
from infra.settings import Settings
from kernel.shell.tick import Counts
from kernel.shell.values import BLOB_DAYS

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


def test_what_is_in_the_bucket_expires_by_what_its_key_begins_with_and_not_earlier(template: dict[str, Any]) -> None:
    bucket = template["Resources"]["BlobBucket"]["Properties"]
    rules = bucket["LifecycleConfiguration"]["Rules"]

    assert [(each["Prefix"], each["ExpirationInDays"]) for each in rules] == [(f"{n}-days/", n) for n in BLOB_DAYS]
    assert {each["Status"] for each in rules} == {"Enabled"}
    longest = sum(int(template["Parameters"][name]["MaxValue"]) for name in ("DeadlineDays", "RetentionDays"))
    assert max(BLOB_DAYS) > longest


def test_alarms_are_made_where_there_is_somebody_to_tell(template: dict[str, Any]) -> None:
    alarms = {name: each for name, each in template["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"}

    assert {each["Condition"] for each in alarms.values()} == {"HasAlarms"}
    for name, each in alarms.items():
        told = each["Properties"]
        assert told["AlarmActions"] == told["OKActions"] == ["AlarmTopicArn"], name
    watched = {(each["Properties"]["MetricName"], *_values(each["Properties"])) for each in alarms.values()}
    queues = [name for name in resources(template, "AWS::SQS::Queue") if name.endswith("DeadLetterQueue")]
    assert {("ApproximateNumberOfMessagesVisible", f"{name}.QueueName") for name in queues} < watched
    functions = [name for name, each in template["Resources"].items() if each["Type"] == "AWS::Serverless::Function"]
    assert {(metric, name) for metric in ("Errors", "Throttles") for name in functions} < watched
    assert alarms["TickStoppedAlarm"]["Properties"]["TreatMissingData"] == "breaching"


def test_the_alarm_about_ticks_reads_what_the_tick_logs(template: dict[str, Any]) -> None:
    pattern = template["Resources"]["TickTrouble"]["Properties"]["FilterPattern"]

    assert set(re.findall(r"\$\.(\w+)", pattern)) - {"message"} <= set(Counts.__struct_fields__)


def _values(properties: dict[str, Any]) -> list[str]:
    return [each["Value"] for each in properties.get("Dimensions", [])]


def test_the_template_sets_every_setting(template: dict[str, Any]) -> None:
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    settings = {name.upper() for name in Settings.__struct_fields__} - {"LOCALSTACK_HOST"}
    settings -= {"TRANSPORT", "REDIS_URL", "REDIS_CLUSTER", "REDIS_PREFIX"}  # it makes queues of SQS, and no Redis

    assert settings <= set(variables)


def resources(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"] for name, resource in template["Resources"].items() if resource["Type"] == kind
    }


def test_each_class_of_runs_has_a_queue_alike_with_a_dead_letter_queue_of_its_own(template: dict[str, Any]) -> None:
    queues = resources(template, "AWS::SQS::Queue")
    normal, high = queues["PokeQueue"], queues["PriorityPokeQueue"]

    assert high | {"RedrivePolicy": normal["RedrivePolicy"]} == normal
    assert high["RedrivePolicy"]["maxReceiveCount"] == normal["RedrivePolicy"]["maxReceiveCount"]
    assert normal["RedrivePolicy"]["deadLetterTargetArn"] == "PokeDeadLetterQueue.Arn"
    assert high["RedrivePolicy"]["deadLetterTargetArn"] == "PriorityPokeDeadLetterQueue.Arn"
    assert queues["PriorityPokeDeadLetterQueue"] == queues["PokeDeadLetterQueue"]
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert (variables["QUEUE_URL"], variables["PRIORITY_QUEUE_URL"]) == ("PokeQueue", "PriorityPokeQueue")
    assert {"PriorityPokeQueueUrl", "PriorityPokeDeadLetterQueueUrl"} <= template["Outputs"].keys()


def test_neither_class_takes_invocations_from_the_other(template: dict[str, Any]) -> None:
    sources = template["Resources"]["JobFunction"]["Properties"]["Events"]
    normal, high = sources["Pokes"]["Properties"], sources["PriorityPokes"]["Properties"]

    assert (normal["Queue"], high["Queue"]) == ("PokeQueue.Arn", "PriorityPokeQueue.Arn")
    assert normal["ScalingConfig"] == {"MaximumConcurrency": "JobConcurrency"}
    assert high["ScalingConfig"] == {"MaximumConcurrency": "PriorityJobConcurrency"}
    for name in ("BatchSize", "FunctionResponseTypes"):
        assert high[name] == normal[name]
    # It would be shared by both.
    assert "ReservedConcurrentExecutions" not in template["Resources"]["JobFunction"]["Properties"]


def test_whoever_may_use_the_queue_of_pokes_may_use_that_of_both_classes(template: dict[str, Any]) -> None:
    roles = resources(template, "AWS::IAM::Role")
    assert roles.keys() == {"IntakeRole", "JobRole", "TickRole"}
    for name, role in roles.items():
        [policy] = role["Policies"]
        pokes = [each for each in policy["PolicyDocument"]["Statement"] if each["Sid"] == "Pokes"]
        assert [each["Resource"] for each in pokes] == [["PokeQueue.Arn", "PriorityPokeQueue.Arn"]], name

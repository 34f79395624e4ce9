"""What a stage takes beyond the write it cannot do without: ``python -m bench.store --json``.

On DynamoDB Local: the slope of chained runs (110 steps less 10) through the real job handler, over a bare boto3
conditional put of an item of the same size, the two taking turns in the same run.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import boto3

from bench.deployment import TABLE, Deployment, dynamodb_local, sequence, show
from hosts.engines.environment import aws_environment
from kernel.ports import log_key

FEW, MANY = 10, 110


def _bare_puts(client: Any, like: dict[str, Any], round_: int, count: int) -> float:  # noqa: ANN401 - boto3 has no types
    """Seconds for ``count`` conditional puts of items as large as ``like``."""
    began = time.perf_counter()
    for number in range(count):
        client.put_item(
            TableName=TABLE,
            Item={**like, "PK": {"S": f"bare#{round_:025d}"}, "SK": {"S": log_key(number)}},
            ConditionExpression="attribute_not_exists(PK)",
        )
    return time.perf_counter() - began


def measure(rounds: int = 9) -> dict[str, Any]:
    """Measure, taking turns, and report medians."""
    few, many = sequence(FEW), sequence(MANY)
    with dynamodb_local() as endpoint:
        bench = Deployment(endpoint, [few, many], metered=False)
        environment = aws_environment(endpoint)
        client = boto3.client("dynamodb", endpoint_url=endpoint, region_name=environment["AWS_DEFAULT_REGION"])
        ref = bench.run(many)
        like = client.get_item(TableName=TABLE, Key={"PK": {"S": ref.partition}, "SK": {"S": log_key(MANY // 2)}})[
            "Item"
        ]
        _bare_puts(client, like, -1, 100)
        stages, puts = [], []
        for round_ in range(rounds):
            began = time.perf_counter()
            bench.run(few)
            middle = time.perf_counter()
            bench.run(many)
            stages.append(((time.perf_counter() - middle) - (middle - began)) / (MANY - FEW))
            puts.append(_bare_puts(client, like, round_, MANY - FEW) / (MANY - FEW))
    return {
        "stage_over_put": round(median(stage / put for stage, put in zip(stages, puts, strict=True)), 3),
        "stage_ms": round(median(stages) * 1000, 3),
        "put_ms": round(median(puts) * 1000, 3),
    }


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    show(measure(), as_json=parser.parse_args().json)


if __name__ == "__main__":
    main()

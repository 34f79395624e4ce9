"""List prices in US dollars, and what a run costs by them. The one place to change when a price does.

Source: aws.amazon.com/<service>/pricing of DynamoDB, SQS, Lambda and Step Functions; us-east-1, without free tiers; as
the project's brief listed them in November 2026.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from kernel.testing.units import Usage

AS_OF: Final = "us-east-1, November 2026"

MILLION: Final = 1_000_000

WRITE_UNIT: Final = 0.625 / MILLION
"""DynamoDB on demand: a write request unit."""
READ_UNIT: Final = 0.125 / MILLION
"""DynamoDB on demand: a read request unit."""
SQS_REQUEST: Final = 0.40 / MILLION
"""SQS, standard queue."""
SQS_REQUESTS_PER_MESSAGE: Final = 3
"""Send, receive, delete; batches make it fewer."""
LAMBDA_REQUEST: Final = 0.20 / MILLION
"""Lambda. The duration is not counted: user code takes as long wherever it runs."""
STEP_FUNCTIONS_TRANSITION: Final = 25.0 / MILLION
"""Step Functions, Standard Workflows. Retries count as transitions."""
DURABLE_OPERATION: Final = 8.0 / MILLION
"""Lambda durable functions: a durable operation. What they write and retain is charged on top."""

PRICE_LIST: Final = {
    "as_of": AS_OF,
    "dynamodb_write_request_unit": WRITE_UNIT,
    "dynamodb_read_request_unit": READ_UNIT,
    "sqs_request": SQS_REQUEST,
    "sqs_requests_per_message": SQS_REQUESTS_PER_MESSAGE,
    "lambda_request": LAMBDA_REQUEST,
    "step_functions_standard_transition": STEP_FUNCTIONS_TRANSITION,
    "lambda_durable_operation": DURABLE_OPERATION,
}
"""All of them, for a report."""


class Bill(Struct, frozen=True):
    """What a run costs, in dollars.

    Attributes:
        ours: DynamoDB, SQS, and a Lambda request per message and one for the start.
        step_functions: transitions, for as many steps.
        durable_functions: operations, for as many steps.
    """

    ours: float
    step_functions: float
    durable_functions: float


def bill(usage: Usage, steps: float) -> Bill:
    """What a run costs that used this much.

    Args:
        usage: of the run, in all functions.
        steps: tries of stages, checks, compensations and waits for events: what the others would charge for as well.
    """
    ours = (
        usage.write_units * WRITE_UNIT
        + usage.read_units * READ_UNIT
        + usage.messages * (SQS_REQUESTS_PER_MESSAGE * SQS_REQUEST + LAMBDA_REQUEST)
        + LAMBDA_REQUEST
    )
    return Bill(ours, steps * STEP_FUNCTIONS_TRANSITION, steps * DURABLE_OPERATION)

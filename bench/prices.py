"""What AWS lists, in US dollars, US East (N. Virginia), on demand, as of November 2026.

Sources: the pricing pages of Amazon DynamoDB, Amazon SQS, AWS Lambda and AWS Step Functions. Free tiers are left out.
"""

from __future__ import annotations

DYNAMODB_WRITE = 0.625e-6
"""A write request unit."""
DYNAMODB_READ = 0.125e-6
"""A read request unit."""
SQS_REQUEST = 0.40e-6
"""A request to a standard queue."""
SQS_REQUESTS_PER_MESSAGE = 3
"""Send, receive, delete."""
LAMBDA_REQUEST = 0.20e-6
"""An invocation, without its duration."""
STEP_FUNCTIONS_TRANSITION = 25e-6
"""A state transition of a Standard workflow."""
LAMBDA_DURABLE_OPERATION = 8e-6
"""An operation of a durable function: a step, a wait, the start of the execution."""

PRICE_LIST = {
    "dynamodb_write_request_unit": DYNAMODB_WRITE,
    "dynamodb_read_request_unit": DYNAMODB_READ,
    "sqs_request": SQS_REQUEST,
    "lambda_request": LAMBDA_REQUEST,
    "step_functions_standard_transition": STEP_FUNCTIONS_TRANSITION,
    "lambda_durable_operation": LAMBDA_DURABLE_OPERATION,
    "as_of": "2026-11",
    "region": "us-east-1",
}


def onewrite(*, writes: float, reads: float, messages: float, invocations: float) -> float:
    """Dollars of what the engine uses; the time of the user's own code comes on top, here as there."""
    return (
        writes * DYNAMODB_WRITE
        + reads * DYNAMODB_READ
        + messages * SQS_REQUESTS_PER_MESSAGE * SQS_REQUEST
        + invocations * LAMBDA_REQUEST
    )


def step_functions(steps: float) -> float:
    """Dollars of a Standard workflow: each step's state, and the start, is a transition."""
    return (steps + 1) * STEP_FUNCTIONS_TRANSITION


def lambda_durable(steps: float) -> float:
    """Dollars of a durable function's operations: each step, and the start of the execution."""
    return (steps + 1) * LAMBDA_DURABLE_OPERATION

"""What AWS says when a call fails, in the kernel's terms: not now, not there, or not understood."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from kernel.errors import InfrastructureError, Missing, Unavailable

AWS_ERRORS = (BotoCoreError, ClientError)
"""Everything that a botocore client raises."""

MISSING = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AWS.SimpleQueueService.NonExistentQueue",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NoSuchBucket",
        "NotAuthorized",
        "OptInRequired",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""Codes that say: it is not there, or not for us. Retrying does not help."""

PASSING = frozenset(
    {
        "BandwidthLimitExceeded",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Codes that say: not now. A throttle or a transaction conflict is not a refusal: the same call may be
retried.
"""

_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def code_of(error: Exception) -> str:
    """The service's code of an error, such as ``ThrottlingException``; ``""`` when no service answered."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def translate(error: Exception, doing: str, remedy: str) -> InfrastructureError:
    """The kernel's error for one of ``AWS_ERRORS``; to be raised ``from`` it.

    Args:
        error: what botocore raised, after its own retries.
        doing: what was being done to what: ``"putting log#0000000003 of run acme#r1 in table 'onewrite'"``.
        remedy: what a person should check when the thing is missing or out of bounds.

    Returns:
        ``Missing`` if retrying cannot help, ``Unavailable`` if it can, else a plain ``InfrastructureError``:
        the service did not understand the call, which is a mistake in Onewrite or in the service's stand-in.
    """
    code = code_of(error)
    reason = _reason(error, code)
    if code in MISSING or isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Missing(f"{doing}: {reason}. {remedy}")
    if code in PASSING or _status(error) == _TOO_MANY_REQUESTS or _status(error) >= _SERVER_ERROR:
        return Unavailable(f"{doing}: {reason}")
    if isinstance(error, ClientError | ParamValidationError):
        return InfrastructureError(f"{doing}: the call was not understood: {reason}")
    # No answer, a broken one, or none in time: whether the call took effect is not known.
    return Unavailable(f"{doing}: {reason}")


def _status(error: Exception) -> int:
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0


def _reason(error: Exception, code: str) -> str:
    if isinstance(error, ClientError):
        message = str(error.response.get("Error", {}).get("Message") or "").strip().rstrip(".")
        return f"{code}: {message[:500]}" if message else code or str(error)[:500]
    return f"{type(error).__name__}: {str(error)[:500]}".rstrip(".")

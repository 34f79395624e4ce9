"""Fakes of AWS clients: they keep what they are asked, and answer or fail as told."""

from __future__ import annotations

from typing import Any, cast

from botocore.exceptions import ClientError


def client_error(code: str, message: str = "", status: int = 400, **more: Any) -> ClientError:
    """A service's answer that is an error, as botocore raises it."""
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(cast("Any", response), "AnyOperation")


class FakeClient:
    """Answers every operation with the next of its answers: raised if it is an error, else returned.

    With ``Any`` as its type it passes for any client.
    """

    def __init__(self, *answers: Any) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._answers = list(answers)

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            self.requests.append((operation, request))
            answer = self._answers.pop(0) if self._answers else {}
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def fake(*answers: Any) -> Any:
    """A ``FakeClient``, typed so that it can stand for any client."""
    return FakeClient(*answers)

"""Pokes over SQS: how they are sent, and what a batch is made of that Lambda gives."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from infra.failures import AWS_ERRORS, translate
from infra.pokes import ForeignMessage, encode
from kernel.errors import Missing, OnewriteError
from kernel.ports import HIGH, MAX_DELAY, Poke

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import (
        BatchResultErrorEntryTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

log = logging.getLogger(f"onewrite.{__name__}")

BATCH = 10
"""Messages per call (SQS, SendMessageBatch)."""


class SqsQueue:
    """Implements ``kernel.ports.Queue``. May be shared by threads.

    Messages carry their tenant as message group, which on a standard queue makes it a fair one: a tenant with
    many runs does not delay the others (SQS Developer Guide, "Fair queues"). An endpoint that knows groups
    only on FIFO queues is found out by its first refusal, and is sent none from then on.

    Args:
        client: an SQS client, see ``infra.clients``.
        url: the queue's URL.
        priority_url: URL of the queue for pokes of high priority; without one, all go to the one queue.
    """

    def __init__(self, client: SQSClient, url: str, priority_url: str | None = None) -> None:
        self._client = client
        self._url = url
        self._priority_url = priority_url or url
        self._grouped = True

    def send(self, pokes: Sequence[tuple[Poke, int]]) -> None:
        """Send each poke with a delay in seconds.

        A poke that fails, after botocore's retries, is logged and dropped: the due index finds its run.

        Raises:
            Missing: the queue does not exist, or sending to it is denied.
        """
        by_url: dict[str, list[tuple[Poke, int]]] = {}
        for poke, delay in pokes:
            by_url.setdefault(self._url_of(poke), []).append((poke, delay))
        for url, chosen in by_url.items():
            for start in range(0, len(chosen), BATCH):
                self._send(url, chosen[start : start + BATCH])

    def _url_of(self, poke: Poke) -> str:
        return self._priority_url if poke.priority == HIGH else self._url

    def _send(self, url: str, pokes: Sequence[tuple[Poke, int]]) -> None:
        try:
            failed = self._failed(url, pokes)
        except Missing:
            raise
        except OnewriteError as error:
            log.warning("%d pokes not sent, left to the due index: %s", len(pokes), error)
            return
        for poke, reason in failed:
            about = {"tenant": poke.tenant, "run": poke.run}
            log.warning("poke for run %s not sent, left to the due index: %s", poke.run, reason, extra=about)

    def _failed(self, url: str, pokes: Sequence[tuple[Poke, int]]) -> list[tuple[Poke, str]]:
        """Send up to ten pokes; those that failed, and why."""
        grouped = self._grouped
        entries = [_entry(str(i), poke, delay, grouped=grouped) for i, (poke, delay) in enumerate(pokes)]
        try:
            failures = self._call(url, entries)
        except AWS_ERRORS as error:
            failure = translate(
                error,
                f"sending {len(pokes)} pokes to {url}",
                f"Check {self._setting(url)}, the region, and what the function's role allows.",
            )
            if not grouped or not _is_about_groups(str(error)):
                raise failure from error
            return self._ungrouped(url, pokes)
        if grouped and any(_is_about_groups(failure.get("Message", "")) for failure in failures):
            return self._ungrouped(url, [pokes[int(failure["Id"])] for failure in failures])
        return [
            (pokes[int(failure["Id"])][0], f"{failure['Code']}: {failure.get('Message', '')}") for failure in failures
        ]

    def _ungrouped(self, url: str, pokes: Sequence[tuple[Poke, int]]) -> list[tuple[Poke, str]]:
        self._grouped = False
        log.info("%s takes no message groups: sending without, so the queue is not fair", url)
        return self._failed(url, pokes)

    def _setting(self, url: str) -> str:
        return "QUEUE_URL" if url == self._url else "PRIORITY_QUEUE_URL"

    def _call(self, url: str, entries: list[SendMessageBatchRequestEntryTypeDef]) -> list[BatchResultErrorEntryTypeDef]:
        return self._client.send_message_batch(QueueUrl=url, Entries=entries).get("Failed", [])


def _is_about_groups(message: str) -> bool:
    """Whether a refusal is of the message group: so it reads where groups are for FIFO queues only."""
    return "MessageGroupId" in message or "not valid for this queue type" in message


def _entry(id_: str, poke: Poke, delay: int, *, grouped: bool) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {
        "Id": id_,
        "MessageBody": encode(poke),
        "DelaySeconds": max(0, min(delay, MAX_DELAY)),
    }
    if grouped:
        entry["MessageGroupId"] = _group(poke.tenant)
    return entry


def _group(tenant: str) -> str:
    """The tenant as a message group: of up to 128 printable characters of ASCII, without spaces.

    Two tenants that end up in one group share a fair part of the queue, nothing else.
    """
    return re.sub(r"[^!-~]", "_", tenant)[:128]


def messages(event: object) -> list[tuple[str, object]]:
    """The messages of a batch, as Lambda gives them: id and body of each.

    One without an id has ``""``, which SQS takes for all of them when it is given back: the whole batch returns (Lambda
    Developer Guide, "Success and failure conditions" of partial batch responses).

    Raises:
        ForeignMessage: it is no batch.
    """
    records = event.get("Records", []) if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise ForeignMessage(f"not a batch of SQS but a {type(event).__name__}: its Records must be a list")
    return [_message_of(each) if isinstance(each, dict) else ("", None) for each in records]


def _message_of(record: dict[str, object]) -> tuple[str, object]:
    id_ = record.get("messageId")
    return id_ if isinstance(id_, str) else "", record.get("body")

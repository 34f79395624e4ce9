"""Pokes over SQS, for hosts that poll for themselves; Lambda has its event source mapping, which needs none of this."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.failures import AWS_ERRORS, translate
from infra.pokes import ForeignMessage, parse
from infra.sqs import BATCH
from kernel.delivery import Backlog, Delivery
from kernel.errors import InfrastructureError, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef, MessageTypeDef

log = logging.getLogger(f"onewrite.{__name__}")

LONGEST_POLL = 20
"""Seconds (SQS, WaitTimeSeconds)."""
SHORT_POLL = 2
"""Seconds for which one of two queues is waited for at a time: as late as a message in the other one is found."""
LATER = (0, 0, 30, 120, 600)
"""Seconds after which a message that was given back comes again at least, by how often it was delivered."""
FAIR = 4
"""One look of so many begins with the queue of messages that are not of high priority."""


class SqsConsumer:
    """Implements ``kernel.delivery.Consumer``. May be shared by threads.

    What the port leaves to the transport is as SQS has it. Times are whole seconds, rounded up. A message becomes a
    dead letter by its queue's redrive policy, and SQS counts what was released, too. It can be hidden for 12 hours in
    all. With one queue an idle consumer makes a request every 20 s, with two of them one every 2 s.

    Args:
        client: an SQS client. One request waits a second less than the client does for an answer (its
            ``read_timeout``), so a client of its own with more than 20 s saves requests.
        url: the queue's URL.
        priority_url: URL of the queue for pokes of high priority, if there is one.
        visibility: seconds, 1 to 43,200.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        client: SQSClient,
        url: str,
        priority_url: str | None = None,
        *,
        visibility: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._url = url
        self._priority_url = priority_url
        self._visibility = math.ceil(visibility)
        self._monotonic = monotonic
        read_timeout = float(getattr(client.meta.config, "read_timeout", 60))  # whose type botocore's stubs leave out
        self._longest = max(1, min(LONGEST_POLL, int(read_timeout) - 1))
        self._lock = threading.Lock()
        self._looks = 0
        self._dead_url: dict[str, str | None] = {}
        self._closed = threading.Event()

    @property
    def visibility(self) -> float:
        """Seconds for which a message that was received or kept is hidden from others."""
        return self._visibility

    def receive(self, most: int, wait: float) -> Sequence[Delivery]:
        """Take up to ``most`` messages, ten of each queue; wait for up to so many seconds while there is none."""
        end = self._monotonic() + wait
        waits = self._priority_url is None  # for one of two queues only when there is nothing in either
        while not self._closed.is_set():
            found: list[Delivery] = []
            for url in self._order():
                try:
                    if len(found) < most:
                        found += self._receive(url, most - len(found), self._poll(end) if waits and not found else 0)
                except InfrastructureError:
                    if not found:
                        raise  # else what the other queue gave is attended first; the next look meets it again
            if found and self._closed.is_set():
                self.release(found)
            elif found or self._monotonic() > end - 1:
                return found
            waits = True
        return []

    def _poll(self, end: float) -> int:
        """Seconds to wait for one queue."""
        longest = min(self._longest, SHORT_POLL) if self._priority_url else self._longest
        return max(0, min(longest, math.ceil(end - self._monotonic())))

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """They are dealt with, and deleted."""
        for url, chosen in _batches(deliveries):
            with _translated(f"deleting {len(chosen)} messages of {url}"):
                answer = self._client.delete_message_batch(
                    QueueUrl=url,
                    Entries=[{"Id": str(i), "ReceiptHandle": each.id} for i, each in enumerate(chosen)],
                )
            _check(answer.get("Failed", []), f"deleting messages of {url}")

    def release(self, deliveries: Sequence[Delivery], delay: float = 0.0) -> None:
        """Give them back undone: they come again after so many seconds.

        SQS counts them nevertheless. So what is to come later comes the later, the oftener it came, lest an outage of
        minutes make dead letters of all.
        """
        least = math.ceil(delay)
        self._hide(deliveries, lambda each: max(least, LATER[min(each.count, len(LATER) - 1)]) if least else 0)

    def keep(self, deliveries: Sequence[Delivery]) -> None:
        """They are still in hand: hide them from others for the visibility once more."""
        self._hide(deliveries, lambda _each: self._visibility)

    def backlog(self) -> Backlog:
        """What there is, approximately. SQS does not say since when: that is a metric of CloudWatch."""
        waiting = in_hand = delayed = dead = 0
        for url in self._urls:
            counts = self._attributes(url)
            waiting += int(counts["ApproximateNumberOfMessages"])
            in_hand += int(counts["ApproximateNumberOfMessagesNotVisible"])
            delayed += int(counts["ApproximateNumberOfMessagesDelayed"])
        for dead_url in {self._dead_letters_of(url) for url in self._urls}:
            dead += int(self._attributes(dead_url)["ApproximateNumberOfMessages"]) if dead_url else 0
        return Backlog(waiting=waiting, in_hand=in_hand, delayed=delayed, dead=dead)

    def close(self) -> None:
        """Receive no more. A call that waits in another thread comes back when its poll ends."""
        self._closed.set()

    @property
    def _urls(self) -> list[str]:
        return [self._priority_url, self._url] if self._priority_url else [self._url]

    def _order(self) -> list[str]:
        with self._lock:
            self._looks += 1
            return self._urls[::-1] if self._looks % FAIR == 0 else self._urls

    def _receive(self, url: str, most: int, poll: int) -> list[Delivery]:
        with _translated(f"receiving from {url}"):
            answer = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(most, BATCH),
                WaitTimeSeconds=poll,
                VisibilityTimeout=self._visibility,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return [_delivery(url, message) for message in answer.get("Messages", [])]

    def _hide(self, deliveries: Sequence[Delivery], seconds: Callable[[Delivery], int]) -> None:
        for url, chosen in _batches(deliveries):
            with _translated(f"hiding {len(chosen)} messages of {url}"):
                answer = self._client.change_message_visibility_batch(
                    QueueUrl=url,
                    Entries=[
                        {"Id": str(i), "ReceiptHandle": each.id, "VisibilityTimeout": seconds(each)}
                        for i, each in enumerate(chosen)
                    ],
                )
            _check(answer.get("Failed", []), f"hiding messages of {url}")

    def _attributes(self, url: str) -> dict[str, str]:
        with _translated(f"counting {url}"):
            answer = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        return {str(name): value for name, value in answer["Attributes"].items()}

    def _dead_letters_of(self, url: str) -> str | None:
        """URL of a queue's dead-letter queue, if it has one: asked once."""
        if url not in self._dead_url:
            policy = self._attributes(url).get("RedrivePolicy")
            found = None
            if policy:
                _, _, _, _, account, name = json.loads(policy)["deadLetterTargetArn"].split(":")
                with _translated(f"finding the queue {name}"):
                    found = self._client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]
            self._dead_url[url] = found
        return self._dead_url[url]


def _delivery(url: str, message: MessageTypeDef) -> Delivery:
    id_, count = message["ReceiptHandle"], int(message.get("Attributes", {}).get("ApproximateReceiveCount", 0))
    try:
        return Delivery(id=id_, poke=parse(message.get("Body")), source=url, count=count)
    except ForeignMessage as problem:
        return Delivery(id=id_, poke=None, problem=str(problem), source=url, count=count)


def _batches(deliveries: Sequence[Delivery]) -> Iterator[tuple[str, list[Delivery]]]:
    """Queue and deliveries of each call."""
    by_url: dict[str, list[Delivery]] = {}
    for each in deliveries:
        by_url.setdefault(each.source, []).append(each)
    for url, chosen in by_url.items():
        for start in range(0, len(chosen), BATCH):
            yield url, chosen[start : start + BATCH]


def _check(failures: Sequence[BatchResultErrorEntryTypeDef], doing: str) -> None:
    """What failed of a batch by no fault of the call is to be repeated; the rest was somebody else's by now."""
    for failure in failures:
        problem = f"{doing}: {failure['Code']}: {failure.get('Message', '')}"
        if not failure.get("SenderFault"):
            raise Unavailable(problem)
        log.info("%s: somebody else has it by now, or it is gone", problem)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except AWS_ERRORS as error:
        raise translate(
            error, doing, "Check QUEUE_URL, PRIORITY_QUEUE_URL, the region, and what the worker's role allows."
        ) from error

"""Feeds a queue to a function, as an SQS event source mapping does; one of higher priority first.

Messages are received in batches and deleted once the function did not report them as failed. Those that it
did report, and those of an invocation that failed as a whole, are left alone: they come again when their
visibility timeout is over, and the queue itself moves them to its dead-letter queue when they have come too
often.
"""

from __future__ import annotations

import itertools
import logging
import threading
from typing import TYPE_CHECKING

from hosts.local.events import failed_messages, sqs_event
from hosts.local.functions import Invocable, InvocationFailed
from infra.failures import AWS_ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

log = logging.getLogger(__name__)

BATCH = 10
"""Messages handed over at a time, at most (template.yaml, BatchSize)."""
PAUSE = 0.1
"""Seconds between two looks at an empty queue. Not long polling: an emulator that serves one request at a time, as moto
does here, would make everybody else wait with us.
"""
FAIR = 4
"""Of so many looks in a row, one begins with the queue that is not of higher priority, so that it never starves."""
AFTER_ERROR = 1.0
"""Seconds to wait after the queue could not be reached."""


class Feeder:
    """Pollers of one queue, each in a thread of its own that waits for the invocation it started.

    Args:
        sqs: a client for the queue.
        url: the queue's address.
        arn: its ARN, which events name as their source.
        function: gets the events.
        pollers: how many invocations there may be at a time.
        batch: how many messages are handed over at a time, at most.
        priority: address and ARN of a queue whose messages come before those of the other one.
    """

    def __init__(
        self,
        sqs: SQSClient,
        url: str,
        arn: str,
        function: Invocable,
        *,
        pollers: int = 3,
        batch: int = BATCH,
        priority: tuple[str, str] | None = None,
    ) -> None:
        self._sqs = sqs
        self._queues = [(url, arn)] if priority is None else [priority, (url, arn)]
        self._looks = itertools.count(1)
        self._function = function
        self._batch = batch
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"feeder-{number}", daemon=True) for number in range(pollers)
        ]

    def start(self) -> None:
        """Begin to poll."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Receive no more; what is being handled is waited for by `join`."""
        self._stopping.set()

    def join(self, seconds: float = 5.0) -> None:
        """Wait until the pollers have ended."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(seconds)

    def poll(self) -> int:
        """Receive a batch, have it handled, delete what was not failed; gives how many were received.

        Raises:
            ClientError, BotoCoreError: the queue could not be reached.
        """
        in_turn = self._queues if next(self._looks) % FAIR else self._queues[::-1]
        for url, arn in in_turn:
            messages = self._sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=self._batch,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            if messages:
                self._handle(url, arn, messages)
                return len(messages)
        return 0

    def _handle(self, url: str, arn: str, messages: Sequence[MessageTypeDef]) -> None:
        ids = [message["MessageId"] for message in messages]
        try:
            answer = self._function.invoke(sqs_event(messages, arn))
        except InvocationFailed as error:
            if not self._stopping.is_set():
                log.warning("%d messages left to their visibility timeout: %s", len(ids), error)
            return
        failed = failed_messages(answer, ids)
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            self._sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(done)
                ],
            )

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                received = self.poll()
            except AWS_ERRORS as error:
                if not self._stopping.is_set():
                    log.warning("the queue cannot be reached: %s", error)
                self._stopping.wait(AFTER_ERROR)
                continue
            if not received:
                self._stopping.wait(PAUSE)

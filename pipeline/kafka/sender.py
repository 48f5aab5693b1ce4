"""An ordinary producer that tells the truth: what it was given is with the broker, or an error says otherwise.

For filling topics, not for the gate, which publishes in transactions (`transaction`). It keeps a bounded number
of bytes under way and looks at every send, because a flush that succeeds does not mean that all were delivered.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from kafka import KafkaProducer
from kafka import errors as kafka_errors
from kafka.producer.future import FutureRecordMetadata

from pipeline.errors import DataUnusable
from pipeline.kafka.client import MAX_REQUEST_BYTES, TOO_LARGE, connection, describe, open_client, translated
from pipeline.records import Headers

_UNDER_WAY_BYTES = 16 << 20
_UNDER_WAY_MESSAGES = 20_000


class Sender:
    """Sends messages to one topic, keyed; a context manager. Used by one thread.

    Args:
        kafka: Client settings, see `client.connection`.
        topic: Where to; it must exist.
        compression: `lz4`, `zstd`, `gzip` or None.
        linger_ms: How long a batch waits for company, in milliseconds.
        delivery_timeout_s: When a message counts as failed, in seconds; later where its request may take longer.
        max_request_bytes: Largest message; the topic's `max.message.bytes` must allow it.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One answers, and refuses us.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topic: str,
        *,
        compression: str | None = None,
        linger_ms: int = 20,
        delivery_timeout_s: float = 30.0,
        max_request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        # The library refuses to give a message up before its request, for which the user may have more patience.
        timeout_ms = max(
            round(delivery_timeout_s * 1000), linger_ms + connection(kafka)["request_timeout_ms"]
        )
        self._topic = topic
        self._wait_s = timeout_ms / 1000 + 5.0  # the library's own deadline comes first
        self._under_way: deque[tuple[FutureRecordMetadata, int]] = deque()
        self._n_bytes = 0
        self._producer: KafkaProducer = open_client(
            KafkaProducer,
            kafka,
            acks="all",
            compression_type=compression,
            linger_ms=linger_ms,
            batch_size=1 << 17,
            max_request_size=max_request_bytes,
            delivery_timeout_ms=timeout_ms,
            max_block_ms=timeout_ms,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.close(timeout=1.0)

    def send(self, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Hand one message to the library; waits for earlier ones when too much is under way.

        Args:
            key: Messages of one key go to one partition, in order. May be None if `value` is not.
            value: May be None if `key` is not.
            headers: Without null values.

        Raises:
            DataUnusable: The message cannot be sent, whoever tries.
            TransientError: This one or an earlier one was not delivered.
            BrokerRefused: The broker does not let us write.
        """
        size = len(key or b"") + len(value or b"")
        while self._under_way and (
            self._n_bytes + size > _UNDER_WAY_BYTES or len(self._under_way) >= _UNDER_WAY_MESSAGES
        ):
            self._confirm_oldest()
        try:
            future = self._producer.send(self._topic, value, key, list(headers))
        except (TypeError, ValueError, kafka_errors.MessageSizeTooLargeError) as error:
            raise DataUnusable(f"message with key {key!r}", describe(error)) from error
        except kafka_errors.KafkaError:
            with translated(f"sending to {self._topic}"):
                raise
        self._under_way.append((future, size))
        self._n_bytes += size

    def confirm(self) -> None:
        """Wait until everything that was sent is with the broker. Blocks.

        Raises:
            TransientError: A message was not delivered.
            DataUnusable: The broker takes no message of that size.
            BrokerRefused: The broker does not let us write.
        """
        # So the flush gives up where the broker made it split a batch; each message is waited for below.
        with translated(f"sending to {self._topic}"), contextlib.suppress(kafka_errors.UnknownError):
            self._producer.flush(timeout=self._wait_s)
        while self._under_way:
            self._confirm_oldest()

    def _confirm_oldest(self) -> None:
        future, size = self._under_way.popleft()
        self._n_bytes -= size
        try:
            future.get(timeout=self._wait_s)
        except TOO_LARGE as error:
            raise DataUnusable(f"a message of {size} bytes", describe(error)) from error
        except kafka_errors.KafkaError:
            with translated(f"sending to {self._topic}"):
                raise

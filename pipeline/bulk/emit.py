"""Verdicts of a backfill to a Kafka topic, as the stream sends them, keyed by the candidate's id.

Promises that what was called for is with the broker when the call returns. The producer is idempotent: its own
retries repeat nothing. Knows no file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from pipeline.candidates import ARROW
from pipeline.codec.encode_arrow import arrow_verdicts, streams
from pipeline.codec.encode_json import json_verdicts
from pipeline.codec.limits import VERDICT_BYTES
from pipeline.codec.verdict import VerdictContext, VerdictRows
from pipeline.kafka.sender import Sender
from pipeline.settings import Settings

_ARROW_ROWS = 1000
"""Verdicts in one Arrow message, at most; keyed by the first of them."""


class Emit:
    """Sends the verdicts of a part to one topic.

    Args:
        settings: With the broker, and how verdicts are sent.
        topic: Where to; it must exist.

    Raises:
        BrokerUnreachable: No broker answers.
        BrokerRefused: One answers, and refuses us.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        codec = settings.publish.compression
        self._arrow = settings.backfill.emit_format == "arrow"
        self._room_bytes = settings.limits.max_message_bytes - VERDICT_BYTES
        self._sender = Sender(
            settings.kafka,
            topic,
            compression=None if codec == "none" else codec,
            max_request_bytes=settings.limits.max_output_bytes,
        )

    def __call__(self, rows: VerdictRows, context: VerdictContext) -> int:
        """Send verdicts, and wait until all are with the broker.

        Args:
            rows: The verdicts.
            context: What they have in common.

        Returns:
            How many messages that took.

        Raises:
            TransientError: A message was not delivered; others may have been.
            BrokerRefused: The broker does not let us write.
        """
        now_ms, n = time.time_ns() // 1_000_000, 0
        headers = ARROW if self._arrow else ()
        for key, value in self._messages(rows, context, now_ms):
            self._sender.send(key, value, headers)
            n += 1
        self._sender.confirm()
        return n

    def _messages(
        self, rows: VerdictRows, context: VerdictContext, now_ms: int
    ) -> Iterator[tuple[bytes, bytes]]:
        ids = rows.candidate_id
        if not self._arrow:
            for key, value in zip(ids.to_pylist(), json_verdicts(rows, context, time_ms=now_ms), strict=True):
                yield key.encode(), value
            return
        batch = arrow_verdicts(rows, context, time_ms=now_ms)
        for start in range(0, len(ids), _ARROW_ROWS):
            for value in streams(batch.slice(start, _ARROW_ROWS), room_bytes=self._room_bytes):
                yield ids[start].as_py().encode(), value

"""What goes to the reject topic: the message as it was read, and why it could not be scored.

Promises: whatever was read, its reject can be sent. Value, key and headers are each cut to
`Limits.max_reject_bytes`, and what was cut is told by its length and SHA-256; null stays apart from empty.
With it go Kafka Connect's dead-letter headers, so that tools which know those know ours. It never raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from pipeline.codec.arrow_stream import cut_rows
from pipeline.codec.headers import Format, carried_bytes, format_of, without_nulls
from pipeline.codec.limits import Limits
from pipeline.records import Headers, Output, Record, Rejected, Route, Stage, TopicPartition

REJECT_BYTES = 8 << 10
"""Ceiling on what a reject adds of its own. A producer must be allowed to send three times
`Limits.max_reject_bytes` and this."""

NULL_VALUE = "sluice.null.value"
"""There, with `true`, where the value was null. A null key stays null."""

_MAX_DETAIL_CHARS = 500
_CLASSES = {
    Stage.READ: "pipeline.kafka.reader",
    Stage.DECODE: "pipeline.codec.decode",
    Stage.COMPOSE: "actors.pairs",
    Stage.SCORE: "actors.scorer",
}


def encode_rejects(
    records: Sequence[Record],
    rejected: Iterable[Rejected],
    source: TopicPartition,
    limits: Limits,
    *,
    run: int,
) -> list[Output]:
    """The rejects of a claim, in source order.

    Each has the original's key, value and headers, and headers of its own that say why. The reject of one row
    of a batch message has an Arrow stream of that row for a value.

    Args:
        records: The claim's records.
        rejected: What was rejected, in any order.
        source: Where the records came from.
        limits: What may be kept of them.
        run: The run number.

    Returns:
        As many messages as `rejected` has.
    """
    outputs = []
    in_order = sorted(rejected, key=lambda one: (one.record, one.row))
    for at, of_record in groupby(in_order, key=lambda one: one.record):
        rejects, record = list(of_record), records[at]
        for one, value in zip(rejects, _values(record, rejects), strict=True):
            why = _why(record, one, source, run)
            outputs.append(_encode(record._replace(value=value), why, limits))
    return outputs


def _values(record: Record, rejects: Sequence[Rejected]) -> Iterator[bytes | None]:
    """The value that each reject of this record carries: the whole of it, or one row."""
    value, rows = record.value, [one.row for one in rejects if one.row >= 0]
    # A message with a row was decoded, so it has a value and a known content type.
    if value is not None and rows and format_of(record.headers) is Format.ARROW:
        yield from [value] * (len(rejects) - len(rows))  # whole messages, -1, come first
        yield from cut_rows(value, rows)
    else:
        yield from [value] * len(rejects)


def _encode(record: Record, why: Sequence[tuple[str, bytes]], limits: Limits) -> Output:
    most = limits.max_reject_bytes
    kept, cuts = _keep_headers(record.headers, most)
    headers = [*kept, *why, *cuts]
    if record.value is None:
        headers.append((NULL_VALUE, b"true"))
    for part, content in (("value", record.value), ("key", record.key)):
        if content is not None and len(content) > most:
            headers += _cut(part, content)
    key = None if record.key is None else record.key[:most]
    # The value is never null: the client sends no message whose key and value are both null.
    return Output(Route.REJECT, key, (record.value or b"")[:most], headers)


def _why(record: Record, rejected: Rejected, source: TopicPartition, run: int) -> list[tuple[str, bytes]]:
    detail = rejected.detail[:_MAX_DETAIL_CHARS]
    said = {
        "__connect.errors.topic": source.topic,
        "__connect.errors.partition": source.partition,
        "__connect.errors.offset": record.offset,
        "__connect.errors.stage": rejected.stage.value,
        "__connect.errors.class.name": _CLASSES[rejected.stage],
        "__connect.errors.exception.class.name": "pipeline.errors.InputError",
        "__connect.errors.exception.message": f"{rejected.reason.value}: {detail}",
        "sluice.reason": rejected.reason.value,
        "sluice.row": rejected.row,
        "sluice.run": run,
        "sluice.timestamp": record.timestamp_ms,
    }
    return [(name, str(content).encode(errors="replace")) for name, content in said.items()]


def _keep_headers(headers: Headers, most: int) -> tuple[list[tuple[str, bytes]], list[tuple[str, bytes]]]:
    """As many of the first headers as fit, and what tells of the others."""
    room = most
    kept = 0
    for name, content in headers:
        room -= carried_bytes(None, [(name, content)])
        if room < 0:
            break
        kept += 1
    if kept == len(headers):
        return without_nulls(headers), []
    lost = b"".join(name.encode() + b"\0" + (content or b"") + b"\0" for name, content in headers[kept:])
    return without_nulls(headers[:kept]), [
        ("sluice.cut.headers.count", str(len(headers) - kept).encode()),
        *_cut("headers", lost),
    ]


def _cut(part: str, content: bytes) -> list[tuple[str, bytes]]:
    return [
        (f"sluice.cut.{part}.bytes", str(len(content)).encode()),
        (f"sluice.cut.{part}.sha256", hashlib.sha256(content).hexdigest().encode()),
    ]

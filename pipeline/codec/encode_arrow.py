"""Verdicts as Arrow batches, with the same fields as the JSON ones.

Texts that repeat from row to row are dictionary-encoded: a claim's worth of bundle digests weighs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.codec.arrow_stream import write_stream
from pipeline.codec.verdict import ACTIONS, ROUTES, VerdictContext, VerdictRows

_REPEATED = pa.dictionary(pa.int8(), pa.string())
VERDICT_SCHEMA = pa.schema(
    [
        pa.field("candidate_id", pa.string(), nullable=False),
        pa.field("action", _REPEATED, nullable=False),
        pa.field("route", _REPEATED, nullable=False),
        pa.field("mode", _REPEATED, nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("relevance", pa.float64(), nullable=False),
        pa.field("prune_threshold", pa.float64()),
        pa.field("review_threshold", pa.float64()),
        pa.field("guarantee", _REPEATED, nullable=False),
        pa.field("bundle", _REPEATED, nullable=False),
        pa.field("source_topic", _REPEATED, nullable=False),
        pa.field("source_partition", pa.int32(), nullable=False),
        pa.field("source_offset", pa.int64(), nullable=False),
        pa.field("source_row", pa.int32(), nullable=False),
        pa.field("run", pa.int64(), nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),
    ]
)
"""The fields of a verdict, in order."""


def arrow_verdicts(rows: VerdictRows, context: VerdictContext, *, time_ms: int) -> pa.RecordBatch:
    """Lay the verdicts out as columns.

    Args:
        rows: The verdicts, n of them.
        context: What they have in common.
        time_ms: When they were scored, epoch milliseconds.

    Returns:
        n rows of `VERDICT_SCHEMA`, in order.
    """
    n = len(rows.record)
    columns = {
        "candidate_id": rows.candidate_id,
        "action": _coded(rows.action, [action.value for action in ACTIONS]),
        "route": _coded(rows.route, [route.value for route in ROUTES]),
        "mode": _same(context.mode.value, n),
        "score": pa.array(rows.score),
        "relevance": pa.array(rows.relevance),
        "prune_threshold": _threshold(context.prune_threshold, n),
        "review_threshold": _threshold(context.review_threshold, n),
        "guarantee": _same(context.guarantee, n),
        "bundle": _same(context.bundle, n),
        "source_topic": _same(context.source.topic, n),
        "source_partition": pa.repeat(pa.scalar(context.source.partition, pa.int32()), n),
        "source_offset": pa.array(rows.offset),
        "source_row": pa.array(rows.row),
        "run": pa.repeat(pa.scalar(context.run, pa.int64()), n),
        "time_ms": pa.repeat(pa.scalar(time_ms, pa.int64()), n),
    }
    return pa.RecordBatch.from_pydict(columns, schema=VERDICT_SCHEMA)


def streams(batch: pa.RecordBatch, *, room_bytes: int) -> Iterator[bytes]:
    """Write a batch as one Arrow stream, or as several where it would not fit.

    Args:
        batch: Rows to send.
        room_bytes: Ceiling on a stream of more than one row.

    Yields:
        Streams that hold the rows in order.
    """
    value = write_stream(batch)
    if len(value) <= room_bytes or batch.num_rows == 1:
        yield value
        return
    half = batch.num_rows // 2
    yield from streams(batch.slice(0, half), room_bytes=room_bytes)
    yield from streams(batch.slice(half), room_bytes=room_bytes)


def _coded(codes: NDArray[np.int8], words: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(words, pa.string()))


def _same(word: str, n: int) -> pa.DictionaryArray:
    return _coded(np.zeros(n, np.int8), [word])


def _threshold(logit: float, n: int) -> pa.Array:
    """A threshold that no logit reaches is null."""
    return pa.repeat(pa.scalar(logit if math.isfinite(logit) else None, pa.float64()), n)

"""How work crosses from one process to the next: Arrow, so that columns cross without a copy.

Promises: what is unpacked equals what was packed, null and empty apart; headers as lists of pairs, or none.
A buffer holds Arrow IPC streams, one after the other. It is read by the version that wrote it: this is no wire
format, and nothing in it is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise, repeat
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.codec.record_batch import encode_batches
from pipeline.codec.verdict import ROUTES, Origins
from pipeline.records import Batch, Headers, Output, Reason, Record, Rejected, Stage

_ROUTE_CODES = {route: code for code, route in enumerate(ROUTES)}


class Work(NamedTuple):
    """What Prepare hands to Score for one claim: all that a verdict or a reject of it may need."""

    records: list[Record]
    origins: Origins
    """The candidates to be scored, n entries."""
    columns: pa.RecordBatch
    """What the scorer needs of each, n rows: the tokens. This module does not look into it."""
    rejected: list[Rejected]
    """What was read and is not among the candidates."""


def pack_work(work: Work) -> bytes:
    """Everything in one buffer; `unpack_work` reads it."""
    origins = {
        "record": pa.array(work.origins.record),
        "row": pa.array(work.origins.row),
        "candidate_id": work.origins.candidate_id,
    }
    records = {
        "offset": pa.array([record.offset for record in work.records], pa.int64()),
        "timestamp_ms": pa.array([record.timestamp_ms for record in work.records], pa.int64()),
        **_content(work.records),
    }
    rejected = {
        "record": pa.array([one.record for one in work.rejected], pa.int32()),
        "row": pa.array([one.row for one in work.rejected], pa.int32()),
        "reason": pa.array([one.reason.value for one in work.rejected], pa.string()),
        "stage": pa.array([one.stage.value for one in work.rejected], pa.string()),
        "detail": pa.array([one.detail for one in work.rejected], pa.string()),
    }
    return _pack(
        pa.RecordBatch.from_pydict(records),
        pa.RecordBatch.from_pydict(origins),
        work.columns,
        pa.RecordBatch.from_pydict(rejected),
    )


def unpack_work(buffer: bytes | pa.Buffer) -> Work:
    """Read what `pack_work` wrote. Origins and columns are views of the buffer."""
    records, origins, columns, rejected = _unpack(buffer, 4)
    rejects = zip(
        rejected.column("record").to_pylist(),
        rejected.column("row").to_pylist(),
        map(Reason, rejected.column("reason").to_pylist()),
        map(Stage, rejected.column("stage").to_pylist()),
        rejected.column("detail").to_pylist(),
        strict=True,
    )
    rows = zip(
        records.column("offset").to_pylist(),
        records.column("timestamp_ms").to_pylist(),
        records.column("key").to_pylist(),
        records.column("value").to_pylist(),
        _headers(records),
        strict=True,
    )
    return Work(
        records=list(map(Record._make, rows)),
        origins=Origins(
            origins.column("record").to_numpy(),
            origins.column("row").to_numpy(),
            origins.column("candidate_id"),
        ),
        columns=columns,
        rejected=list(map(Rejected._make, rejects)),
    )


def pack_outputs(outputs: Iterable[Output]) -> bytes:
    """Messages for the publisher, encoded as Kafka stores them; `unpack_outputs` reads them."""
    batches = encode_batches(outputs)
    return _pack(
        pa.RecordBatch.from_pydict(
            {
                "route": pa.array([_ROUTE_CODES[batch.route] for batch in batches], pa.int8()),
                "n_messages": pa.array([batch.n_messages for batch in batches], pa.int32()),
                "body": pa.array([batch.body for batch in batches], pa.large_binary()),
            }
        )
    )


def unpack_outputs(buffer: bytes | pa.Buffer) -> list[Batch]:
    """Read what `pack_outputs` wrote; each route's batches are in its order."""
    (batches,) = _unpack(buffer, 1)
    rows = zip(
        map(ROUTES.__getitem__, batches.column("route").to_pylist()),
        batches.column("n_messages").to_pylist(),
        batches.column("body").to_pylist(),
        strict=True,
    )
    return list(map(Batch._make, rows))


def _pack(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    for batch in batches:
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


def _unpack(buffer: bytes | pa.Buffer, n_streams: int) -> list[pa.RecordBatch]:
    source = pa.BufferReader(buffer)
    batches = []
    for _ in range(n_streams):
        (batch,) = pa.ipc.open_stream(source)  # to its end mark, where the next stream begins
        batches.append(batch)
    return batches


def _content(messages: Sequence[Record]) -> dict[str, pa.Array]:
    columns = {
        "key": pa.array([message.key for message in messages], pa.binary()),
        "value": pa.array([message.value for message in messages], pa.binary()),
    }
    # Most topics have no headers at all: then there is no column to build, carry and take apart.
    if any(message.headers for message in messages):
        columns |= _header_columns([message.headers for message in messages])
    return columns


def _header_columns(of_messages: Sequence[Headers]) -> dict[str, pa.Array]:
    bounds = pa.array(np.cumsum([0, *map(len, of_messages)]), pa.int32())
    names = pa.array([name for name, _ in chain.from_iterable(of_messages)], pa.string())
    values = pa.array([value for _, value in chain.from_iterable(of_messages)], pa.binary())
    return {
        "header_names": pa.ListArray.from_arrays(bounds, names),
        "header_values": pa.ListArray.from_arrays(bounds, values),
    }


def _headers(batch: pa.RecordBatch) -> Iterable[Headers]:
    if "header_names" not in batch.schema.names:
        return repeat((), batch.num_rows)
    names = batch.column("header_names")
    pairs: list[Any] = list(
        zip(names.values.to_pylist(), batch.column("header_values").values.to_pylist(), strict=True)
    )
    return [pairs[start:stop] for start, stop in pairwise(names.offsets.to_pylist())]

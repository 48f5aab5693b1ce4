"""Arrow IPC streams from strangers: the columns of a candidate, safe to read.

Promises: a stream is read whole or refused; buffers are checked before anything is read through them, because
Arrow trusts offsets and the network does not deserve it. Whether texts are UTF-8 is left to the reader of a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipeline.errors import InputError, InvariantBroken
from pipeline.records import Reason

COLUMNS = ("candidate_id", "query", "document")
_CONTINUATION = b"\xff\xff\xff\xff"
_END = _CONTINUATION + b"\0\0\0\0"


def read_batches(value: bytes) -> list[pa.RecordBatch]:
    """The record batches of a stream, with the candidate's columns only; offsets within bounds.

    Whether the texts are UTF-8 is not known yet. Compressed buffers are unpacked.

    Args:
        value: The message's value.

    Returns:
        Record batches that share a schema; their rows are the message's rows, in order.

    Raises:
        InputError: Not such a stream, cut short, or without the columns.
    """
    if not value.startswith(_CONTINUATION):
        raise InputError(Reason.NOT_ARROW, "the value does not begin like an Arrow IPC stream")
    # A stream may legally end without the mark. But then rows that were cut off would go unnoticed.
    if not value.endswith(_END):
        raise InputError(Reason.TRUNCATED_ARROW, "the Arrow stream has no end-of-stream mark")
    source = pa.BufferReader(value)
    try:
        wanted = _positions(pa.ipc.open_stream(value).schema)
        with pa.ipc.open_stream(source, options=pa.ipc.IpcReadOptions(included_fields=wanted)) as reader:
            batches = list(reader)
        for batch in batches:
            batch.validate()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(Reason.NOT_ARROW, f"the Arrow stream is damaged: {str(error)[:200]}") from error
    if source.tell() != len(value):
        raise InputError(Reason.NOT_ARROW, "there are bytes after the end of the Arrow stream")
    return batches


def cut_rows(value: bytes, rows: Iterable[int]) -> Iterator[bytes]:
    """Cut single rows out of a batch message, the candidate's columns only, as they are, bad or not.

    Args:
        value: A batch message that `decode_batch` accepted.
        rows: Rows within the message, ascending.

    Yields:
        An Arrow IPC stream of one row for each.

    Raises:
        InvariantBroken: There is no such row.
    """
    batches = iter(read_batches(value))
    batch, first = next(batches), 0
    for row in rows:
        while row >= first + batch.num_rows:
            first += batch.num_rows
            following = next(batches, None)
            if following is None:
                raise InvariantBroken(f"row {row} was rejected, but the batch message ends at {first}")
            batch = following
        yield write_stream(batch.slice(row - first, 1))


def write_stream(batch: pa.RecordBatch) -> bytes:
    """These rows as an Arrow IPC stream of its own."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _positions(schema: pa.Schema) -> list[int]:
    positions = []
    for name in COLUMNS:
        found = schema.get_all_field_indices(name)
        if not found:
            raise InputError(Reason.MISSING_COLUMN, f"there is no column {name!r}")
        if len(found) > 1:
            raise InputError(Reason.DUPLICATE_KEY, f"the column {name!r} is repeated")
        _check_type(name, schema.field(found[0]).type)
        positions.append(found[0])
    return positions


def _check_type(name: str, kind: pa.DataType) -> None:
    if not (_is_text(kind) or (name != "candidate_id" and _is_fields(kind))):
        raise InputError(Reason.WRONG_TYPE, f"the column {name!r} is of type {str(kind)[:100]}")
    if pa.types.is_struct(kind) and len(set(kind.names)) != len(kind):
        raise InputError(Reason.DUPLICATE_KEY, f"a field of the column {name!r} is repeated")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_fields(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind):
        return _is_text(kind.key_type) and _is_text(kind.item_type)
    # A struct field that is null throughout has lost its type on the way: it is absent, not wrong.
    return pa.types.is_struct(kind) and all(_is_text(f.type) or pa.types.is_null(f.type) for f in kind)

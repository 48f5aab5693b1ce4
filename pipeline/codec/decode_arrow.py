"""Many candidates from one batch message.

Promises: a defect of the stream rejects the message, a defect of one row rejects that row alone. Works column
by column, and looks at single rows only where a column says that some are bad.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from actors.pairs import FLAT_FIELD
from pipeline.codec.arrow_stream import read_batches
from pipeline.codec.decode_json import check_id
from pipeline.codec.limits import MAX_ID_CHARS
from pipeline.errors import InputError
from pipeline.records import Reason

_Faults = dict[int, tuple[Reason, str]]
"""What is wrong with a row, by its position in the record batch."""


class Batch(NamedTuple):
    """What a batch message holds: columns, one entry per sound row, and what ails the others."""

    row: list[int]
    """Row within the message, over all of its record batches, from 0."""
    candidate_id: list[str]
    query: list[Mapping[str, str]]
    document: list[Mapping[str, str]]
    problems: list[InputError]
    """One per bad row, in order; each knows its row."""


def decode_batch(value: bytes) -> Batch:
    """Read every row.

    Args:
        value: The message's value.

    Returns:
        The sound rows, and the problems of the others; at least one of the two.

    Raises:
        InputError: The message as a whole is bad.
    """
    found = Batch([], [], [], [], [])
    first = 0
    for batch in read_batches(value):
        decode_rows(batch, first, found)
        first += batch.num_rows
    if not first:
        raise InputError(Reason.EMPTY_VALUE, "the Arrow stream has no rows")
    return found


def decode_rows(batch: pa.RecordBatch, first: int, found: Batch) -> None:
    """Read the rows of one record batch.

    Args:
        batch: With the columns of a candidate, see `arrow_stream.read_batches`.
        first: Number of its first row.
        found: Grows by what they hold.

    Raises:
        InputError: A column is damaged.
    """
    faults: _Faults = {}
    ids = _ids(batch.column("candidate_id"), faults)
    query = _fields("query", batch.column("query"), faults)
    document = _fields("document", batch.column("document"), faults)
    rows: Iterable[int] = range(first, first + batch.num_rows)
    if faults:
        sound = [at for at in range(batch.num_rows) if at not in faults]
        rows = [first + at for at in sound]
        ids, query, document = ([column[at] for at in sound] for column in (ids, query, document))
        found.problems.extend(
            InputError(reason, detail, first + at) for at, (reason, detail) in sorted(faults.items())
        )
    found.row.extend(rows)
    found.candidate_id.extend(ids)
    found.query.extend(query)
    found.document.extend(document)


def _ids(array: pa.Array, faults: _Faults) -> list[Any]:
    ids, undecodable = _texts(array)
    _note(faults, undecodable, Reason.NOT_UTF8, "candidate_id is not UTF-8")
    for at in [at for at, text in enumerate(ids) if not text or len(text) > MAX_ID_CHARS]:
        try:
            check_id(ids[at])
        except InputError as problem:
            _note(faults, [at], problem.reason, problem.detail)
    return ids


def _fields(side: str, array: pa.Array, faults: _Faults) -> list[Any]:
    """The fields of each row; what stands at a faulty row means nothing."""
    if array.null_count:
        nulls = np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist()
        _note(faults, nulls, Reason.EMPTY_TEXT, f"{side} is null")
    if pa.types.is_struct(array.type):
        return _struct_fields(side, array, faults)
    if pa.types.is_map(array.type):
        return _map_fields(side, array, faults)
    texts, undecodable = _texts(array)
    _note(faults, undecodable, Reason.NOT_UTF8, f"{side} is not UTF-8")
    return [{FLAT_FIELD: text} for text in texts]


def _struct_fields(side: str, array: pa.StructArray, faults: _Faults) -> list[Any]:
    # Column by column into empty dicts: 120 ns a row for two fields, half of what dict(zip(...)) takes.
    rows: list[dict[str, str]] = [{} for _ in range(len(array))]
    for name, child in zip(array.type.names, array.flatten(), strict=True):
        if pa.types.is_null(child.type):
            continue
        texts, undecodable = _texts(child)
        _note(faults, undecodable, Reason.NOT_UTF8, f"a field of {side} is not UTF-8")
        for fields, text in zip(rows, texts, strict=True):
            if text is not None:
                fields[name] = text
    return rows


def _map_fields(side: str, array: pa.MapArray, faults: _Faults) -> list[Any]:
    bounds = array.offsets.to_numpy()
    if bounds[0] < 0 or bounds[-1] > len(array.keys) or (np.diff(bounds) < 0).any():
        raise InputError(Reason.NOT_ARROW, f"the offsets of {side} are out of bounds")
    names, bad_names = _texts(array.keys)
    texts, bad_texts = _texts(array.items)
    undecodable = np.searchsorted(bounds, bad_names + bad_texts, side="right") - 1
    _note(faults, undecodable.tolist(), Reason.NOT_UTF8, f"a field of {side} is not UTF-8")
    rows = []
    for at, (start, end) in enumerate(pairwise(bounds.tolist())):
        fields = dict(zip(names[start:end], texts[start:end], strict=True))
        if len(fields) != end - start:
            _note(faults, [at], Reason.DUPLICATE_KEY, f"a field of {side} is repeated")
        rows.append({name: text for name, text in fields.items() if text is not None})
    return rows


def _texts(array: pa.Array) -> tuple[list[Any], list[int]]:
    """Read a text column, however damaged.

    Args:
        array: Strings, their UTF-8 not yet checked.

    Returns:
        The strings, None where null or not UTF-8, and the positions of the latter.

    Raises:
        InputError: Its offsets are out of bounds.
    """
    try:
        array.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError):
        return _texts_one_by_one(array)
    return array.to_pylist(), []


def _texts_one_by_one(array: pa.Array) -> tuple[list[Any], list[int]]:
    large = pa.types.is_large_string(array.type)
    try:
        raw = array.view(pa.large_binary() if large else pa.binary())
        raw.validate(full=True)
    except pa.ArrowException as error:
        raise InputError(Reason.NOT_ARROW, "the offsets of a text column are out of bounds") from error
    texts: list[Any] = []
    undecodable = []
    for at, content in enumerate(raw.to_pylist()):
        try:
            texts.append(None if content is None else content.decode())
        except UnicodeDecodeError:
            texts.append(None)
            undecodable.append(at)
    return texts, undecodable


def _note(faults: _Faults, rows: Iterable[int], reason: Reason, detail: str) -> None:
    """Keep the first fault of each row."""
    for at in rows:
        faults.setdefault(at, (reason, detail))

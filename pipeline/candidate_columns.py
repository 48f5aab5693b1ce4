"""Candidates out of Arrow columns, many at a time: what `candidate_files` gives row by row.

Promises the same candidates as a row at a time would give, as the three columns of a batch message, so that the
codec reads them as it reads those. Texts are passed on as they are, whether they are UTF-8 or not. Knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.candidate_files import NO_ID, Columns, check_names, number_text
from pipeline.errors import DataUnusable

_NUMBERS = (pa.types.is_boolean, pa.types.is_floating)
_TEXTS = (pa.types.is_string, pa.types.is_large_string)
_LISTS = (pa.types.is_list, pa.types.is_large_list)


def check_schema(schema: pa.Schema, columns: Columns, here: str) -> None:
    """Refuse a file whose columns cannot make candidates.

    Args:
        schema: Of the file.
        columns: What makes a candidate.
        here: The file, for the error.

    Raises:
        DataUnusable: A column is missing or repeated, or its values cannot be texts.
    """
    check_names(schema.names, columns, here)
    for name in columns.id:
        kind = schema.field(name).type
        if any(test(kind) for test in _NUMBERS):
            raise DataUnusable(here, f"{name!r} is of type {kind}, {NO_ID}")
        _check_text(kind, name, here)
    for side in (columns.query, columns.document):
        for name in side:
            kind = schema.field(name).type
            if len(side) == 1 and pa.types.is_struct(kind):
                for field in kind:
                    _check_text(field.type, f"{name}.{field.name}", here)
            else:
                _check_text(kind, name, here)


def candidate_columns(rows: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
    """Make candidates of rows.

    Args:
        rows: With columns that `check_schema` let pass.
        columns: What makes a candidate.

    Returns:
        As many rows of `candidate_id`, `query` and `document`, as a batch message has them.
    """
    ids = _joined([_texts(rows.column(name)) for name in columns.id])
    sides = {"query": _side(rows, columns.query), "document": _side(rows, columns.document)}
    return pa.RecordBatch.from_pydict({"candidate_id": ids, **sides})


def _joined(parts: Sequence[pa.Array]) -> pa.Array:
    if len(parts) == 1:
        return parts[0]
    of_one_type = [part.cast(pa.large_string()) for part in parts]
    return pc.binary_join_element_wise(
        *of_one_type, pa.scalar(":", pa.large_string()), null_handling="emit_null"
    )


def _side(rows: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    """One column is a flat text, or the fields that it holds; several are fields by their names."""
    if len(names) > 1:
        return pa.StructArray.from_arrays([_texts(rows.column(name)) for name in names], names=list(names))
    column = rows.column(names[0])
    if not pa.types.is_struct(column.type):
        return _texts(column)
    fields = [_texts(field) for field in column.flatten()]
    return pa.StructArray.from_arrays(fields, names=list(column.type.names), mask=column.is_null())


def _texts(column: pa.Array) -> pa.Array:
    """Values as texts: numbers as Python writes them, a list of texts joined by commas."""
    kind = column.type
    if any(test(kind) for test in _TEXTS):
        return column
    if pa.types.is_dictionary(kind):
        return _texts(column.dictionary_decode())
    if any(test(kind) for test in _NUMBERS):
        numbers = (None if one is None else number_text(one) for one in column.to_pylist())
        return pa.array(list(numbers), pa.string())
    if any(test(kind) for test in _LISTS):
        # As bytes: what is no UTF-8 is for whoever reads the row.
        lists = column.cast(pa.large_list(pa.large_binary())).to_pylist()
        joined = (
            None if texts is None else b", ".join(text for text in texts if text is not None)
            for texts in lists
        )
        return pa.array(list(joined), pa.large_binary()).view(pa.large_string())
    return column.cast(pa.string())


def _check_text(kind: pa.DataType, name: str, here: str) -> None:
    if any(test(kind) for test in _LISTS):
        kind = kind.value_type
        fits = any(test(kind) for test in _TEXTS) or pa.types.is_null(kind)
    elif pa.types.is_dictionary(kind):
        fits = any(test(kind.value_type) for test in _TEXTS)
    else:
        tests = (*_TEXTS, *_NUMBERS, pa.types.is_integer, pa.types.is_null)
        fits = any(test(kind) for test in tests)
    if not fits:
        problem = (
            f"{name!r} is neither text nor a number, but of type {str(kind)[:100]}; write it as text first"
        )
        raise DataUnusable(here, problem)

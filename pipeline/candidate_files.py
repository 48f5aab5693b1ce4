"""Candidates out of a file, one after the other: Parquet or JSON lines, columns named by the user.

Promises to hold a small part of the file at a time. One column for a side is a flat text, or the fields that it
holds; several are fields by their names. Nulls are left out, and NaN, which tables of numbers have in their place.
What cannot be read ends it, with the place; what a candidate lacks does not: that is for the gate to reject. Knows
no message.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.candidates import Row, Side
from pipeline.errors import DataUnusable

NO_ID = "which may have lost digits of an id; write ids as text, or as integers of 64 bits"
"""What is wrong with a float: integers become one where a table has gaps, or where JSON has longer ones."""
_ROWS_HELD = 4096


class Kind(enum.StrEnum):
    """What files of candidates may be."""

    PARQUET = "Parquet"
    JSON_LINES = "JSON lines"


_KINDS = {
    ".parquet": Kind.PARQUET,
    ".pq": Kind.PARQUET,
    ".jsonl": Kind.JSON_LINES,
    ".ndjson": Kind.JSON_LINES,
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns make a candidate."""

    id: tuple[str, ...] = ("candidate_id",)
    """Joined by `:` where they are several."""
    query: tuple[str, ...] = ("query",)
    document: tuple[str, ...] = ("document",)

    @property
    def all(self) -> list[str]:
        """Each of them once."""
        return list(dict.fromkeys((*self.id, *self.query, *self.document)))


def kind_of(path: str) -> Kind:
    """What a file is, by its name's ending.

    Args:
        path: Or address.

    Returns:
        Its kind.

    Raises:
        DataUnusable: It is none of them.
    """
    kind = _KINDS.get(PurePath(path).suffix)
    if kind is None:
        known = ", ".join(sorted(_KINDS))
        raise DataUnusable(path, f"the name of a file of candidates ends in one of {known}")
    return kind


def check_names(names: Sequence[str], columns: Columns, here: str) -> None:
    """Refuse a table that has not each mapped column once.

    Args:
        names: Of the table's columns.
        columns: What makes a candidate.
        here: The file, for the error.

    Raises:
        DataUnusable: A column is missing or repeated.
    """
    for name in columns.all:
        if names.count(name) != 1:
            problem = f"there is {'more than one' if name in names else 'no'} column {name!r}"
            raise DataUnusable(here, f"{problem}; there are {', '.join(names)}")


def read_candidates(path: Path, columns: Columns) -> tuple[Iterator[Row], int | None]:
    """Open a file of candidates.

    Args:
        path: Parquet or JSON lines, by its name's ending.
        columns: What makes a candidate.

    Returns:
        The candidates, read while they are taken, and how many there are, if the file tells.

    Raises:
        DataUnusable: It cannot be read, or has no such column. The iterator raises it too.
    """
    if kind_of(str(path)) is Kind.PARQUET:
        return _open_parquet(path, columns)
    if not path.is_file():
        raise DataUnusable(str(path), "there is no such file")
    return _json_lines(path, columns), None


def _open_parquet(path: Path, columns: Columns) -> tuple[Iterator[Row], int]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataUnusable(str(path), f"cannot be read as Parquet: {error}") from error
    check_names(file.schema_arrow.names, columns, str(path))
    return _parquet(file, path, columns), file.metadata.num_rows


def _parquet(file: pq.ParquetFile, path: Path, columns: Columns) -> Iterator[Row]:
    n = 0
    with file:
        try:
            for batch in file.iter_batches(batch_size=_ROWS_HELD, columns=columns.all):
                for content in batch.to_pylist():
                    yield row_of(content, columns, f"{path}, row {n}")
                    n += 1
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise DataUnusable(f"{path}, after row {n}", str(error)) from error


def _json_lines(path: Path, columns: Columns) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        here = f"{path}, line {number}"
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataUnusable(here, f"not JSON: {error}") from error
        if not isinstance(content, dict):
            raise DataUnusable(here, "not a JSON object")
        yield row_of(content, columns, here)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise DataUnusable(str(path), f"cannot be read: {error}") from error


def row_of(content: Mapping[str, Any], columns: Columns, here: str) -> Row:
    """The candidate of one row.

    Args:
        content: The row's values by column.
        columns: What makes a candidate; those that are not there count as null.
        here: Where the row is, for the error.

    Returns:
        The candidate, with what it lacks left out.

    Raises:
        DataUnusable: A value cannot be a text, or one of an id is a float.
    """
    parts = [_id(content.get(name), name, here) for name in columns.id]
    whole = ":".join(part for part in parts if part is not None) if None not in parts else None
    return Row(whole, _side(content, columns.query, here), _side(content, columns.document, here))


def _id(value: object, name: str, here: str) -> str | None:
    """A part of an id: two ids that differ are never one."""
    if isinstance(value, float | bool):
        raise DataUnusable(here, f"{name!r} is {value}, {NO_ID}")
    return _text(value, name, here)


def number_text(value: float) -> str | None:
    """A number, or a truth value, as Python writes it; None for NaN."""
    return None if math.isnan(value) else str(value)


def _side(content: Mapping[str, Any], names: Sequence[str], here: str) -> Side:
    if len(names) == 1:
        value = content.get(names[0])
        if not isinstance(value, Mapping):
            return _text(value, names[0], here)
        content, names = value, list(value)
    texts = {name: _text(content.get(name), name, here) for name in names}
    return {name: text for name, text in texts.items() if text is not None}


def _text(value: object, name: str, here: str) -> str | None:
    """A value as text: numbers as they are written, a list of texts joined by commas."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return number_text(value)
    if isinstance(value, list) and all(one is None or isinstance(one, str) for one in value):
        return ", ".join(one for one in value if one is not None)
    raise DataUnusable(here, f"{name!r} is neither text nor a number, but {type(value).__name__}")

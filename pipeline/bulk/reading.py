"""The rows of a stretch, part by part, and the candidates that they hold.

Promises the same parts however often it is asked, and a fault instead of a part that is not what was surveyed.
What a row lacks is a value, for its reject; what cannot be read is raised, with the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.bulk.files import open_file
from pipeline.bulk.lines import read_line
from pipeline.bulk.parts import Part, Stretch
from pipeline.bulk.store import in_one_line
from pipeline.candidate_columns import candidate_columns
from pipeline.candidate_files import Columns, Kind, row_of
from pipeline.candidates import Row
from pipeline.codec.decode_arrow import Batch, decode_rows
from pipeline.codec.decode_json import as_fields, check_id
from pipeline.errors import DataUnusable, InputError, TransientError
from pipeline.records import Candidates, Reason, Rejected, Stage

LINE = "line"
_AWAY = (ConnectionError, TimeoutError)
"""What is said of a store that does not answer: nothing is wrong with the file."""
_BUFFER_BYTES = 1 << 20
"""Of a column chunk that are read ahead: a row group may be larger than memory."""


class Rows(NamedTuple):
    """The rows of one part, as they were read."""

    part: Part
    content: pa.RecordBatch
    """The columns that make a candidate, or the one column `line`."""
    at: NDArray[np.int64]
    """Place of each in its file, from 0: its row, or its line; int64 `[n]`."""


def read(stretch: Stretch, columns: Columns) -> Iterator[Rows]:
    """Read the parts of a stretch that are wanted. Holds one of them at a time.

    Args:
        stretch: What to read.
        columns: What makes a candidate.

    Yields:
        Its wanted parts, in order.

    Raises:
        DataUnusable: The file cannot be read, or is not what it was.
        TransientError: The store does not answer.
    """
    if stretch.kind is Kind.JSON_LINES:
        yield _lines(stretch)
        return
    try:
        yield from _parquet(stretch, columns)
    except _AWAY as error:
        raise TransientError(f"reading {stretch.file}", in_one_line(error)) from error
    except (pa.ArrowException, OSError, KeyError) as error:  # the last where it lost a column since
        raise DataUnusable(
            f"{stretch.file}, row groups {stretch.start} to {stretch.stop}", str(error)
        ) from error


def decode(rows: Rows, columns: Columns, kind: Kind) -> tuple[Candidates, list[Rejected]]:
    """Find the candidates that rows hold: the part is as one large batch message.

    Args:
        rows: Of one part.
        columns: What makes a candidate.
        kind: Of the file.

    Returns:
        The candidates, and the rows that are none; the row of either is its place in the part.

    Raises:
        DataUnusable: A line is not JSON. It was when the file was surveyed, so that the file was changed.
    """
    found = Batch([], [], [], [], [])
    if kind is Kind.PARQUET:
        decode_rows(candidate_columns(rows.content, columns), 0, found)
    else:
        _decode_lines(rows, columns, found)
    rejected = [Rejected(0, one.row, one.reason, Stage.DECODE, one.detail) for one in found.problems]
    return Candidates([0] * len(found.row), *found[:-1]), rejected


def _parquet(stretch: Stretch, columns: Columns) -> Iterator[Rows]:
    with _opened(stretch.file) as file:
        most = max(part.n_rows for part in stretch.parts)
        groups = list(range(stretch.start, stretch.stop))
        batches = file.iter_batches(most, row_groups=groups, columns=columns.all, use_threads=False)
        schema = pa.schema([file.schema_arrow.field(name) for name in columns.all])
        waiting = pa.Table.from_batches([], schema)
        for part in stretch.parts:
            while waiting.num_rows < part.n_rows:
                batch = next(batches, None)
                if batch is None:
                    raise DataUnusable(
                        str(part), f"{waiting.num_rows} rows are left, not {part.n_rows}: it was changed"
                    )
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch.select(columns.all)])])
            taken, waiting = waiting.slice(0, part.n_rows), waiting.slice(part.n_rows)
            if part.number not in stretch.skipped:
                (content,) = taken.combine_chunks().to_batches()
                yield Rows(part, content, np.arange(part.first, part.first + part.n_rows))


@contextmanager
def _opened(name: str) -> Iterator[pq.ParquetFile]:
    # Arrow reads a file of this machine by itself, faster than through Python.
    source = name if "://" not in name else open_file(name)
    file = pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    try:
        yield file
    finally:
        file.close(force=True)


def _lines(stretch: Stretch) -> Rows:
    (part,) = stretch.parts
    try:
        store, path = fsspec.core.url_to_fs(stretch.file)
        content = store.cat_file(path, start=stretch.start, end=stretch.stop)
    except _AWAY as error:
        raise TransientError(f"reading {stretch.file}", in_one_line(error)) from error
    except OSError as error:
        raise DataUnusable(str(part), str(error)) from error
    lines = content.removesuffix(b"\n").split(b"\n")
    at = [place for place, line in enumerate(lines) if line and not line.isspace()]
    if len(at) != part.n_rows or len(content) != stretch.stop - stretch.start:
        raise DataUnusable(str(part), f"there are {len(at)} lines, not {part.n_rows}: it was changed")
    rows = pa.RecordBatch.from_pydict({LINE: pa.array([lines[place] for place in at], pa.binary())})
    return Rows(part, rows, np.array(at, np.int64) + part.first)


def _decode_lines(rows: Rows, columns: Columns, found: Batch) -> None:
    for place, line in enumerate(rows.content.column(LINE).to_pylist()):
        try:
            candidate = _candidate(read_line(line, ""), columns)
            checked = check_id(candidate.candidate_id)
            query, document = as_fields("query", candidate.query), as_fields("document", candidate.document)
        except InputError as problem:
            found.problems.append(InputError(problem.reason, problem.detail, place))
        except DataUnusable as problem:
            here = f"{rows.part.file}, line {rows.at[place] + 1}"
            raise DataUnusable(here, f"{problem.problem}: it was changed") from problem
        else:
            found.row.append(place)
            found.candidate_id.append(checked)
            found.query.append(query)
            found.document.append(document)


def _candidate(content: dict[str, object], columns: Columns) -> Row:
    try:
        return row_of(content, columns, "")
    except DataUnusable as problem:
        raise InputError(Reason.WRONG_TYPE, problem.problem) from problem

"""Reads labels, and pairs that nobody labelled, from Parquet or JSON lines: once, and checked at once.

Promises columns in which every level is one of the rubric's, every probability one, and every pair has words on
both sides; whatever else is in a file is refused in one line that names the file, the row and what would be right.
"""

from __future__ import annotations

import datetime
import enum
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn.labels import Columns, Label, Labels, Pair, Sampling, Source
from actors.learn.listing import one_line
from actors.rubric import Rubric

_Choice = TypeVar("_Choice", bound=enum.StrEnum)
_NO_TEXT = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
    pa.types.is_struct,
    pa.types.is_map,
)
"""Kinds of columns whose values Python would write in its own way: b'kettle', {'en': 'kettle'}."""
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
CHANGED = "was changed while it was read; begin again when nobody writes to it"
"""What is wrong with files that are not what they were."""
_ROUNDED = 1e-3
"""By how much the probabilities of levels may miss a sum of 1."""


def read_labels(
    paths: Sequence[Path], columns: Columns, rubric: Rubric, *, both_kinds: bool = True
) -> Labels:
    """Read label files, Parquet or JSON lines, as one.

    Args:
        paths: Files ending in `.parquet`, `.jsonl`, `.ndjson` or `.json`; at least one.
        columns: Which column is what.
        rubric: The levels.
        both_kinds: Whether labels that are all severe, or all not, are refused.

    Returns:
        The labels, in the order read; but the opinions on a pair, in its places, by their times, those without one
        first.

    Raises:
        DataRefused: A file cannot be read, is named twice, lacks a column or holds no row; a level, a probability,
            a time or a text is not one; a pair is in two clusters; or all labels are of one kind.
    """
    places: dict[str, int] = {}
    pairs: list[Pair] = []
    rows: list[Label] = []
    for path in paths:
        if paths.count(path) > 1:
            raise DataRefused(
                str(path), "is named twice, so that its opinions would count twice; name it once"
            )
        table = _read(path)
        _refuse_missing(path, table, columns, rubric)
        for number, row in enumerate(_rows(table, path), start=1):
            where = f"{path}, row {number}"
            pair = _pair(row, columns, where)
            key = json.dumps([sorted(pair.query.items()), sorted(pair.document.items())])
            place = places.setdefault(key, len(pairs))
            if place == len(pairs):
                pairs.append(pair)
            _refuse_other_cluster(pairs[place].cluster, pair.cluster, where)
            rows.append(_label(row, columns, rubric, place=place, where=where))
    source = ", ".join(str(path) for path in paths)
    if not rows:
        raise DataRefused(source, "there is no label in it")
    kinds = {row.p_severe > 0.5 for row in rows}
    if both_kinds and len(kinds) == 1:
        kind = "severe" if kinds.pop() else "not severe"
        severe = ", ".join(sorted(rubric.severe))
        raise DataRefused(source, f"every label is {kind}; both kinds are needed (severe levels: {severe})")
    return Labels(rubric, tuple(pairs), tuple(_in_time(rows)))


def read_probabilities(paths: Sequence[Path], column: str, labels: Labels) -> NDArray[np.float64]:
    """Read a column of probabilities from the files that labels were read from: what a model says of the pairs.

    Args:
        paths: The files, in the same order.
        column: Its name.
        labels: What `read_labels` gave.

    Returns:
        The mean for each of `labels.pairs`, float64 `[n]`; NaN for a pair that has no value.

    Raises:
        DataRefused: A file lacks the column, or has other rows than before; or a value is no probability.
    """
    found: list[list[float]] = [[] for _ in labels.pairs]
    rows = iter(labels.rows)
    tables = [_read(path) for path in paths]
    if sum(map(len, tables)) != len(labels.rows):
        source = ", ".join(map(str, paths))
        raise DataRefused(source, CHANGED)
    for path, table in zip(paths, tables, strict=True):
        _refuse_columns(path, table, [column])
        for number, (value, row) in enumerate(zip(table[column].to_pylist(), rows, strict=False), start=1):
            if value is not None:
                found[row.pair].append(_probability(value, f"{path}, row {number}", f"column {column}: "))
    return np.array([np.mean(values) if values else np.nan for values in found], np.float64)


def read_pairs(path: Path, columns: Columns) -> tuple[Pair, ...]:
    """Read pairs that nobody labelled, such as a window of traffic, from Parquet or JSON lines.

    Args:
        path: A file ending in `.parquet`, `.jsonl`, `.ndjson` or `.json`.
        columns: Which column is what; those of opinions are left alone, and that of clusters may be missing.

    Returns:
        A pair for each row, in order, equal ones too; without segments.

    Raises:
        DataRefused: The file cannot be read, lacks a column or holds no row; or a row has no text on a side.
    """
    table = _read(path)
    texts = [*columns.query.values(), *columns.document.values()]
    _refuse_columns(path, table, texts)
    cluster = columns.cluster if columns.cluster in table.schema.names else None
    named = replace(columns, cluster=cluster, segment=None)
    rows = _rows(table.select(list(dict.fromkeys([*texts, *([cluster] if cluster else [])]))), path)
    pairs = tuple(_pair(row, named, f"{path}, row {number}") for number, row in enumerate(rows, start=1))
    if not pairs:
        raise DataRefused(str(path), "there is no pair in it")
    return pairs


def _read(path: Path) -> pa.Table:
    if path.suffix not in _READERS:
        raise DataRefused(str(path), "neither Parquet (.parquet) nor JSON lines (.jsonl)")
    try:
        if not path.is_file():
            raise DataRefused(
                str(path), "is a folder; name the files in it" if path.is_dir() else "no such file"
            )
        table = _READERS[path.suffix](path)
        table.validate(full=True)  # texts that are no UTF-8 are found here, and not row by row
        list(table.schema.names)  # and so are names
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise DataRefused(str(path), f"cannot be read: {' '.join(str(error).split())}") from error
    return table


def _read_json(path: Path) -> pa.Table:
    """With every text as it was written: Arrow takes a column of dates for times, and writes those otherwise."""
    table = pyarrow.json.read_json(path)
    texts = [pa.field(one.name, pa.string()) for one in table.schema if pa.types.is_timestamp(one.type)]
    texts += [
        pa.field(one.name, pa.list_(pa.string()))
        for one in table.schema
        if pa.types.is_list(one.type) and pa.types.is_timestamp(one.type.value_type)
    ]
    if not texts:
        return table
    options = pyarrow.json.ParseOptions(explicit_schema=pa.schema(texts))
    return pyarrow.json.read_json(path, parse_options=options)


_READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    ".parquet": pyarrow.parquet.read_table,
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), _read_json),
}
"""By the end of a file's name."""


def _refuse_missing(path: Path, table: pa.Table, columns: Columns, rubric: Rubric) -> None:
    opinion = (columns.level, columns.p_severe, *columns.levels.values(), columns.source, columns.annotator)
    single = (*opinion, columns.sampling, columns.adjudicated, columns.cluster, columns.segment, columns.time)
    wanted = [*columns.query.values(), *columns.document.values(), *(name for name in single if name)]
    _refuse_columns(path, table, wanted)
    if not (columns.level or columns.p_severe or columns.levels):
        raise DataRefused(str(path), "name a column for level, for p_severe, or one for each of the levels")
    for level in columns.levels:
        _refuse_unknown(level, rubric, f"{path}, columns.levels")


def _refuse_other_cluster(before: str | None, here: str | None, where: str) -> None:
    if None not in {before, here} and before != here:
        problem = f"its pair is in cluster {here!r}, and in {before!r} in an earlier row; give it one of them"
        raise DataRefused(where, problem)


def _refuse_columns(path: Path, table: pa.Table, wanted: Sequence[str]) -> None:
    missing = sorted(set(wanted) - set(table.schema.names))
    if missing:
        there = ", ".join(map(one_line, table.schema.names))
        raise DataRefused(str(path), f"no column {', '.join(missing)}; map it to one of: {there}")
    for name in sorted(set(wanted)):
        kind = table.schema.field(name).type
        if any(is_kind(_of_each(kind)) for is_kind in _NO_TEXT):
            problem = f"column {name} holds {kind}; write it as text, as numbers, or as a list of texts"
            raise DataRefused(str(path), problem)


def _of_each(kind: pa.DataType) -> pa.DataType:
    """What a list or a dictionary holds; a kind that is neither, itself."""
    holds = pa.types.is_dictionary(kind) or any(is_list(kind) for is_list in _LISTS)
    return _of_each(kind.value_type) if holds else kind


def _rows(table: pa.Table, path: Path) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=10_000):
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError) as error:  # a zone that is none, a year that Python has not
            problem = f"a value cannot be read: {' '.join(str(error).split())}; write times as text, ISO 8601"
            raise DataRefused(str(path), problem) from error
        yield from rows


def _pair(row: Mapping[str, Any], columns: Columns, where: str) -> Pair:
    query, document = _fields(row, columns.query), _fields(row, columns.document)
    for side, found, named in (("query", query, columns.query), ("document", document, columns.document)):
        if not found:
            raise DataRefused(where, f"no text on the {side} side (columns {', '.join(named.values())})")
    return Pair(query, document, _text(row, columns.cluster), _text(row, columns.segment))


def _fields(row: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, str]:
    """Fields with text; a list of texts is one, joined by commas, as in the candidates that a gate is given."""
    found = {}
    for name, column in named.items():
        value = row[column]
        texts = value if isinstance(value, list) else [value]
        text = ", ".join(str(one) for one in texts if not _absent(one)).strip()
        if text:
            found[name] = text
    return found


def _text(row: Mapping[str, Any], column: str | None) -> str | None:
    value = row[column] if column else None
    if isinstance(value, list):
        return " > ".join(str(part) for part in value if part is not None) or None
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers with gaps: person 7 of one file is 7.0 in another
    return None if _absent(value) else str(value)


def _absent(value: object) -> bool:
    """Null, or the number that is none: some libraries write a missing text so."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _label(row: Mapping[str, Any], columns: Columns, rubric: Rubric, *, place: int, where: str) -> Label:
    level = _text(row, columns.level)
    if level is not None:
        _refuse_unknown(level, rubric, where)
        p_severe = float(level in rubric.severe)
    elif any(row[column] is not None for column in columns.levels.values()):
        p_severe = _share_severe({one: row[column] for one, column in columns.levels.items()}, rubric, where)
    else:
        p_severe = _probability(row[columns.p_severe] if columns.p_severe else None, where)
    return Label(
        pair=place,
        source=_one_of(Source, _text(row, columns.source), columns.default_source, where),
        annotator=_text(row, columns.annotator) or "",
        level=level,
        p_severe=p_severe,
        sampling=_one_of(Sampling, _text(row, columns.sampling), columns.default_sampling, where),
        adjudicated=_truth(row[columns.adjudicated], where) if columns.adjudicated else False,
        time=_time(row[columns.time], where) if columns.time else None,
    )


def _refuse_unknown(level: str, rubric: Rubric, where: str) -> None:
    if level not in rubric.gains:
        raise DataRefused(where, f"unknown level {level!r}; the rubric has {', '.join(rubric.levels)}")


def _truth(value: object, where: str) -> bool:
    said = "" if _absent(value) else str(value).strip().lower()
    if said in {"true", "1", "1.0", "false", "0", "0.0", ""}:
        return said in {"true", "1", "1.0"}
    raise DataRefused(where, f"{value!r} does not say whether the row settles its pair; write true or false")


def _share_severe(said: Mapping[str, object], rubric: Rubric, where: str) -> float:
    p = {level: _probability(value, where, f"level {level}: ", of="it") for level, value in said.items()}
    total = math.fsum(p.values())
    if abs(total - 1) > _ROUNDED:
        listed = ", ".join(f"{level} {value:g}" for level, value in p.items())
        raise DataRefused(where, f"the probabilities of its levels sum to {total:g}, not to 1: {listed}")
    return math.fsum(value for level, value in p.items() if level in rubric.severe) / total


def _time(value: object, where: str) -> str | None:
    """As UTC, which a time without a zone is taken for."""
    if _absent(value):
        return None
    if isinstance(value, int | float):  # since 1970: as digits, some would pass for a day of the year 1706
        raise DataRefused(where, f"{value!r} is a number and no time; write it as 2026-01-31T12:00:00Z")
    try:
        time = datetime.datetime.fromisoformat(str(value))
        utc = time.replace(tzinfo=time.tzinfo or datetime.UTC).astimezone(datetime.UTC)
    except (ValueError, OverflowError) as error:
        said = f"{str(value)[:40]!r} is no time; write it as 2026-01-31T12:00:00Z"
        raise DataRefused(where, said) from error
    return utc.isoformat(timespec="microseconds")


def _in_time(rows: Sequence[Label]) -> list[Label]:
    """The rows of each pair by their times, in the places that the pair has: places still tell the pair."""
    of_pair: dict[int, list[Label]] = {}
    for row in rows:
        of_pair.setdefault(row.pair, []).append(row)
    ordered = {pair: iter(sorted(said, key=lambda row: row.time or "")) for pair, said in of_pair.items()}
    return [next(ordered[row.pair]) for row in rows]


def _probability(
    value: object, where: str, said: str = "no level, and ", *, of: str = "a severe one"
) -> float:
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1:
        return float(value)
    raise DataRefused(where, f"{said}{value!r} is no probability of {of}, from 0 to 1")


def _one_of(kind: type[_Choice], value: str | None, default: _Choice, where: str) -> _Choice:
    if value is None:
        return default
    try:
        return kind(value)
    except ValueError as error:
        raise DataRefused(where, f"{value!r} is none of {', '.join(one.value for one in kind)}") from error

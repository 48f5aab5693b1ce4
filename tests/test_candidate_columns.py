"""Columns give the candidates that rows give."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.candidate_columns import candidate_columns, check_schema
from pipeline.candidate_files import Columns, read_candidates
from pipeline.candidates import table
from pipeline.codec.decode_arrow import Batch, decode_rows
from pipeline.errors import DataUnusable

CONTENT = pa.table(
    {
        "sku": pa.array([1, 2, None, 4], pa.int16()),
        "shop": pa.array(["a", "b", "c", None], pa.large_string()),
        "theme": pa.array(["boots", None, "", "Stiefel"]).dictionary_encode(),
        "price": [9.5, 1e20, None, float("nan")],
        "sale": [True, None, False, True],
        "tags": pa.array([["x", None, "y"], [], None, ["z"]], pa.list_(pa.string())),
        "nothing": pa.nulls(4),
        "item": pa.array(
            [{"title": "Boot", "n": 1}, {"title": None, "n": 2}, None, {"title": "b", "n": None}],
            pa.struct([("title", pa.string()), ("n", pa.int64())]),
        ),
    }
)


def decoded(columns: pa.RecordBatch) -> Batch:
    found = Batch([], [], [], [], [])
    decode_rows(columns, 0, found)
    return found


@pytest.mark.parametrize(
    "columns",
    [
        Columns(("sku",), ("theme",), ("item",)),
        Columns(("shop", "sku"), ("theme", "shop"), ("price", "sale", "tags", "nothing")),
        Columns(("sku",), ("tags",), ("price",)),
    ],
)
def test_columns_give_the_candidates_that_rows_give(tmp_path, columns: Columns) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(CONTENT, path)
    by_row, _ = read_candidates(path, columns)
    (rows,) = table(list(by_row)).to_batches()
    (batch,) = pq.read_table(path, columns=columns.all).to_batches()
    check_schema(batch.schema, columns, "here")
    by_column, one_by_one = decoded(candidate_columns(batch, columns)), decoded(rows)
    assert by_column[:-1] == one_by_one[:-1]
    assert [str(one) for one in by_column.problems] == [str(one) for one in one_by_one.problems]


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (Columns(("id",), ("a",), ("b",)), "no column 'id'; there are a, b, b, day, float, deep"),
        (Columns(("a",), ("a",), ("b",)), "more than one column 'b'"),
        (Columns(("day",), ("a",), ("a",)), "'day' is neither text nor a number, but of type date32"),
        (Columns(("a", "float"), ("a",), ("a",)), "'float' is of type double, which may have lost digits"),
        (Columns(("a",), ("deep",), ("a",)), r"'deep\.at' is neither"),
        (Columns(("a",), ("deep", "a"), ("a",)), "'deep' is neither"),
    ],
)
def test_columns_that_make_no_candidate_are_refused(columns: Columns, problem: str) -> None:
    schema = pa.schema(
        [
            ("a", pa.string()),
            ("b", pa.string()),
            ("b", pa.string()),
            ("day", pa.date32()),
            ("float", pa.float64()),
            ("deep", pa.struct([("at", pa.timestamp("us"))])),
        ]
    )
    with pytest.raises(DataUnusable, match=problem):
        check_schema(schema, columns, "here")


def test_texts_that_are_not_utf8_are_left_to_whoever_reads_the_row() -> None:
    bad = pa.array([b"\xff", b"fine"], pa.binary()).view(pa.string())
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b"], "q": bad, "d": ["x", "y"]})
    found = decoded(candidate_columns(batch, Columns(("id",), ("q",), ("d",))))
    assert found.row == [1]
    assert [(one.row, one.reason) for one in found.problems] == [(0, "not_utf8")]


def test_lists_with_a_text_that_is_not_utf8_are_left_to_whoever_reads_the_row() -> None:
    """One such row in a list ended the whole backfill, and every `--resume` at the same part."""
    bad = pa.array([b"\xff", b"fine", b"x"], pa.binary()).view(pa.string())
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), bad)
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b"], "q": ["x", "y"], "d": lists})
    found = decoded(candidate_columns(batch, Columns(("id",), ("q",), ("d",))))
    assert (found.row, found.document) == ([1], [{"text": "fine, x"}])
    assert [(one.row, one.reason) for one in found.problems] == [(0, "not_utf8")]

"""Files give candidates by the columns that the user names."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.candidate_files import Columns, read_candidates
from pipeline.candidates import Row
from pipeline.errors import DataUnusable

CONTENT = [
    {
        "sku": 1,
        "shop": "a",
        "theme": "boots",
        "title": "Boot",
        "brand": None,
        "price": 9.5,
        "tags": ["x", "y"],
    },
    {"sku": 2, "shop": "b", "theme": None, "title": None, "brand": "Acme", "price": None, "tags": []},
]
ESCI = Path(__file__).parents[1] / ".." / "shared" / "data" / "esci_dev.parquet"


@pytest.fixture(params=["parquet", "jsonl"])
def path(request, tmp_path):
    path = tmp_path / f"items.{request.param}"
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(CONTENT), path)
    else:
        path.write_bytes(b"\n\n".join(orjson.dumps(one) for one in CONTENT))
    return path


def test_one_column_is_a_flat_text_and_several_are_fields_without_nulls(path):
    rows, total = read_candidates(path, Columns(("sku",), ("theme",), ("title", "brand", "price", "tags")))
    assert list(rows) == [
        Row("1", "boots", {"title": "Boot", "price": "9.5", "tags": "x, y"}),
        Row("2", None, {"brand": "Acme", "tags": ""}),
    ]
    assert total == (2 if path.suffix == ".parquet" else None)


def test_an_id_of_several_columns_is_joined(path):
    rows, _ = read_candidates(path, Columns(("shop", "sku"), ("theme",), ("title",)))
    assert [row.candidate_id for row in rows] == ["a:1", "b:2"]


def test_an_id_with_a_null_in_it_is_none(path):
    rows, _ = read_candidates(path, Columns(("shop", "theme"), ("theme",), ("title",)))
    assert [row.candidate_id for row in rows] == ["a:boots", None]


def test_a_column_of_fields_is_taken_as_it_is(tmp_path):
    content = {"candidate_id": "a", "query": {"theme": "boots", "brief": None}, "document": "Boot"}
    path = tmp_path / "wire.jsonl"
    path.write_bytes(orjson.dumps(content))
    rows, _ = read_candidates(path, Columns())
    assert list(rows) == [Row("a", {"theme": "boots"}, "Boot")]


def test_nan_is_absent_as_null_is(tmp_path):
    """It was served as the text `nan`, while labels with it were learned without."""
    path = tmp_path / "items.parquet"
    nan = float("nan")
    pq.write_table(pa.table({"sku": [1, 2], "theme": [nan, 2.0], "price": [nan, 9.5]}), path)
    rows, _ = read_candidates(path, Columns(("sku",), ("theme",), ("theme", "price")))
    assert list(rows) == [Row("1", None, {}), Row("2", "2.0", {"theme": "2.0", "price": "9.5"})]


@pytest.mark.parametrize("written", ["18446744073709551616", "7.0", "true"])
def test_an_id_that_may_have_lost_digits_is_refused(tmp_path, written):
    """Ids of 65 bits that differed in their last digits became the same text."""
    path = tmp_path / "items.jsonl"
    path.write_text(f'{{"candidate_id": 18446744073709551615}}\n{{"candidate_id": {written}}}')
    rows, _ = read_candidates(path, Columns())
    assert next(rows).candidate_id == "18446744073709551615"
    with pytest.raises(DataUnusable, match=r"line 2: 'candidate_id' is .* lost digits"):
        next(rows)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    path = tmp_path / "items.parquet"
    pq.write_table(pa.Table.from_pylist(CONTENT), path)
    with pytest.raises(DataUnusable, match=r"no column 'query'; there are sku, shop"):
        read_candidates(path, Columns(("sku",)))


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    """The last of them was taken."""
    path = tmp_path / "items.parquet"
    columns = [pa.array(["a"]), pa.array(["q"]), pa.array(["d"]), pa.array(["e"])]
    pq.write_table(pa.Table.from_arrays(columns, ["candidate_id", "query", "document", "document"]), path)
    with pytest.raises(DataUnusable, match="more than one column 'document'"):
        read_candidates(path, Columns())


def test_a_text_of_a_parquet_file_that_is_not_utf8_ends_it_with_the_place(tmp_path):
    """It ended with a traceback."""
    path = tmp_path / "items.parquet"
    bad = pa.array([b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"candidate_id": ["a"], "query": bad, "document": ["d"]}), path)
    rows, _ = read_candidates(path, Columns())
    with pytest.raises(DataUnusable, match=r"items\.parquet, after row 0: 'utf-8' codec can't decode"):
        list(rows)


@pytest.mark.parametrize(
    "document",
    [
        pa.array([1 << 62], pa.timestamp("us")),
        pa.array([1 << 30], pa.date32()),
        pa.StructArray.from_arrays([pa.array(["x"]), pa.array(["y"])], ["title", "title"]),
    ],
    ids=["no such time", "no such day", "a field twice"],
)
def test_a_value_that_python_does_not_have_ends_it_with_the_place(tmp_path, document):
    """Each ended with a traceback."""
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"candidate_id": ["a"], "query": ["q"], "document": document}), path)
    rows, _ = read_candidates(path, Columns())
    with pytest.raises(DataUnusable, match="after row 0"):
        list(rows)


def test_lines_that_may_not_be_read_are_said_to_be_so(tmp_path, monkeypatch):
    """It ended with a traceback."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "items.jsonl").touch()
    monkeypatch.setattr(Path, "open", refuse)
    rows, _ = read_candidates(tmp_path / "items.jsonl", Columns())
    with pytest.raises(DataUnusable, match=r"items\.jsonl: cannot be read: .*Permission denied"):
        list(rows)


@pytest.mark.parametrize(
    ("line", "problem"),
    [("{", "line 2: not JSON"), ("[1]", "line 2: not a JSON object"), ('{"query": [1]}', "line 2")],
)
def test_a_bad_line_is_named(tmp_path, line, problem):
    path = tmp_path / "items.jsonl"
    path.write_text('{"candidate_id": "a", "query": "q", "document": "d"}\n' + line)
    rows, _ = read_candidates(path, Columns())
    with pytest.raises(DataUnusable, match=problem):
        list(rows)


@pytest.mark.parametrize("name", ["absent.parquet", "absent.jsonl", "items.csv"])
def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path, name):
    with pytest.raises(DataUnusable, match=name):
        read_candidates(tmp_path / name, Columns())


def test_a_parquet_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "items.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(DataUnusable, match="cannot be read as Parquet"):
        read_candidates(path, Columns())


@pytest.mark.skipif(not ESCI.exists(), reason="shared/data/esci_dev.parquet is not beside this checkout")
def test_a_real_catalogue_reads():
    rows, total = read_candidates(
        ESCI, Columns(("query_id", "product_id"), ("query",), ("title", "brand", "color"))
    )
    found = list(rows)
    assert len({row.candidate_id for row in found}) == len(found) == total == 4887

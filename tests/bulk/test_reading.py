"""Parts are read as they were surveyed, whatever the file is cut into."""

from __future__ import annotations

from pathlib import Path

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bulk.files import survey
from pipeline.bulk.parts import Ceilings, without
from pipeline.bulk.reading import decode, read
from pipeline.candidate_files import Columns, Kind
from pipeline.errors import DataUnusable, TransientError
from pipeline.records import Reason

COLUMNS = Columns(("sku",), ("theme",), ("title", "n"))
ROWS = [
    {"n": i, "sku": f"s{i}", "theme": "boots", "title": None if i % 3 else f"Boot {i}"} for i in range(40)
]


@pytest.fixture(scope="module", params=list(Kind))
def path(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    if request.param is Kind.PARQUET:
        pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet", row_group_size=13)
        return folder / "a.parquet"
    (folder / "a.jsonl").write_bytes(b"\n\n".join(map(orjson.dumps, ROWS)) + b"\n\n\n")
    return folder / "a.jsonl"


def read_all(path: Path, ceilings: Ceilings, done: frozenset[int] = frozenset()):
    """Parts by number, with their candidates and the rows' places."""
    found = survey(str(path), COLUMNS, ceilings)
    return {
        rows.part.number: (rows.at.tolist(), *decode(rows, COLUMNS, stretch.kind))
        for stretch in without(found.stretches, done)
        for rows in read(stretch, COLUMNS)
    }


@given(st.integers(1, 50), st.integers(30, 3000))
def test_every_row_is_read_once_with_its_place(path: Path, rows: int, n_bytes: int) -> None:
    parts = read_all(path, Ceilings(rows, n_bytes))
    candidates = [one for _, (_, one, _) in sorted(parts.items())]
    assert [sku for one in candidates for sku in one.candidate_id] == [row["sku"] for row in ROWS]
    assert candidates[0].document[0] == {"title": "Boot 0", "n": "0"}
    places = [place for _, (at, _, _) in sorted(parts.items()) for place in at]
    step = 1 if path.suffix == ".parquet" else 2  # each second line is blank
    assert places == [step * n for n in range(len(ROWS))]


def test_parts_that_are_done_are_left_out_and_the_others_are_the_same(path: Path) -> None:
    every = read_all(path, Ceilings(5, 1 << 20))
    done = frozenset({0, 2, 3, len(every) - 1})
    rest = read_all(path, Ceilings(5, 1 << 20), done)
    assert rest == {number: part for number, part in every.items() if number not in done}


def test_a_file_that_was_changed_after_the_survey_is_named(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    found = survey(str(copy), COLUMNS, Ceilings(10, 1 << 20))
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS[:3]), copy)
    else:
        copy.write_bytes(copy.read_bytes().replace(b"\n\n", b" \n")[:200])
    with pytest.raises(DataUnusable, match=copy.name):
        [list(read(stretch, COLUMNS)) for stretch in found.stretches]


def test_a_column_that_was_lost_after_the_survey_is_named(tmp_path: Path) -> None:
    """The run was said to have ended by a KeyError."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    found = survey(str(path), COLUMNS, Ceilings(10, 1 << 20))
    pq.write_table(pa.Table.from_pylist(ROWS).drop_columns(["title"]), path)
    with pytest.raises(DataUnusable, match=r"a\.parquet, row groups 0 to 1: .*title"):
        list(read(found.stretches[0], COLUMNS))


def test_damage_in_the_middle_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, use_dictionary=False, compression="zstd")
    found = survey(str(path), COLUMNS, Ceilings(10, 1 << 20))
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(DataUnusable, match=r"a\.parquet, row groups 0 to 1"):
        [list(read(stretch, COLUMNS)) for stretch in found.stretches]


def test_a_line_that_is_no_candidate_is_a_value(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    sound = {"sku": "a", "theme": "t", "title": "x", "n": 1}
    bad = [
        sound | {"sku": None},
        sound | {"theme": [{}]},
        b'{"sku": "\\ud800"}',
        b'{"sku": "\xff"}',
        {"theme": "t", "title": "x"},
        sound | {"theme": None},
    ]
    written = (row if isinstance(row, bytes) else orjson.dumps(row) for row in [sound, *bad])
    path.write_bytes(b"\n".join(written))
    ((_, candidates, rejected),) = read_all(path, Ceilings(10, 1 << 20)).values()
    assert candidates.candidate_id == ["a"]
    assert [(one.row, one.reason) for one in rejected] == [
        (1, Reason.EMPTY_ID),
        (2, Reason.WRONG_TYPE),
        (3, Reason.LONE_SURROGATE),
        (4, Reason.NOT_UTF8),
        (5, Reason.EMPTY_ID),
        (6, Reason.EMPTY_TEXT),
    ]


def test_a_line_that_was_cut_after_the_survey_is_no_reject(tmp_path: Path) -> None:
    """Of a file that was replaced by one with as many bytes and lines, the halves of lines were rejected."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, ROWS[:8])))
    found = survey(str(path), COLUMNS, Ceilings(4, 1 << 20))
    path.write_bytes(b" " + path.read_bytes()[1:-1] + b" ")
    (rows,) = read(found.stretches[0], COLUMNS)
    with pytest.raises(DataUnusable, match=r"a\.jsonl, line 1: not JSON: .*: it was changed"):
        decode(rows, COLUMNS, Kind.JSON_LINES)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_store_that_does_not_answer_is_no_damage(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was said to be damaged, with the exit code of that."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    store = fsspec.filesystem("memory")
    name = f"/away/a.{ending}"
    if ending == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(ROWS), sink)
        store.pipe_file(name, bytes(sink.getvalue()))
    else:
        store.pipe_file(name, b"\n".join(map(orjson.dumps, ROWS)))
    found = survey(f"memory://{name}", COLUMNS, Ceilings(99, 1 << 20))
    monkeypatch.setattr(type(store), "open", refuse)
    monkeypatch.setattr(type(store), "cat_file", refuse)
    with pytest.raises(TransientError, match=r"reading memory:///away/a\..*: .*Connection reset by peer"):
        list(read(found.stretches[0], COLUMNS))

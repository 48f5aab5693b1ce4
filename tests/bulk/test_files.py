"""What can be known of the input is known before anything is scored."""

from __future__ import annotations

import gzip
import hashlib
import os
import time
from pathlib import Path

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.bulk import files
from pipeline.bulk.files import check_unchanged, survey
from pipeline.bulk.parts import Ceilings
from pipeline.candidate_files import Columns
from pipeline.errors import BackfillRefused, DataUnusable

PLAIN = Columns()
WIDE = Ceilings(1000, 1 << 20)
ROW = {"candidate_id": "a", "query": "q", "document": "d"}


def parquet(path: Path, n: int = 3, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{**ROW, **more}] * n), path)
    return path


def lines(path: Path, *rows: object) -> Path:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else orjson.dumps(row) for row in rows))
    return path


def refusal(address: object, columns: Columns = PLAIN) -> str:
    with pytest.raises(BackfillRefused) as refused:
        survey(str(address), columns, WIDE)
    return str(refused.value)


def test_a_folder_is_read_in_the_order_of_names_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.parquet", "a/z.parquet", "_temporary/c.parquet", ".d.parquet"):
        parquet(tmp_path / name)
    (tmp_path / "_SUCCESS").touch()
    found = survey(str(tmp_path), PLAIN, WIDE)
    assert [Path(one.file).name for one in found.files] == ["z.parquet", "b.parquet"]
    assert found.n_rows == 6
    assert [part.number for stretch in found.stretches for part in stretch.parts] == [0, 1]


def test_a_pattern_takes_what_it_fits(tmp_path: Path) -> None:
    for name in ("a-1.parquet", "a-2.parquet", "b.parquet"):
        parquet(tmp_path / name)
    assert len(survey(str(tmp_path / "a-*.parquet"), PLAIN, WIDE).files) == 2


def test_a_store_is_named_by_its_address() -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/shop/a.jsonl", orjson.dumps(ROW))
    (file,) = survey("memory://shop", PLAIN, WIDE).files
    assert file.file == "memory:///shop/a.jsonl"


def test_a_file_of_lines_has_its_own_digest_and_a_parquet_file_that_of_its_footer(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ROW, b"  ", ROW)
    (file,) = survey(str(path), PLAIN, WIDE).files
    assert file.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert (file.n_rows, file.digest_of, file.version) == (2, "file", None)
    (of_parquet,) = survey(str(parquet(tmp_path / "a.parquet")), PLAIN, WIDE).files
    again = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert (of_parquet.n_rows, of_parquet.digest_of) == (again.num_rows, "footer")
    assert of_parquet.version is not None


def test_an_input_without_rows_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    found = survey(str(tmp_path / "a.jsonl"), PLAIN, WIDE)
    assert (found.n_rows, found.stretches) == (0, [])


@pytest.mark.parametrize("name", ["absent.parquet", "absent", "*.parquet"])
def test_an_input_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    assert "there is no such file" in refusal(tmp_path / name)


def test_an_unknown_store_and_a_password_are_refused() -> None:
    assert "cannot be read" in refusal("nowhere://a")
    said = refusal("s3://user:hidden@bucket/a")
    assert "no password goes with an address" in said
    assert "hidden" not in said


def test_a_store_that_lets_nobody_in_is_not_said_to_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials there was `no such file`."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no credentials")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", refuse)
    assert "memory://shut/a.parquet: cannot be read: no credentials" in refusal("memory://shut/a.parquet")


def test_a_half_written_parquet_file_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", n=1000)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    said = refusal(tmp_path)
    assert "b.parquet: cannot be read as Parquet" in said


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b'{"candidate_id": "b", "que', "line 2: not JSON"),
        (b"[1]", "line 2: not a JSON object"),
        (b'{"candidate_id": 1e999}', "line 2: not JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, bad: bytes, problem: str) -> None:
    assert problem in refusal(lines(tmp_path / "a.jsonl", ROW, bad, ROW))


def test_a_text_that_is_none_is_for_the_rejects_to_tell(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ROW, b'{"candidate_id": "\\ud800"}', b'{"query": "\xff"}')
    assert survey(str(path), PLAIN, WIDE).n_rows == 3


def test_lines_of_which_none_can_be_read_are_said_to_be_so(tmp_path: Path) -> None:
    """A compressed file was said to lack a column."""
    said = refusal(lines(tmp_path / "a.jsonl", gzip.compress(orjson.dumps(ROW))))
    assert "no line can be read, line 1: not UTF-8 from byte 1 on; is it compressed?" in said


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Reading a pipe would never have ended."""
    parquet(tmp_path / "a.parquet")
    (tmp_path / "link.parquet").symlink_to(tmp_path / "a.parquet")
    assert survey(str(tmp_path), PLAIN, WIDE).n_rows == 6
    os.mkfifo(tmp_path / "b.parquet")
    assert "b.parquet: is neither a file nor a link to one" in refusal(tmp_path)


def test_a_folder_that_may_not_be_entered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files were passed over, and the manifest added up without them."""
    for name in ("a.parquet", "shut/b.parquet", "_shut/c.parquet"):
        parquet(tmp_path / name)
    scandir = os.scandir

    def scan(path: str):
        if Path(path).name.endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert "cannot be read: [Errno 13] Permission denied" in refusal(tmp_path)
    (tmp_path / "shut").rename(tmp_path / ".shut")
    assert survey(str(tmp_path), PLAIN, WIDE).n_rows == 3


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """No verdict can hold it: the backfill ended at its first part, as by a defect of ours."""
    lines(tmp_path / os.fsdecode(b"a\xff.jsonl"), ROW)
    said = refusal(tmp_path)
    assert "a\\udcff.jsonl': its name is not UTF-8" in said
    said.encode()


def test_a_column_that_no_line_has_is_named_with_those_that_are(tmp_path: Path) -> None:
    said = refusal(lines(tmp_path / "a.jsonl", ROW, {"x": 1}), Columns(("sku",)))
    assert "no line has 'sku'; there are candidate_id, document, query, x" in said


def test_a_column_that_a_file_has_not_or_has_of_another_type_is_named(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", price=1)
    parquet(tmp_path / "b.parquet", price=1.5)
    said = refusal(tmp_path, Columns(document=("document", "price")))
    assert "b.parquet: the column 'price' is of type double, in " in said
    assert "a.parquet it is int64" in said
    parquet(tmp_path / "c.parquet")
    assert "no column 'price'" in refusal(tmp_path, Columns(document=("document", "price")))
    assert survey(str(tmp_path), PLAIN, WIDE).n_rows == 9, "columns that are not read may differ"


def test_files_of_two_kinds_and_of_none_are_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    lines(tmp_path / "a.jsonl", ROW)
    assert "holds Parquet and JSON lines" in refusal(tmp_path)
    (tmp_path / "a.csv").touch()
    assert "a.csv: the name of a file of candidates ends in one of" in refusal(tmp_path)


def test_a_file_without_ends_of_lines_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.bulk.lines._LONGEST_BYTES", 100)
    monkeypatch.setattr("pipeline.bulk.lines._CHUNK_BYTES", 64)
    assert "no end of line within 100 bytes" in refusal(lines(tmp_path / "a.jsonl", b"x" * 1000))


@pytest.mark.parametrize("write", [parquet, lambda path, **row: lines(path, {**ROW, **row})])
def test_a_file_that_is_replaced_while_it_is_read_is_noticed_at_the_end(tmp_path: Path, write) -> None:
    """One with as many rows gave verdicts of both, under the digest of the first."""
    path = tmp_path / ("a.parquet" if write is parquet else "a.jsonl")
    write(path, document="d")
    found = survey(str(tmp_path), PLAIN, WIDE)
    check_unchanged(found)
    write(path, document="e")
    os.utime(path, ns=(1, 1))  # within the clock's grain
    with pytest.raises(DataUnusable, match=f"{path.name}: was changed while it was read"):
        check_unchanged(found)
    path.unlink()
    check_unchanged(found)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_file_that_was_only_touched_is_what_it_was(tmp_path: Path, name: str) -> None:
    path = parquet(tmp_path / name) if name == "a.parquet" else lines(tmp_path / name, ROW)
    found = survey(str(path), PLAIN, WIDE)
    os.utime(path, ns=(1, 1))
    check_unchanged(found)
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(DataUnusable, match="was changed while it was read"):
        check_unchanged(found)


class Endless:
    """A file of lines that never ends."""

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, _: int) -> bytes:
        time.sleep(0.01)
        return orjson.dumps(ROW) + b"\n"


@pytest.mark.timeout(30)
def test_where_one_file_is_refused_the_others_are_not_read_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a bad line nor Ctrl-C ended it before sixteen files had been read."""
    lines(tmp_path / "a.jsonl", b"{")
    lines(tmp_path / "b.jsonl", ROW)
    opened = files.open_file
    monkeypatch.setattr(
        files, "open_file", lambda file: Endless() if file.endswith("b.jsonl") else opened(file)
    )
    assert "a.jsonl, line 1: not JSON" in refusal(tmp_path)

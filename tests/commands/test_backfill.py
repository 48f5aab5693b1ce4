"""`sluice backfill` refuses before it begins, and tells of a run that is over. No Ray is started here."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from actors.bundle import Bundle
from pipeline.commands.backfill import backfill
from pipeline.errors import BackfillRefused, BundleRefused, SettingsError
from tests.bulk.backfills import Backfill, catalogue
from tests.fakes import stand_in_bundle

MAPPED = ("--id", "sku", "--query", "theme", "--document", "price")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return stand_in_bundle(tmp_path / "of-bundle")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return catalogue(tmp_path / "items.parquet", [50, 150, 250, ""])


def run(source: object, out: Path, bundle: object, *arguments: str):
    app = typer.Typer()
    app.command()(backfill)
    sets = [
        f"bundle={bundle}",
        "pool.preparer=tests.fakes:ArithmeticPreparer",
        "pool.scorer=tests.fakes:PoisonScorer",
        "backfill.part_rows=10",
    ]
    chosen = [word for one in sets for word in ("--set", one)]
    return CliRunner().invoke(app, [str(source), str(out), *MAPPED, *chosen, *arguments])


def test_an_input_that_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, bundle: Bundle, source: Path
) -> None:
    source.write_bytes(source.read_bytes()[:-20])
    result = run(source, tmp_path / "out", bundle.path)
    assert isinstance(result.exception, BackfillRefused)
    assert result.exception.exit_code == 2
    assert "items.parquet: cannot be read as Parquet" in str(result.exception)
    assert not (tmp_path / "out").exists()
    assert "is kept" not in result.output


def test_a_file_of_another_schema_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "in").mkdir()
    catalogue(tmp_path / "in" / "a.parquet", [1, 2])
    pq.write_table(pa.table({"sku": [1], "theme": ["x"], "price": ["1"]}), tmp_path / "in" / "b.parquet")
    result = run(tmp_path / "in", tmp_path / "out", bundle.path)
    assert isinstance(result.exception, BackfillRefused)
    assert "b.parquet: the column 'sku' is of type int64" in str(result.exception)


def test_an_output_within_the_input_is_refused(tmp_path: Path, bundle: Bundle, source: Path) -> None:
    for address in (source.parent, source.parent / "*"):
        result = run(address, tmp_path / "out", bundle.path)
        assert isinstance(result.exception, BackfillRefused)
        assert "lies within the input" in str(result.exception)


def test_a_file_is_no_folder_to_write_to(tmp_path: Path, bundle: Bundle, source: Path) -> None:
    (tmp_path / "out").touch()
    result = run(source, tmp_path / "out", bundle.path)
    assert isinstance(result.exception, BackfillRefused)
    assert "out: is a file" in str(result.exception)


def test_a_folder_of_something_else_gets_no_file_of_ours(
    tmp_path: Path, bundle: Bundle, source: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    result = run(source, tmp_path / "mine", bundle.path)
    assert isinstance(result.exception, BackfillRefused)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("bundle_path", "given", "kind", "says"),
    [
        ("absent", (), BundleRefused, "absent"),
        (None, ("--set", "pool.scorer=nowhere:Scorer"), SettingsError, "there is no class 'nowhere:Scorer'"),
        (None, ("--set", "backfill.part_rows=0"), SettingsError, "backfill.part_rows"),
    ],
)
def test_settings_and_bundle_are_checked_first(
    tmp_path: Path, bundle: Bundle, source: Path, bundle_path: str | None, given, kind, says: str
) -> None:
    result = run(source, tmp_path / "out", bundle_path or bundle.path, *given)
    assert isinstance(result.exception, kind)
    assert says in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_over_is_told_again(tmp_path: Path, bundle: Bundle, source: Path) -> None:
    told = Backfill(source, tmp_path / "out", bundle).work()
    result = run(source, tmp_path / "out", bundle.path, "--resume", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == told
    shown = run(source, tmp_path / "out", bundle.path, "--resume").stdout
    for words in (["4", "rows"], ["empty_text", "1"], [bundle.digest], ["core", "seconds"]):
        assert all(word in shown for word in words)
    again = run(source, tmp_path / "out", bundle.path)
    assert isinstance(again.exception, BackfillRefused)


def test_what_an_earlier_run_saved_is_told(tmp_path: Path, bundle: Bundle, source: Path) -> None:
    Backfill(source, tmp_path / "first", bundle).work()
    Backfill(source, tmp_path / "second", bundle, previous=tmp_path / "first").work()
    given = ("--previous", str(tmp_path / "first"), "--resume")
    shown = run(source, tmp_path / "second", bundle.path, *given).stdout
    assert "scored before: 3 of 3 pairs, 100.0%" in shown

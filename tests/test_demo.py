"""The demo is the product's promise in one run, so that is how it is tested: on real parts, from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app

KEYS = ["candidates", "pass", "review", "prune", "rejected", "missing", "repeated"]
FIGURES = ["pairs_per_s", "prune_precision"]


@pytest.mark.kafka
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)  # on a fresh machine it trains the bundle first
def test_every_candidate_of_the_demo_ends_exactly_once_and_what_is_pruned_is_severe(tmp_path: Path) -> None:
    n = 400
    said = CliRunner().invoke(app, ["demo", "--candidates", str(n), "--out", str(tmp_path), "--json"])
    assert said.exit_code == 0, said.output
    report = json.loads((tmp_path / "demo.json").read_text())
    assert list(report) == KEYS + FIGURES
    assert (report["missing"], report["repeated"]) == (0, 0)
    assert report["candidates"] == report["pass"] + report["review"] + report["prune"] + report["rejected"]
    assert report["candidates"] >= n + 3  # a hundredth is malformed on purpose
    assert report["prune"] > 20
    assert report["prune_precision"] >= 0.85
    assert (tmp_path / "demo-bundle" / "sluice.json").is_file()


@pytest.mark.parametrize("out", ["file", "file/out"])
def test_a_folder_that_cannot_be_written_to_is_a_wrong_call(tmp_path: Path, out: str) -> None:
    """It was a traceback."""
    (tmp_path / "file").touch()
    said = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / out)])
    assert said.exit_code == 2
    assert "written" in said.output

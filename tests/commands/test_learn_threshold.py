"""`sluice learn threshold` says what is promised, and its exit code whether anything is."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import typer
from typer.testing import CliRunner

from actors.errors import TriesSpent
from pipeline.commands.learn_threshold import threshold


def run(*arguments):
    app = typer.Typer()
    app.command()(threshold)
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def files(tmp_path):
    """By signal: labelled clusters and traffic."""

    def write(signal):
        paths = []
        for seed, name in enumerate(("labels", "traffic")):
            rng = np.random.default_rng(seed)
            logit = rng.normal(size=8000)
            severe = rng.random(8000) < 1 / (1 + np.exp(-signal * (logit - 0.4)))
            path = tmp_path / f"{name}.parquet"
            columns = {"logit": logit, "severe": severe, "cluster": np.arange(8000) // 20}
            pa.parquet.write_table(pa.table(columns), path)
            paths.append(path)
        return paths

    return write


def test_a_clear_signal_gets_a_promise_and_zero(files):
    labels_and_traffic = files(6.0)
    said = run(*labels_and_traffic, "--json")
    report = json.loads(said.stdout)

    assert said.exit_code == 0
    assert report["promised"] is True
    assert report["policy"]["guarantee"]["target"] == 0.95
    assert report["policy"]["prune"] == report["prune"]
    assert 0 < report["traffic_shares"]["review"] <= 0.05
    assert "promised: a precision of 0.95" in run(*labels_and_traffic).stdout


def test_no_signal_gets_no_promise_and_one(files):
    labels_and_traffic = files(0.0)
    said = run(*labels_and_traffic)

    assert said.exit_code == 1
    assert "NOTHING IS PRUNED" in said.stdout
    assert json.loads(run(*labels_and_traffic, "--json").stdout)["policy"]["guarantee"] == "none"


def test_a_try_beyond_the_plan_is_refused(files, tmp_path):
    words = (*files(6.0), "--record", tmp_path / "tries.jsonl", "--json", "--weights")

    assert json.loads(run(*words, "sha256:a").stdout)["tries_made"] == 1
    assert json.loads(run(*words, "sha256:a").stdout)["tries_made"] == 1
    assert isinstance(run(*words, "sha256:b").exception, TriesSpent)


@pytest.mark.parametrize(
    "wrong", [("--target", "1"), ("--confidence", "0"), ("--record", "x"), ("--max-review-share", "2")]
)
def test_a_wrong_call_is_refused_with_two(files, wrong):
    assert run(*files(0.0), *wrong).exit_code == 2

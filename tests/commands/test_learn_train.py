"""`sluice learn train` says what it does, and a process that is killed loses no more than its last steps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from actors.bundle import Bundle
from actors.errors import DataRefused
from pipeline.commands.learn import app
from pipeline.commands.learn_train import EXIT_NOTHING_PROMISED, _bars
from pipeline.errors import SettingsError
from tests.label_sets import by_judge, by_people, labels, labels_file, pairs

FOUND = pairs(60, 4)


@pytest.fixture(scope="module")
def config(tiny_encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("config")
    rows = by_people(FOUND, "ann", "bob")
    path = labels_file(folder / "labels.jsonl", labels(FOUND, *rows))
    said = {
        "labels": {
            "paths": [str(path)],
            "columns": {"level": "level", "annotator": "who", "segment": "segment"},
            "rubric": {"gains": {"good": 1, "bad": 0}, "severe": ["bad"]},
        },
        "model": {"base": str(tiny_encoder)},
        "recipe": {"batch_size": 8, "learning_rate": 0.01, "head_learning_rate": 0.01},
        "teacher": {"folds": 2},
        "augment": {"mismatches": 40, "pseudo_queries": 20, "exclusions": 4},
    }
    (folder / "train.yaml").write_text(json.dumps(said))
    return folder / "train.yaml"


def run(*arguments):
    return CliRunner().invoke(app, ["train", *(str(one) for one in arguments)])


OF_LABELS = ("--set", "recipe.epochs=2", "--set", "teacher={kind: none}", "--json")


@pytest.fixture(scope="module")
def of_labels(config, tmp_path_factory, one_thread, few_draws):
    """A bundle that learned of labels alone, in a run that nobody interrupts, and what was said of it."""
    folder = tmp_path_factory.mktemp("whole") / "made"
    ended = run("-c", config, "--out", folder, *OF_LABELS)
    assert ended.exit_code == EXIT_NOTHING_PROMISED
    return folder, json.loads(ended.stdout)


@pytest.mark.usefixtures("one_thread", "few_draws")
def test_a_bundle_is_made_and_what_it_is_worth_is_said(config, tmp_path):
    ended = run("-c", config, "--out", tmp_path / "made", "--json")
    bundle = Bundle.open(tmp_path / "made")
    report = json.loads(ended.stdout)
    assert ended.exit_code == EXIT_NOTHING_PROMISED
    assert report["digest"] == bundle.digest
    assert report["policy"]["promised"] is False
    assert report["training"]["imitated_pairs"] > 100
    assert report["accepted"] == []
    assert "imitating the teacher" in ended.stderr
    assert "learning from labels" in ended.stderr


@pytest.mark.usefixtures("one_thread", "few_draws")
def test_people_read_what_is_promised_and_what_a_student_lost(config, of_labels, tmp_path):
    teacher = f"teacher={{kind: bundle, source: {of_labels[0]}}}"
    ended = run("-c", config, "--set", teacher, "--out", tmp_path / "two")
    assert ended.exit_code == EXIT_NOTHING_PROMISED
    assert "NOTHING IS PRUNED" in ended.stdout
    assert "on the role test, which nothing was learned from" in ended.stdout
    assert "student less teacher, on" in ended.stdout
    for title in ("AUC within a query", "severe pairs for review", "severe pairs passed"):
        assert title in ended.stdout
    assert Bundle.open(tmp_path / "two").digest in ended.stdout


def test_a_problem_that_is_accepted_by_no_one_ends_it(config, tmp_path):
    lines = (config.parent / "labels.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "labels.jsonl"
    turned = {"good": "bad", "bad": "good"}
    rows = [json.loads(line) for line in lines]
    rows = [
        row | ({"level": turned[row["level"]]} if row["who"] == "bob" and i % 2 else {})
        for i, row in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = run("-c", config, "--set", f"labels.paths=[{path}]", "--out", tmp_path / "made")
    assert isinstance(ended.exception, DataRefused)
    assert "--accept" in str(ended.exception)
    assert [one.name for one in tmp_path.iterdir()] == ["labels.jsonl"]


@pytest.mark.usefixtures("one_thread", "few_draws")
def test_a_judge_without_an_overlap_is_left_out_where_that_is_accepted_and_people_are_told(config, tmp_path):
    of = pairs(70, 4)
    rows = [*by_people(FOUND, "ann", "bob"), *(row for row in by_judge(of) if row.pair >= len(FOUND))]
    path = labels_file(tmp_path / "labels.jsonl", labels(of, *rows))
    given = ("-c", config, "--set", f"labels.paths=[{path}]", "--set", "labels.columns.source=source")
    given = (*given, "--set", "teacher={kind: none}", "--set", "augment.mismatches=10")
    ended = run(*given, "--out", tmp_path / "made")
    assert isinstance(ended.exception, DataRefused)
    assert "overlap: judge gpt" in str(ended.exception)

    ended = run(*given, "--out", tmp_path / "made", "--accept", "overlap")
    assert ended.exit_code == EXIT_NOTHING_PROMISED
    assert "judge gpt was left out, nothing was learned from it: 0 pairs drawn at random" in ended.stdout
    assert Bundle.open(tmp_path / "made").manifest.metrics["training"]["accepted"] == ["overlap"]


def test_an_unknown_kind_of_problem_is_refused_wherever_it_is_given(config, tmp_path):
    """A misspelt one was taken, and stood among what was accepted."""
    assert run("-c", config, "--accept", "luck", "--out", tmp_path / "made").exit_code == 2
    ended = run("-c", config, "--set", "labels.accept=[luck]", "--out", tmp_path / "made")
    assert isinstance(ended.exception, SettingsError)
    assert "chance, clusters, leakage" in str(ended.exception)
    assert [*tmp_path.iterdir()] == []


def bars(capsys, *stages):
    with _bars() as on_stage:
        for name, steps in stages:
            on_step = on_stage(name)
            for done, total in steps:
                on_step(done, total)
    return capsys.readouterr().err


def test_a_bar_that_is_not_full_says_why(capsys):
    said = bars(capsys, ("teacher", [(8, 16), (16, 16)]), ("labels", [(8, 80), (40, 80)]), ("other", []))
    lines = [line for line in said.splitlines() if "━" in line][-3:]
    assert "imitating the teacher " in lines[0]
    assert "16/16" in lines[0]
    assert "learning from labels: no longer better, ended early" in lines[1]
    assert "40/80" in lines[1]
    assert "other: done before" in lines[2]


def test_a_command_that_is_refused_shows_no_bar(capsys):
    assert bars(capsys) == ""


@contextmanager
def process(*arguments):
    """One of its own, with one thread; killed afterwards if it still runs."""
    program = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", program, "learn", "train", *(str(one) for one in arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    with subprocess.Popen(command, env=environment, **pipes) as started:
        try:
            yield started
        finally:
            started.kill()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_process_that_is_killed_goes_on_to_the_same_weights_and_says_nothing_but_its_bars(
    config, of_labels, tmp_path
):
    """Killed while it learns from labels, after the first of its states."""
    states = tmp_path / "made.states" / "labels"
    with process("-c", config, "--out", tmp_path / "made", *OF_LABELS) as killed:
        while not [*states.glob("checkpoint-*/trainer_state.json")]:
            assert killed.poll() is None, killed.communicate()
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
    assert not (tmp_path / "made").exists()

    with process("-c", config, "--out", tmp_path / "made", *OF_LABELS, "--resume") as resumed:
        told, said = resumed.communicate()
    assert resumed.returncode == EXIT_NOTHING_PROMISED, said
    assert all("━" in line for line in said.splitlines() if line.strip()), said
    whole, told_of_whole = of_labels
    one, other = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path / "made", whole))
    assert one == other
    assert json.loads(told)["policy"] == told_of_whole["policy"]
    assert [*tmp_path.glob("*.states")] == []

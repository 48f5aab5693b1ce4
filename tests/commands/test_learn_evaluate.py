"""`sluice learn evaluate` measures on what the bundle did not learn from, and says what it cannot measure."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from actors.bundle import write_child
from actors.errors import DataRefused
from actors.learn import apply
from actors.learn.roles import Role, Roles, digest
from actors.policy import Policy
from actors.rubric import Rubric
from pipeline.commands.learn import app
from tests.commands.learning import NEW, QUERIES, bundle, every, label_file
from tests.learn.labelled import labels, said

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(autouse=True)
def texts_that_tell(monkeypatch):
    monkeypatch.setattr(apply, "logits", said)


def run(*arguments):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, ["evaluate", *(str(one) for one in arguments)])


@pytest.fixture
def known(tmp_path):
    return label_file(tmp_path / "known.jsonl", labels(every(), segments=("toys", None)))


def test_the_role_test_is_measured(tmp_path, known):
    one = bundle(tmp_path)
    report = json.loads(run(one.path, known, "--json").stdout)

    assert report["bundle"] == one.digest
    assert (report["n_pairs"], report["n_clusters"]) == (120, 20)
    assert report["approximate"] is True
    assert list(report["data"]) == ["known.jsonl"]
    for figure in ("auc", "precision_capped", "severe_pass", "share_prune"):
        assert report["figures"][figure]["low"] <= report["figures"][figure]["value"]
    table = run(one.path, known).stdout
    assert "every interval is approximate (~)" in table
    assert "[~" in table


def test_other_roles_and_data_that_it_never_saw_are_measured_where_that_is_said(tmp_path, known):
    one, new = bundle(tmp_path), label_file(tmp_path / "new.jsonl", labels(NEW))

    two = json.loads(run(one.path, known, "--role", "train", "--role", "dev", "--json").stdout)
    assert two["n_clusters"] == 40
    assert json.loads(run(one.path, new, "--all", "--json").stdout)["n_clusters"] == 120
    assert isinstance(run(one.path, new).exception, DataRefused)
    assert "20 train" in str(run(one.path, known, "--all").exception)


def test_segments_are_described_by_the_columns_of_the_settings(tmp_path, known):
    one, config = bundle(tmp_path), tmp_path / "train.yaml"
    config.write_text(f"labels:\n  paths: [{known}]\n  columns: {{segment: part}}\n")
    report = json.loads(run(one.path, "-c", config, "--json").stdout)

    assert set(report["by_segment"]) == {"toys", ""}
    assert "brier" in report["by_segment"]["toys"]["calibration"]
    table = run(one.path, "-c", config).stdout
    assert "toys" in table
    assert "(none)" in table


def test_a_segment_moves_no_cursor(tmp_path, known):
    one, config = bundle(tmp_path), tmp_path / "train.yaml"
    known.write_text(known.read_text().replace("toys", "to\\u001b[2Jys"))
    config.write_text(f"labels:\n  paths: [{known}]\n  columns: {{segment: part}}\n")
    table = run(one.path, "-c", config).stdout

    assert "to [2Jys" in table
    assert "\x1b" not in table


def test_segments_fit_on_a_terminal(tmp_path, known):
    """Ten columns of figures left three letters for each, on a terminal of 80."""
    one, config = bundle(tmp_path), tmp_path / "train.yaml"
    config.write_text(f"labels:\n  paths: [{known}]\n  columns: {{segment: part}}\n")
    said = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["evaluate", str(one.path), "-c", str(config)]).stdout
    table = said[said.index("by segment") :]

    assert "severe pairs passed" in table
    assert "pairs, clusters" in table
    assert "…" not in table


def test_a_second_bundle_is_measured_on_the_same_pairs(tmp_path, known):
    timid = Policy(float("inf"), 0.0, "set by hand, for tests")
    one, other = bundle(tmp_path), bundle(tmp_path, "other", policy=timid)
    words = (one.path, known, "--against", other.path)
    against = json.loads(run(*words, "--json").stdout)["against"]

    assert against["bundle"] == other.digest
    assert against["differences"]["auc"] | {"value": 0, "p": 1} == against["differences"]["auc"]
    assert against["differences"]["severe_prune"]["value"] > 0
    assert against["differences"]["severe_prune"]["p"] < 0.01
    assert against["figures"]["share_prune"]["value"] == 0
    table = run(*words).stdout
    assert "the first less the second" in table
    assert "1.000" in table


def test_bundles_of_one_name_are_told_apart(tmp_path, known):
    (tmp_path / "before").mkdir()
    one, other = bundle(tmp_path, "same"), bundle(tmp_path / "before", "same")
    table = run(one.path, known, "--against", other.path).stdout

    assert str(one.path) in table[table.index("estimates") :]
    assert str(other.path) in table[table.index("estimates") :]


def test_bundles_that_do_not_say_the_same_are_not_compared(tmp_path, known):
    other = bundle(tmp_path, "other", rubric=Rubric({"fine": 1.0, "bad": 0.0}, frozenset({"bad"})))

    said = run(bundle(tmp_path).path, known, "--against", other.path)
    assert "rubric is another one" in str(said.exception)


def test_pairs_that_the_second_bundle_has_used_are_left_out(tmp_path, known):
    one = bundle(tmp_path)
    for name, n in (("some", 5), ("all", 20)):
        used = Roles({digest(query): Role.TRAIN for query in QUERIES[Role.TEST][:n]}).to_bytes()
        write_child(tmp_path / name, one, one.manifest, files={"roles.json": used})

    report = json.loads(run(one.path, known, "--against", tmp_path / "some", "--json").stdout)
    assert (report["n_pairs"], report["against"]["n_pairs_left_out"]) == (90, 30)
    assert "30 pairs were left out" in run(one.path, known, "--against", tmp_path / "some").stdout
    assert "has used all 120 pairs" in str(run(one.path, known, "--against", tmp_path / "all").exception)


def test_a_bundle_that_records_no_roles_is_believed_and_that_is_said(tmp_path, known):
    other = bundle(tmp_path, "other", roles=False)
    words = (bundle(tmp_path).path, known, "--against", other.path)
    report = json.loads(run(*words, "--json").stdout)

    assert (report["on_trust"], report["against"]["on_trust"]) == (False, True)
    assert run(*words).stdout.count("taken on trust") == 1


def test_a_report_is_a_new_folder(tmp_path, known):
    one, out = bundle(tmp_path), tmp_path / "deep" / "report"
    words = (one.path, known, "--out", out, "--json")
    report = json.loads(run(*words).stdout)

    assert json.loads((out / "evaluation.json").read_text()) == report
    names = {"evaluation.json", "reliability.png", "scores.png", "coverage.png"}
    assert {entry.name for entry in out.iterdir()} == names
    assert [entry.name for entry in out.parent.iterdir()] == ["report"]
    assert "exists already" in str(run(*words).exception)


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, known):
    (tmp_path / "file").write_text("")
    one = bundle(tmp_path).path
    for out in (tmp_path / "file" / "report", tmp_path / ("x" * 300)):
        said = run(one, known, "--out", out).exception
        assert isinstance(said, DataRefused)
        assert "\n" not in str(said)


@pytest.mark.parametrize(
    "wrong", [(), ("--role", "judge"), ("known.jsonl", "--all", "--role", "test")], ids=str
)
def test_a_wrong_call_is_refused_with_two(tmp_path, wrong):
    assert run(bundle(tmp_path).path, *wrong).exit_code == 2

"""`sluice learn audit` shows what is in labels, and its exit code whether something stands in the way."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from actors.bundle import write_child
from actors.errors import DataRefused
from actors.learn.roles import ROLES_FILE, Role, Roles, digest
from pipeline.commands.learn_audit import audit
from pipeline.errors import DataUnusable, SettingsError
from tests.label_sets import by_judge, by_people, label, pairs, truth

COLUMNS = {"source": "who", "annotator": "name", "segment": "part", "sampling": "how"}
SETTINGS = [f"labels.columns.{field}={column}" for field, column in COLUMNS.items()]
SETTINGS.append("labels.rubric={gains: {good: 1, odd: 0.5, bad: 0}, severe: [bad]}")


def run(*arguments, settings=SETTINGS):
    app = typer.Typer()
    app.command()(audit)
    words = [str(one) for one in arguments] + [word for one in settings for word in ("--set", one)]
    return CliRunner().invoke(app, words)


@pytest.fixture
def written(tmp_path):
    def write(of, rows, name="labels.jsonl", **more):
        path = tmp_path / name
        lines = [
            {
                "query": of[row.pair].query["text"],
                "document": of[row.pair].document["text"],
                "level": row.level,
                "who": row.source,
                "name": row.annotator,
                "part": of[row.pair].segment,
                "how": row.sampling,
                **{column: value(row) for column, value in more.items()},
            }
            for row in rows
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def test_sound_labels_are_shown_and_end_with_zero(written):
    of = pairs()
    path = written(of, by_people(of, "ann", "bob") + by_judge(of, right=0.9))
    said, report = run(path), run(path, "--json")

    assert said.exit_code == report.exit_code == 0
    assert "nothing stands in the way" in said.stdout
    found = json.loads(report.stdout)
    assert found["pairs"] == 360
    assert found["source"] == str(path)
    assert found["judges"][0]["name"] == "gpt"
    assert set(found["by_segment"]) == {"even", "odd"}


def test_that_labels_are_of_a_probability_sample_is_taken_on_trust_where_no_column_says_so(written):
    of = pairs()
    path = written(of, by_people(of, "ann", "bob"))
    unsaid = run(path, settings=[one for one in SETTINGS if "sampling" not in one]).stdout

    assert "note: no column says how the pairs were chosen (labels.columns.sampling)" in unsaid
    assert "on trust" not in run(path).stdout


def test_a_problem_ends_with_one_and_says_what_to_do(written):
    of = pairs()
    path = written(of, by_people(of[:300]) + by_judge(of)[290:])
    said = run(path)

    assert said.exit_code == 1
    assert "overlap: judge gpt" in said.stdout
    assert "let people label 20 more" in said.stdout


def test_a_problem_that_is_accepted_is_recorded_and_lets_pass(written):
    of = pairs()
    path = written(of, by_people(of[:300]) + by_judge(of)[290:])
    given = run(path, "--accept", "overlap", "--json")
    set_ = run(path, "--json", settings=[*SETTINGS, "labels.accept=[overlap]"])

    assert given.exit_code == set_.exit_code == 0
    assert given.stdout == set_.stdout
    assert json.loads(given.stdout)["accepted"] == ["overlap"]
    assert "overlap (accepted)" in run(path, "--accept", "overlap").stdout
    assert run(path, "--accept", "leakage").exit_code == 1


def test_an_unknown_kind_of_problem_is_refused_wherever_it_is_given(written):
    of = pairs()
    path = written(of, by_people(of))

    assert run(path, "--accept", "luck").exit_code == 2
    refused = run(path, settings=[*SETTINGS, "labels.accept=[luck]"]).exception
    assert isinstance(refused, SettingsError)
    assert "chance, clusters, leakage" in str(refused)


@pytest.mark.parametrize("people", [True, False], ids=["one cluster", "a judge alone"])
def test_too_few_clusters_are_a_finding_not_the_end(written, people):
    of = pairs(1 if people else 60)
    path = written(of, by_people(of) if people else by_judge(of))
    said = run(path, "--json")

    assert said.exit_code == 1
    found = json.loads(said.stdout)
    assert "clusters" in {one["kind"] for one in found["blocking"]}
    assert "leave none for" in found["notes"][0]
    shown = run(path)
    assert shown.exit_code == 1
    assert ("by role" in shown.stdout) is people


def test_the_roles_of_an_earlier_bundle_stay(written, base_bundle, tmp_path):
    """With them known, every cluster may be of one role, whatever the seed draws."""
    of = pairs()
    parent = tmp_path / "parent"
    roles = Roles({digest(one.query["text"]): Role.TEST for one in of})
    write_child(parent, base_bundle, base_bundle.manifest, files={ROLES_FILE: roles.to_bytes()})
    said = run(written(of, by_people(of)), "--json", settings=[*SETTINGS, f"labels.known={parent}"])

    assert set(json.loads(said.stdout)["by_role"]) == {"test"}
    assert said.exit_code == 1


def test_the_page_is_written_also_into_a_new_folder(written, tmp_path):
    of = pairs()
    page = tmp_path / "new" / "audit.html"
    said = run(written(of, by_people(of)), "--html", page)

    assert said.exit_code == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_that_cannot_be_written_is_one_line(written, tmp_path):
    of = pairs()
    (tmp_path / "file").write_text("")
    refused = run(written(of, by_people(of)), "--html", tmp_path / "file" / "audit.html").exception

    assert isinstance(refused, DataUnusable)
    assert "cannot be written" in str(refused)


def test_a_column_of_probabilities_is_asked_for_wrong_labels(written):
    of = pairs()
    rows = by_people(of)
    rows[3] = label(3, "good" if rows[3].level == "bad" else "bad")
    path = written(of, rows, p=lambda row: 0.9 if truth(of, row.pair) == "bad" else 0.1)
    found = json.loads(run(path, "--json", "--probabilities", "p").stdout)["likely_wrong_labels"]

    assert [one["pair"] for one in found["shown"]] == [3]
    assert isinstance(run(path, "--probabilities", "q").exception, DataRefused)


def test_several_files_are_read_as_one_and_the_settings_may_name_them(written, tmp_path):
    of = pairs()
    files = [written(of, by_people(of, name), f"{name}.jsonl") for name in ("ann", "bob")]
    given = run(*files, "--json")
    config = tmp_path / "train.yaml"
    config.write_text(json.dumps({"labels": {"paths": [str(path) for path in files]}}))

    assert json.loads(given.stdout)["agreement"]["pairs_labelled_twice"] == 360
    assert run("-c", config, "--json").stdout == given.stdout
    assert run().exit_code == 2


def test_texts_that_would_steer_a_terminal_are_shown_as_letters(written):
    of = pairs()
    rows = by_people(of) + [label(i, "bad" if i % 3 else "good", "\x1b[2J[red]bob[/red]") for i in range(60)]
    said = run(written(of, rows))

    assert "\x1b[2J" not in said.stdout
    assert "[red]bob[/red]" in said.stdout.replace("\n", "")


@pytest.mark.parametrize("content", ["", "{", '{"query": "a"}'])
def test_a_file_without_labels_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "labels.jsonl"
    path.write_text(content)
    refused = run(path, settings=()).exception

    assert isinstance(refused, DataRefused)
    assert str(path) in str(refused)
    assert "\n" not in str(refused)

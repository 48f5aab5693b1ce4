from __future__ import annotations

import os

import pytest

from actors.errors import DataRefused
from actors.learn.labels import Columns
from actors.rubric import SEVERE_OR_NOT
from pipeline import label_files
from pipeline.label_files import read_with_digests

ROWS = (
    '{"query": "a", "document": "b", "level": "fine"}\n{"query": "c", "document": "d", "level": "severe"}\n'
)


@pytest.fixture
def three(tmp_path):
    paths = [tmp_path / folder / "labels.jsonl" for folder in ("one", "two", "three")]
    for number, path in enumerate(paths):
        path.parent.mkdir()
        path.write_text(ROWS + "\n" * number)
    return paths


def test_files_of_equal_names_are_both_recorded(three):
    """A report of `evaluate`, and the child of `threshold`, named the digest of the last alone."""
    labels, found = read_with_digests(three, Columns(), SEVERE_OR_NOT)
    assert len(labels.rows) == 6
    assert [*found] == ["labels.jsonl", "labels.jsonl (2)", "labels.jsonl (3)"]
    assert len({*found.values()}) == 3


def test_a_file_that_is_changed_while_it_is_read_is_refused(three, monkeypatch):
    """A run took the digest minutes after it had read, and told of, and went on with, labels that it never saw."""
    read = label_files.read_labels

    def changing(paths, columns, rubric):
        labels = read(paths, columns, rubric)
        three[1].write_text(ROWS.replace("c", "e"))
        return labels

    monkeypatch.setattr(label_files, "read_labels", changing)
    with pytest.raises(DataRefused, match=r"two/labels.jsonl: was changed while it was read; begin again"):
        read_with_digests(three, Columns(), SEVERE_OR_NOT)


def test_what_is_no_file_is_refused_by_who_reads(tmp_path, three):
    """A name that no file can have came up as a traceback."""
    for name, said in (
        ("none.jsonl", "no such file"),
        (f"{'x' * 300}.jsonl", "cannot be read: .*File name too long"),
    ):
        with pytest.raises(DataRefused, match=said):
            read_with_digests([*three, tmp_path / name], Columns(), SEVERE_OR_NOT)


@pytest.mark.timeout(30)
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, three):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataRefused, match="no such file"):
        read_with_digests([*three, tmp_path / "pipe.jsonl"], Columns(), SEVERE_OR_NOT)

from __future__ import annotations

import pytest

from pipeline.note import Note


@pytest.mark.parametrize(
    ("note", "text"),
    [
        (Note(), ""),
        (Note(braked=True), "sluice/1 braked"),
        (Note(run=2), "sluice/1 run=2"),
        (Note(braked=True, run=12), "sluice/1 braked run=12"),
    ],
)
def test_a_note_comes_back_as_it_was_written(note: Note, text: str) -> None:
    assert str(note) == text
    assert Note.read(text) == note


@pytest.mark.parametrize(
    "text", ["", " ", "braked", "sluice/1", "sluice/1 brakedly", "sluice/2 braked run=3", "run=3", "a\x00"]
)
def test_a_note_that_is_not_ours_says_nothing(text: str) -> None:
    assert Note.read(text) == Note()


def test_what_a_later_version_adds_is_passed_over() -> None:
    assert Note.read("sluice/1 since=today braked run=3 more") == Note(braked=True, run=3)


@pytest.mark.parametrize("run", ["", "x", "-3", "2.5", "²"])
def test_a_run_that_is_no_number_is_passed_over(run: str) -> None:
    assert Note.read(f"sluice/1 braked run={run}") == Note(braked=True)

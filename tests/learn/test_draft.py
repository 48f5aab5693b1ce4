from __future__ import annotations

import math

import pytest

from actors.bundle import Bundle
from actors.errors import BundleProblem
from actors.learn import draft
from actors.learn.draft import Told, code_digest, write_draft
from actors.pairs import PairTemplate, Part
from actors.rubric import SEVERE_OR_NOT
from tests.model_folders import model_stand_in

TOLD = Told(
    name="one",
    template=PairTemplate(document=(Part("title"),)),
    max_tokens=33,
    rubric=SEVERE_OR_NOT,
    origin="360 labels from labels.jsonl",
    data={"labels.jsonl": "sha256:" + "0" * 64},
    training={"imitated_pairs": 7},
)


def test_a_draft_acts_on_nothing_and_says_what_it_was_made_from(tmp_path):
    (tmp_path / "model").mkdir()
    write_draft(tmp_path / "draft", model_stand_in(tmp_path / "model"), TOLD)
    said = Bundle.open(tmp_path / "draft").manifest

    assert said.policy.prune == said.policy.review == math.inf
    assert said.policy.guarantee is None
    assert (said.name, said.template, said.max_tokens) == ("one", TOLD.template, 33)
    assert (said.data, said.origin) == (TOLD.data, TOLD.origin)
    assert said.metrics == {"training": {"imitated_pairs": 7}}
    assert said.code == code_digest()


def test_a_place_where_something_is_is_refused(tmp_path):
    (tmp_path / "draft").mkdir()
    with pytest.raises(BundleProblem, match="exists already"):
        write_draft(tmp_path / "draft", model_stand_in(tmp_path), TOLD)


def test_the_digest_of_code_changes_with_its_text_and_its_names_and_with_nothing_else(tmp_path, monkeypatch):
    def digest(folder, files):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        monkeypatch.setattr(draft, "_ACTORS", folder)
        return code_digest()

    files = {"loss.py": "a", "learn/fit.py": "b"}
    one = digest(tmp_path / "one", files)
    assert digest(tmp_path / "elsewhere", files) == one
    assert digest(tmp_path / "with-a-note", files | {"note.txt": "c"}) == one
    assert digest(tmp_path / "other", files | {"loss.py": "c"}) != one
    assert digest(tmp_path / "renamed", {"loss.py": "a", "learn/fits.py": "b"}) != one
    assert one.startswith("sha256:")

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from actors.learn.front_matter import base_model_of, front_matter
from tests.learn.measured import MANIFEST, MEASURED


def test_the_hub_can_read_what_it_begins_with():
    read = ModelCard(front_matter(MANIFEST, "someone/minilm") + "\n\n# text\n")

    assert (read.data.library_name, read.data.pipeline_tag) == ("transformers", "text-classification")
    assert read.data.base_model == "someone/minilm"
    auc = next(one for one in read.data.eval_results if one.metric_type == "roc_auc")
    assert auc.metric_value == pytest.approx(MEASURED.figures["auc"].value, abs=1e-4)
    assert read.data.model_name == MANIFEST.name


def test_a_child_finds_the_base_model_in_its_parents_card(tmp_path):
    assert base_model_of(tmp_path) is None
    named, unnamed = (front_matter(MANIFEST, name) for name in ("a/b", None))
    for front, found in ((named, "a/b"), (unnamed, None), ("---\n[", None)):
        (tmp_path / "README.md").write_text(f"{front}\n\n# text\n")
        assert base_model_of(tmp_path) == found

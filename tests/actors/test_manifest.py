import json
import math
from dataclasses import replace

import numpy as np
import pytest

from actors.calibration import PlattMap
from actors.manifest import LabelStatistics, Manifest, ReferenceScores, canonical_json
from actors.pairs import PairTemplate, Part
from actors.policy import Policy

MANIFEST = Manifest(
    name="größe",
    template=PairTemplate(query=(Part("theme", "Theme: "),)),
    max_tokens=48,
    calibration=PlattMap(slope=0.1 + 0.2, intercept=-1.0),
    policy=Policy(prune=math.inf, review=1.5, rests_on="set by hand"),
    labels=LabelStatistics(5_000, 900, 1_000, 180, "the catalogue"),
    reference=ReferenceScores.of(np.linspace(-3, 3, 201)),
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
        {"labels": LabelStatistics(5_000, 901, 1_000, 180, "the catalogue")},
        {"files": {"config.json": "sha256:01"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_digest_changes_with_every_part(change):
    assert replace(MANIFEST, **change).digest != MANIFEST.digest


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

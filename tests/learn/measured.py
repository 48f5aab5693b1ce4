"""A bundle that was measured, for tests of what is written about it."""

from __future__ import annotations

import numpy as np

from actors.calibration import PlattMap
from actors.learn.evaluate import Judged, evaluate
from actors.manifest import Manifest, ReferenceScores, RoleCount
from actors.pairs import PairTemplate
from actors.policy import Guarantee, Policy
from actors.rubric import Rubric

RNG = np.random.default_rng(3)
QUERY = np.repeat(np.arange(40), 5)
TRUTH = RNG.normal(-1, 2, size=200)
JUDGED = Judged(
    TRUTH, RNG.random(200) < 1 / (1 + np.exp(-TRUTH)), QUERY, QUERY, np.where(QUERY < 20, "toys | games", "")
)
PROMISED = Policy(prune=2.0, review=0.5, rests_on="a test", guarantee=Guarantee(0.9, 0.95, 5))
MEASURED = evaluate(JUDGED, PROMISED, PlattMap(), cap=5)
MANIFEST = Manifest(
    name="shop | gate: 1",
    template=PairTemplate(),
    max_tokens=72,
    calibration=PlattMap(),
    policy=PROMISED,
    reference=ReferenceScores.of(TRUTH),
    rubric=Rubric({"E": 1.0, "C": 0.1, "I": 0.0}, frozenset({"I"})),
    roles={"train": RoleCount(1000, 100, 20), "test": RoleCount(200, 61, 40)},
    origin="people of the shop",
    data={"labels.parquet": "sha256:abc"},
    code="sha256:def",
    metrics=MEASURED.to_json(),
    parent="sha256:012",
)

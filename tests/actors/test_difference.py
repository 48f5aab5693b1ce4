import math
from dataclasses import replace

import pytest

from actors.calibration import PlattMap
from actors.difference import ABSENT, Differing, differences, parts
from actors.manifest import Manifest, ReferenceScores, RoleCount
from actors.pairs import PairTemplate, Part
from actors.policy import Guarantee, Policy
from actors.rubric import SEVERE_OR_NOT, Rubric
from actors.serving import Precision, Serving

ONE = Manifest(
    name="one",
    template=PairTemplate(),
    max_tokens=48,
    calibration=PlattMap(slope=1.0, intercept=0.0),
    policy=Policy(prune=math.inf, review=1.5, rests_on="a hand"),
    reference=ReferenceScores.of([0.0, 1.0]),
    rubric=SEVERE_OR_NOT,
    roles={"train": RoleCount(10, 2, 5)},
    origin="people",
    data={"labels.parquet": "sha256:00"},
    metrics={"figures": {"auc": {"value": 0.8}}},
    files={"config.json": "sha256:00"},
)
PROMISED = Policy(prune=2.0, review=1.5, rests_on="a hand", guarantee=Guarantee(0.95, 0.9, 5))


def test_equal_bundles_do_not_differ():
    assert differences(ONE, replace(ONE)) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": "two"}, [Differing("about", "name", "one", "two")]),
        ({"parent": "sha256:01"}, [Differing("about", "parent", None, "sha256:01")]),
        ({"code": "sha256:01"}, [Differing("about", "code", "", "sha256:01")]),
        ({"max_tokens": 64}, [Differing("template", "max_tokens", 48, 64)]),
        ({"template": PairTemplate(separator=". ")}, [Differing("template", "separator", " ", ". ")]),
        (
            {"serving": Serving(precision=Precision.BF16)},
            [Differing("serving", "precision", "fp32", "bf16")],
        ),
        ({"calibration": PlattMap(2.0, 0.0)}, [Differing("map", "slope", 1.0, 2.0)]),
        ({"policy": Policy(math.inf, 1.0, "a hand")}, [Differing("thresholds", "review", 1.5, 1.0)]),
        ({"policy": Policy(math.inf, 1.5, "a coin")}, [Differing("promise", "rests_on", "a hand", "a coin")]),
        ({"origin": "a judge"}, [Differing("data", "origin", "people", "a judge")]),
        ({"roles": {"train": RoleCount(11, 2, 5)}}, [Differing("data", "roles.train.n_pairs", 10, 11)]),
        (
            {"files": {"config.json": "sha256:00", "prior.json": "sha256:01"}},
            [Differing("files", "prior.json", ABSENT, "sha256:01")],
        ),
        (
            {"metrics": {"figures": {"auc": {"value": 0.9}}}},
            [Differing("metrics", "figures.auc.value", 0.8, 0.9)],
        ),
        (
            {"policy": PROMISED},
            [
                Differing("thresholds", "prune", None, 2.0),
                Differing("promise", "guarantee", "none", ABSENT),
                Differing("promise", "guarantee.target", ABSENT, 0.95),
                Differing("promise", "guarantee.confidence", ABSENT, 0.9),
                Differing("promise", "guarantee.cap", ABSENT, 5),
            ],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_differs_is_named_by_its_part(change, found):
    assert differences(ONE, replace(ONE, **change)) == found


def test_every_change_of_the_digest_is_found():
    other = Rubric({"E": 1.0, "I": 0.0}, frozenset({"I"}))
    for change in (
        {"rubric": other},
        {"data": {}},
        {"reference": ReferenceScores.of([0.0])},
        {"template": PairTemplate(document=(Part("title"),))},
        {"metrics": {"figures": {"auc": {"value": 0.8}}, "note": ABSENT}},
        {"metrics": {"figures": {"auc": {"value": 0.8, "n": {}}}}},
    ):
        changed = replace(ONE, **change)
        assert changed.digest != ONE.digest
        assert differences(ONE, changed)


def test_a_whole_number_is_not_a_fraction_as_the_digest_sees_it():
    one, other = replace(ONE, metrics={"n": 1}), replace(ONE, metrics={"n": 1.0})
    assert one.digest != other.digest
    assert differences(one, other)


def test_no_part_of_a_manifest_is_left_out():
    said = ONE.to_json()
    assert parts(ONE)["about"].keys() == {"schema", "name", "code", "parent"}
    inside = set().union(*(part for part in parts(ONE).values()))
    moved = {"files", "policy", "template", "calibration", "metrics", "serving"}
    assert set(said) - moved <= inside

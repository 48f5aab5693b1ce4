"""The three shapes, as values: what is in `test_door.py` goes through HTTP."""

from __future__ import annotations

import pytest

from actors.bundle import Bundle
from actors.pairs import PairTemplate, Part
from pipeline.records import Action, Reason, Rejected, Stage
from pipeline.serving import shapes
from pipeline.serving.errors import Refusal

NAMED = PairTemplate(query=(Part("theme"),), document=(Part("title"), Part("brand")))


def pair(relevance: float, score: float = 0.0) -> shapes.Pair:
    return shapes.Pair(score, relevance, Action.PASS)


def test_a_text_is_the_first_field_of_a_template_that_has_no_text() -> None:
    asked = shapes.asked_to_rank("boots", ["a boot", {"title": "b", "brand": None}], NAMED, name="texts")
    assert asked.candidates.query == [{"theme": "boots"}] * 2
    assert asked.candidates.document == [{"title": "a boot"}, {"title": "b"}]
    flat = shapes.asked_to_rank("boots", ["a boot"], PairTemplate(), name="texts")
    assert (flat.candidates.query, flat.candidates.document) == ([{"text": "boots"}], [{"text": "a boot"}])


def test_equal_relevance_is_ranked_by_the_logit_and_then_by_place() -> None:
    request = shapes.RerankRequest(query="q", texts=["a", "b", "c", "d"])
    found = shapes.ranks(request, [pair(0.5, 2.0), pair(0.9), pair(0.5, 1.0), pair(0.5, 2.0)])
    assert [one["index"] for one in found] == [1, 2, 0, 3]


def test_a_ranking_names_what_has_no_score() -> None:
    request = shapes.RerankRequest(query="q", texts=["a", "b"])
    rejected = Rejected(1, 0, Reason.SCORING_FAILED, Stage.SCORE, "out of memory")
    with pytest.raises(Refusal, match=r"texts\[1\]: scoring_failed: out of memory") as refused:
        shapes.ranks(request, [pair(0.5), rejected])
    assert refused.value.status == 422


def test_a_threshold_that_is_never_reached_is_null_on_the_wire(bundle: Bundle) -> None:
    import dataclasses

    import orjson

    policy = dataclasses.replace(bundle.manifest.policy, prune=float("inf"))
    manifest = dataclasses.replace(bundle.manifest, policy=policy)
    never = dataclasses.replace(bundle, manifest=manifest)
    message = {"candidate_id": "a", "query": "b", "document": "c"}
    answer = orjson.loads(orjson.dumps(shapes.verdicts([message], [pair(0.5)], never, 1)))
    assert answer["verdicts"][0]["prune_threshold"] is None


def test_a_reject_names_its_candidate_where_it_has_a_name() -> None:
    asked = shapes.asked([{"candidate_id": "a"}, {"candidate_id": 3}, None])
    assert [one.reason for one in asked.rejected] == [
        Reason.MISSING_FIELD,
        Reason.MISSING_FIELD,
        Reason.WRONG_TYPE,
    ]
    assert [shapes._id(one) for one in ({"candidate_id": "a"}, {"candidate_id": 3}, None)] == [
        "a",
        None,
        None,
    ]

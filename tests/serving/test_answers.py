"""What became of candidates, in the three shapes, as values: `test_door.py` has them through HTTP."""

from __future__ import annotations

import dataclasses

import orjson
import pytest

from actors.bundle import Bundle
from pipeline.records import Action, Reason, Rejected, Stage
from pipeline.serving.answers import Pair, ranks, verdicts
from pipeline.serving.errors import Refusal
from pipeline.serving.shapes import RerankRequest


def pair(relevance: float, score: float = 0.0) -> Pair:
    return Pair(score, relevance, Action.PASS)


def test_equal_relevance_is_ranked_by_the_logit_and_then_by_place() -> None:
    request = RerankRequest(query="q", texts=["a", "b", "c", "d"])
    found = ranks(request, [pair(0.5, 2.0), pair(0.9), pair(0.5, 1.0), pair(0.5, 2.0)])
    assert [one["index"] for one in found] == [1, 2, 0, 3]


def test_a_ranking_names_what_has_no_score() -> None:
    request = RerankRequest(query="q", texts=["a", "b"])
    rejected = Rejected(1, 0, Reason.SCORING_FAILED, Stage.SCORE, "out of memory")
    with pytest.raises(Refusal, match=r"texts\[1\]: scoring_failed: out of memory") as refused:
        ranks(request, [pair(0.5), rejected])
    assert refused.value.status == 422


def test_a_threshold_that_is_never_reached_is_null_on_the_wire(bundle: Bundle) -> None:
    policy = dataclasses.replace(bundle.manifest.policy, prune=float("inf"))
    manifest = dataclasses.replace(bundle.manifest, policy=policy)
    never = dataclasses.replace(bundle, manifest=manifest)
    message = {"candidate_id": "a", "query": "b", "document": "c"}
    answer = orjson.loads(orjson.dumps(verdicts([message], [pair(0.5)], never, 1)))
    assert answer["verdicts"][0]["prune_threshold"] is None


def test_a_reject_names_its_candidate_where_it_has_a_name(bundle: Bundle) -> None:
    rejected = Rejected(0, 0, Reason.MISSING_FIELD, Stage.DECODE, "there is no field 'query'")
    messages = [{"candidate_id": "a"}, {"candidate_id": 3}, None]
    found = verdicts(messages, [rejected] * 3, bundle, 1)["verdicts"]
    assert [one["candidate_id"] for one in found] == ["a", None, None]

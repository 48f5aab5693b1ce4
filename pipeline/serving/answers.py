"""What became of candidates, in the three shapes of `shapes`. Pure; knows no HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from actors.bundle import Bundle
from actors.pairs import FLAT_FIELD
from pipeline.records import Action, Rejected
from pipeline.serving.errors import Kind, Refusal
from pipeline.serving.shapes import CohereRequest, RerankRequest


class Pair(NamedTuple):
    """What the policy says about one candidate."""

    score: float
    """The logit of a severe violation; higher is worse."""
    relevance: float
    action: Action


Outcome = Pair | Rejected


def verdicts(
    messages: Sequence[object], outcomes: Sequence[Outcome], bundle: Bundle, time_ms: int
) -> dict[str, Any]:
    """The answer of `/v1/score`."""
    policy = bundle.manifest.policy
    shared = {
        "prune_threshold": policy.prune,  # infinity, which is never reached, becomes null
        "review_threshold": policy.review,
        "guarantee": str(policy.guarantee or "none"),
        "bundle": bundle.digest,
        "time_ms": time_ms,
    }
    found = [
        _reject(message, outcome)
        if isinstance(outcome, Rejected)
        else {"candidate_id": _id(message), "action": outcome.action.value, **_numbers(outcome), **shared}
        for message, outcome in zip(messages, outcomes, strict=True)
    ]
    return {"bundle": bundle.digest, "verdicts": found}


def ranks(request: RerankRequest, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The answer of `/rerank`. Raises Refusal where a text has no score."""
    pairs = _all_scored(outcomes, "texts")
    return [
        {"index": at, "score": -pairs[at].score if request.raw_scores else pairs[at].relevance}
        | ({"text": request.texts[at]} if request.return_text else {})
        for at in _best_first(pairs)
    ]


def cohere_results(
    request: CohereRequest, outcomes: Sequence[Outcome], bundle: Bundle, *, version: str
) -> dict[str, Any]:
    """The answer of `/v1/rerank` and `/v2/rerank`. Raises Refusal where a document has no score."""
    pairs = _all_scored(outcomes, "documents")
    results = [
        {"index": at, "relevance_score": pairs[at].relevance}
        | ({"document": _document(request.documents[at])} if request.return_documents else {})
        for at in _best_first(pairs)[: request.top_n]
    ]
    meta = {"api_version": {"version": version}, "billed_units": {"search_units": 1}, "bundle": bundle.digest}
    return {"id": str(uuid.uuid4()), "results": results, "meta": meta}


def _numbers(pair: Pair) -> dict[str, float]:
    return {"score": pair.score, "relevance": pair.relevance}


def _reject(message: object, rejected: Rejected) -> dict[str, Any]:
    return {
        "candidate_id": _id(message),
        "reason": rejected.reason.value,
        "stage": rejected.stage.value,
        "detail": rejected.detail,
    }


def _id(message: object) -> str | None:
    found = message.get("candidate_id") if isinstance(message, dict) else None
    return found if isinstance(found, str) else None


def _all_scored(outcomes: Sequence[Outcome], name: str) -> list[Pair]:
    """These shapes have no place for a reject: it refuses the request."""
    for at, outcome in enumerate(outcomes):
        if isinstance(outcome, Rejected):
            raise Refusal(422, Kind.VALIDATION, f"{name}[{at}]: {outcome.reason.value}: {outcome.detail}")
    return [outcome for outcome in outcomes if isinstance(outcome, Pair)]


def _best_first(pairs: Sequence[Pair]) -> list[int]:
    return sorted(range(len(pairs)), key=lambda at: (-pairs[at].relevance, pairs[at].score, at))


def _document(document: str | dict[str, Any]) -> dict[str, Any]:
    return {FLAT_FIELD: document} if isinstance(document, str) else document

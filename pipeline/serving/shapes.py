"""What callers may ask, in three shapes, as candidates; and what became of those, in the same three shapes.

`/v1/score` has candidates and verdicts as the stream has them. The other two rank texts for one query, as
text-embeddings-inference and Cohere do: relevance, higher is better, the best first. Names that a shape does
not have are refused; those that it has and a cross-encoder has no use for are read and change nothing. Pure;
knows no HTTP.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from actors.bundle import Bundle
from actors.pairs import FLAT_FIELD, PairTemplate, Part
from pipeline.codec.decode_json import as_fields, read_candidate
from pipeline.errors import InputError
from pipeline.records import Action, Candidates, Rejected, Stage
from pipeline.serving.errors import Kind, Refusal

_SIDE = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
    ]
}
_CANDIDATE = {
    "title": "Candidate",
    "type": "object",
    "required": ["candidate_id", "query", "document"],
    "properties": {
        "candidate_id": {"type": "string", "minLength": 1, "maxLength": 1024},
        "query": _SIDE,
        "document": _SIDE,
    },
}
"""For the page; what is wrong with a candidate is said by its reject."""


class Pair(NamedTuple):
    """What the policy says about one candidate."""

    score: float
    """The logit of a severe violation; higher is worse."""
    relevance: float
    action: Action


Outcome = Pair | Rejected


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class ScoreRequest(_Shape):
    """Candidates, as the input topic's JSON messages have them."""

    candidates: list[Annotated[Any, WithJsonSchema(_CANDIDATE)]]


class RerankRequest(_Shape):
    """Texts to rank, as text-embeddings-inference takes them."""

    query: str
    texts: list[str] = Field(min_length=1)
    raw_scores: bool | None = False
    """False: relevance, from 0 to 1. True: the logit, its sign turned so that higher is better."""
    return_text: bool | None = False
    truncate: bool | None = None
    """Changes nothing: a long pair is cut as its bundle says, in every door alike."""
    truncation_direction: Literal["right", "Right"] | None = None


class CohereRequest(_Shape):
    """Documents to rank, as Cohere's first and second version take them."""

    model: str | None = None
    """Changes nothing: the door has one bundle, and says which."""
    query: str
    documents: list[str | dict[str, Any]] = Field(min_length=1)
    """Texts, or objects of texts by field of the bundle's pair template."""
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool | None = False
    rank_fields: list[str] | None = None
    """Of objects, only these fields."""
    max_chunks_per_doc: int | None = None
    """Changes nothing."""
    max_tokens_per_doc: int | None = None
    """Changes nothing."""
    priority: int | None = None
    """Changes nothing."""


class Verdict(BaseModel):
    """What the policy says about a candidate; the fields are those of the stream's verdicts."""

    candidate_id: str
    action: Literal["prune", "review", "pass"]
    score: float
    relevance: float
    prune_threshold: float | None
    review_threshold: float | None
    guarantee: str
    bundle: str
    time_ms: int


class Reject(BaseModel):
    """Why a candidate has no verdict; reasons and stages are those of the stream's rejects."""

    candidate_id: str | None
    reason: str
    stage: str
    detail: str


class ScoreAnswer(BaseModel):
    """One of the two for each candidate, in the request's order."""

    bundle: str
    verdicts: list[Verdict | Reject]


class Rank(BaseModel):
    """One text, by its place in the request."""

    index: int
    score: float
    text: str | None = None


class CohereResult(BaseModel):
    """One document, by its place in the request."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class CohereAnswer(BaseModel):
    """Documents, the best first."""

    id: str
    results: list[CohereResult]
    meta: dict[str, Any]


class ErrorAnswer(BaseModel):
    """Why there is no answer, in the words of each of the shapes."""

    error: str
    error_type: Kind
    message: str
    """The same as `error`."""


class Asked(NamedTuple):
    """The candidates of one request."""

    n: int
    candidates: Candidates
    """Those that can be read; `record` is the place in the request."""
    rejected: list[Rejected]
    """The others."""


def asked(messages: Sequence[object]) -> Asked:
    """Read candidates; what is none is rejected as the stream would reject its message."""
    found = Candidates([], [], [], [], [])
    rejected: list[Rejected] = []
    for at, message in enumerate(messages):
        try:
            candidate_id, query, document = read_candidate(message)
        except InputError as problem:
            rejected.append(Rejected(at, 0, problem.reason, Stage.DECODE, problem.detail))
            continue
        found.record.append(at)
        found.row.append(0)
        found.candidate_id.append(candidate_id)
        found.query.append(query)
        found.document.append(document)
    return Asked(len(messages), found, rejected)


def asked_to_rank(
    query: str,
    documents: Sequence[str | Mapping[str, Any]],
    template: PairTemplate,
    *,
    name: str,
    only: Sequence[str] | None = None,
) -> Asked:
    """Candidates of one query.

    Args:
        query: A text.
        documents: Texts, or objects of texts by field. A text goes into the field `text`, or, where the template
            has none, into the first that it has.
        template: The bundle's.
        name: What the shape calls the documents, for an error.
        only: Of objects, only these fields; None for all.

    Returns:
        As many candidates as documents.

    Raises:
        Refusal: An object holds something else than texts.
    """
    query_field, document_field = _flat_field(template.query), _flat_field(template.document)
    sides: list[Mapping[str, str]] = []
    for at, document in enumerate(documents):
        if isinstance(document, str):
            sides.append({document_field: document})
            continue
        kept = {key: content for key, content in document.items() if only is None or key in only}
        try:
            sides.append(as_fields(f"{name}[{at}]", kept))
        except InputError as problem:
            raise Refusal(422, Kind.VALIDATION, problem.detail) from problem
    n = len(documents)
    ids = [str(at) for at in range(n)]
    return Asked(n, Candidates([*range(n)], [0] * n, ids, [{query_field: query}] * n, sides), [])


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


def _flat_field(parts: Sequence[Part]) -> str:
    names = [part.field for part in parts]
    return FLAT_FIELD if FLAT_FIELD in names else names[0]


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

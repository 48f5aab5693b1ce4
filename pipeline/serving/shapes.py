"""The three shapes of requests and answers, as the page shows them.

`/v1/score` has candidates and verdicts as the stream has them. The other two rank texts for one query, as
text-embeddings-inference and Cohere do: relevance, higher is better, the best first. Names that a shape does not
have are refused; those that it has and a cross-encoder has no use for are read and change nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from pipeline.serving.errors import Kind

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


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class ScoreRequest(_Shape):
    """Candidates, as the input topic's JSON messages have them."""

    candidates: list[Annotated[Any, WithJsonSchema(_CANDIDATE)]]


class RerankRequest(_Shape):
    """Texts to rank, as text-embeddings-inference takes them."""

    query: str
    texts: list[str] = Field(min_length=1, fail_fast=True)
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
    documents: list[str | dict[str, Any]] = Field(min_length=1, fail_fast=True)
    """Texts, or objects of texts by field of the bundle's pair template."""
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool | None = False
    rank_fields: list[str] | None = Field(default=None, fail_fast=True)
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

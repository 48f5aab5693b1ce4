"""What a request asks for, as candidates: those of the stream's messages, or texts to rank for one query.

Promises a candidate or a reject for each, in order, by the stream's own reading. Pure; knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from actors.pairs import FLAT_FIELD, PairTemplate, Part
from pipeline.codec.decode_json import as_fields, read_candidate
from pipeline.errors import InputError
from pipeline.records import Candidates, Rejected, Stage
from pipeline.serving.errors import Kind, Refusal


class Asked(NamedTuple):
    """The candidates of one request."""

    n: int
    candidates: Candidates
    """Those that can be read; `record` is the place in the request."""
    rejected: list[Rejected]
    """The others."""


def read_all(messages: Sequence[object]) -> Asked:
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


def _flat_field(parts: Sequence[Part]) -> str:
    names = [part.field for part in parts]
    return FLAT_FIELD if FLAT_FIELD in names else names[0]

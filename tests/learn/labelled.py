"""Labels for tests, whose texts tell how severe they are: no model is needed to score them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actors.learn.labels import Label, Labels, Pair, Sampling, Source
from actors.pairs import Fields
from actors.probes import Probes
from actors.rubric import SEVERE_OR_NOT
from actors.tokens import Tokens


def words(n: int, *, seed: int = 0) -> list[str]:
    """Queries that are not alike."""
    rng = np.random.default_rng(seed)
    return ["".join(chr(97 + letter) for letter in rng.integers(0, 26, 12)) for _ in range(n)]


def labels(
    queries: Sequence[str],
    *,
    per_query: int = 6,
    seed: int = 0,
    signal: float = 4.0,
    sampling: Sampling = Sampling.RANDOM,
    segments: Sequence[str | None] = (None,),
) -> Labels:
    """Pairs of each query, severe as often as their number says."""
    rng = np.random.default_rng(seed)
    pairs, rows = [], []
    for place, query in enumerate(queries):
        for number in rng.normal(-0.5, 1.5, size=per_query):
            severe = bool(rng.random() < 1 / (1 + np.exp(-signal * number)))
            level = "severe" if severe else "fine"
            rows.append(Label(len(pairs), Source.HUMAN, "ann", level, float(severe), sampling, False))
            segment = segments[place % len(segments)]
            pairs.append(Pair({"text": query}, {"text": f"{number:.6f}"}, None, segment))
    return Labels(SEVERE_OR_NOT, tuple(pairs), tuple(rows))


def together(*parts: Labels) -> Labels:
    """Several as one; no pair is in two of them."""
    pairs, rows = [], []
    for part in parts:
        rows += [replace(row, pair=row.pair + len(pairs)) for row in part.rows]
        pairs += part.pairs
    return Labels(SEVERE_OR_NOT, tuple(pairs), tuple(rows))


def only(of: Labels, queries: Collection[str]) -> Labels:
    """What is about these queries."""
    kept = [place for place, pair in enumerate(of.pairs) if pair.query["text"] in queries]
    now = {before: after for after, before in enumerate(kept)}
    rows = tuple(replace(row, pair=now[row.pair]) for row in of.rows if row.pair in now)
    return Labels(of.rubric, tuple(of.pairs[place] for place in kept), rows)


def said(
    bundle_path: Path, queries: Sequence[Fields], documents: Sequence[Fields], *, source: str
) -> np.ndarray:
    """Stands in for `apply.logits`: the number in the document's text."""
    return np.array([float(document["text"]) for document in documents])


def told(bundle_path: Path, queries: Sequence[Fields], documents: Sequence[Fields]) -> Probes:
    """Stands in for `apply.probes`: one token a pair."""
    tokens = Tokens.from_rows([[place] for place in range(len(documents))], None)
    return Probes(tokens, said(bundle_path, queries, documents, source="").astype(np.float32))

"""Made-up labels for tests: queries that are unlike each other, documents that fit them or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from actors.learn.labels import Columns, Label, Labels, Pair, Sampling, Source
from actors.learn.sample import Sample
from actors.pairs import PairTemplate
from actors.rubric import Rubric

RUBRIC = Rubric({"good": 1.0, "odd": 0.5, "bad": 0.0}, frozenset({"bad"}))
TEMPLATE = PairTemplate()
COLUMNS = Columns(
    level="level",
    p_severe="p_severe",
    source="source",
    annotator="who",
    sampling="how",
    segment="segment",
    default_source=Source.HUMAN,
)


def query(i: int) -> str:
    """Queries that share no word and few letters."""
    rng = np.random.default_rng(i)
    return " ".join("".join(rng.choice([*"abcdefghijklmnopqrstuvwxyz"], 7)) for _ in range(2))


def pairs(n_clusters: int = 60, per_cluster: int = 6) -> list[Pair]:
    """Every third document does not hold the query: severe, for whoever can read. Two segments."""
    return [
        Pair(
            {"text": query(i)},
            {"text": f"thing {i}x{j} of {query(10_000 + 100 * i + j) if j % 3 == 0 else query(i)}"},
            None,
            "even" if i % 2 == 0 else "odd",
        )
        for i in range(n_clusters)
        for j in range(per_cluster)
    ]


def label(pair: int, level: str | None, who: str = "ann", **changes) -> Label:
    """A person's label from a probability sample, unless something else is said."""
    said = {"source": Source.HUMAN, "sampling": Sampling.RANDOM, "adjudicated": False}
    said |= {"p_severe": float(level == "bad")} | changes
    return Label(pair, annotator=who, level=level, **said)


def truth(found: list[Pair], place: int) -> str:
    """What a careful person says."""
    one = found[place]
    return "good" if one.query["text"] in one.document["text"] else "bad"


def by_people(found: list[Pair], *names: str) -> list[Label]:
    """All say the truth."""
    return [label(i, truth(found, i), name) for name in names or ("ann",) for i in range(len(found))]


def by_judge(
    found: list[Pair], *, right: float = 1.0, n: int | None = None, name: str = "gpt"
) -> list[Label]:
    """Labels of the first pairs; so often right."""
    rng = np.random.default_rng(9)
    rows = []
    for i in range(len(found) if n is None else n):
        level = truth(found, i) if rng.random() < right else str(rng.choice(["good", "bad"]))
        rows.append(label(i, level, name, source=Source.JUDGE))
    return rows


def labels(found: list[Pair], *rows: Label) -> Labels:
    """Of the rubric above."""
    return Labels(RUBRIC, tuple(found), rows)


def labels_file(path: Path, of: Labels) -> Path:
    """As JSON lines; `COLUMNS` says which is what."""
    rows = [
        {
            "query": of.pairs[row.pair].query["text"],
            "document": of.pairs[row.pair].document["text"],
            "segment": of.pairs[row.pair].segment,
            "level": row.level,
            "p_severe": row.p_severe,
            "source": row.source,
            "who": row.annotator,
            "how": row.sampling,
        }
        for row in of.rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sample(of: Labels, **options) -> Sample:
    """With clusters and roles."""
    return Sample.of(of, TEMPLATE, **options)

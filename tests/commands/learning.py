"""What tests of learning commands share: bundles that need no model, and files of labels and traffic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from actors.bundle import Bundle, write_bundle
from actors.learn.labels import Labels
from actors.learn.roles import Role, Roles, digest
from tests.learn.labelled import words
from tests.model_folders import model_stand_in, plain_manifest

QUERIES = dict(zip(Role, ([*words(100)[20 * i : 20 * i + 20]] for i in range(5)), strict=True))
NEW = words(120, seed=1)


def every() -> list[str]:
    return [query for queries in QUERIES.values() for query in queries]


def bundle(tmp_path: Path, name: str = "bundle", *, roles: bool = True, **changes: object) -> Bundle:
    """A bundle that knows `QUERIES`."""
    model = tmp_path / f"model-of-{name}"
    model.mkdir()
    told = Roles({digest(query): role for role, queries in QUERIES.items() for query in queries})
    files = {"roles.json": told.to_bytes()} if roles else {}
    folder = model_stand_in(model)
    return write_bundle(tmp_path / name, model_folder=folder, manifest=plain_manifest(**changes), files=files)


def label_file(path: Path, labels: Labels) -> Path:
    rows = [
        {
            "query": labels.pairs[row.pair].query["text"],
            "document": labels.pairs[row.pair].document["text"],
            "level": row.level,
            "how": str(row.sampling),
            "part": labels.pairs[row.pair].segment,
        }
        for row in labels.rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def traffic_file(path: Path, n: int = 600, queries: Sequence[str] = NEW) -> Path:
    numbers = np.random.default_rng(5).normal(-0.5, 1.5, n)
    rows = [{"query": queries[i % len(queries)], "document": f"{x:.6f}"} for i, x in enumerate(numbers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path

"""A scorer that costs a chosen time and nothing else, so that a few thousand messages last through the faults."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from actors.bundle import Bundle
from actors.pairs import Fields
from actors.scorer import Prepared, Scores
from actors.tokens import Tokens
from bench.trivial import TrivialPreparer, TrivialScorer

SEGFAULTS, HOGS = 1_000_001, 1_000_002
"""Tokens that take their replica down: by a segmentation fault, and as the kernel does when memory runs out."""
POISONS = {"segfault": SEGFAULTS, "out of memory": HOGS}
"""The same, as documents."""


def set_pace(bundle: Path, seconds_per_row: float) -> None:
    """Say what a candidate costs, at any time: the next batch is scored at that pace."""
    new = _pace_file(bundle).with_suffix(".new")
    new.write_text(str(seconds_per_row))
    new.replace(_pace_file(bundle))  # at once, or a replica might read half of it


class PoisonPreparer(TrivialPreparer):
    """As the trivial one; a document that names a poison becomes its token."""

    def prepare(self, queries: Sequence[Fields], documents: Sequence[Fields]) -> Prepared:
        prepared = super().prepare(queries, documents)
        ids = [
            POISONS.get(document["text"], place)
            for place, document in zip(prepared.tokens.ids, documents, strict=True)
        ]
        return prepared._replace(tokens=replace(prepared.tokens, ids=np.array(ids, np.int32)))


class PacedScorer(TrivialScorer):
    """As the trivial one, at the pace that was set for its bundle."""

    def __init__(self, bundle_path: Path | str, **options: int | None) -> None:
        super().__init__(bundle_path, **options)
        self._pace = _pace_file(Bundle.open(bundle_path).path)

    def score(self, tokens: Tokens) -> Scores:
        time.sleep(float(self._pace.read_text()) * len(tokens))
        _swallow(tokens.ids)
        return super().score(tokens)


def _pace_file(bundle: Path) -> Path:
    return bundle.parent / "seconds_per_row"


def _swallow(ids: np.ndarray) -> None:
    if SEGFAULTS in ids:
        ctypes.string_at(0)
    if HOGS in ids:
        os.kill(os.getpid(), signal.SIGKILL)

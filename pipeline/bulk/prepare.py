"""Prepare, in bulk: from a stretch to parts that a replica can score. Read, decode, look up, compose, tokenize.

Promises that a stretch tried again gives the same parts; that what cannot become a candidate is rejected as a
value; and that a pair which an earlier run scored is neither tokenized nor scored. Knows no engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.scorer import Prepares, Scores
from pipeline.bulk.apart import ComposeApart, Composed, joined_origins
from pipeline.bulk.known import Known, digests
from pipeline.bulk.parts import Stretch
from pipeline.bulk.reading import Rows, decode, read
from pipeline.candidate_files import Columns
from pipeline.codec import Origins
from pipeline.prepare import compose, open_preparer
from pipeline.records import Candidates, Rejected
from pipeline.settings import Settings
from pipeline.trial import Trial

Compose = Callable[[Candidates, list[Rejected]], tuple[Origins, pa.RecordBatch]]
"""Composes and tokenizes: `pipeline.prepare.compose`, or the like apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A part, ready to be scored."""

    rows: Rows
    origins: Origins
    """Candidates to be scored, then those whose scores are known; the row is the place in the part."""
    pairs: NDArray[np.uint64]
    """Their digests, uint64 `[n, 2]`."""
    tokens: pa.RecordBatch
    """Of those to be scored."""
    known: Scores
    """Of the others."""
    rejected: list[Rejected]
    core_s: float
    """CPU time that it took."""


class Prepare:
    """Turns stretches into prepared parts.

    Args:
        compose: Composes and tokenizes.
        columns: What makes a candidate.
        known: What need not be scored.
    """

    def __init__(self, compose: Compose, columns: Columns, known: Known) -> None:
        self._compose = compose
        self._columns = columns
        self._known = known

    def __call__(self, stretch: Stretch) -> Iterator[Prepared]:
        """Prepare the parts of a stretch that are wanted, one after the other. Blocks while it reads.

        Args:
            stretch: What to read.

        Yields:
            Each wanted part.

        Raises:
            DataUnusable: The file cannot be read, or is not what it was.
            TransientError: The store does not answer.
        """
        began = time.process_time()
        for rows in read(stretch, self._columns):
            candidates, rejected = decode(rows, self._columns, stretch.kind)
            pairs = digests(candidates.query, candidates.document)
            is_known, known = self._known.find(pairs)
            fresh, places = _chosen(candidates, ~is_known)
            origins, tokens = self._compose(fresh, rejected)
            kept = places[np.searchsorted(_rows_of(fresh), origins.row)]
            others, other_places = _chosen(candidates, is_known)
            yield Prepared(
                rows,
                joined_origins([origins, Origins.of(others, range(len(others)))]),
                pairs[np.concatenate([kept, other_places])],
                tokens,
                known,
                rejected,
                time.process_time() - began,
            )
            began = time.process_time()


def build(settings: Settings, columns: Columns, known: Known, *, apart: bool = False) -> Prepare:
    """Prepare as the settings describe it; opens the bundle.

    Args:
        settings: Of the gate.
        columns: What makes a candidate.
        known: What need not be scored.
        apart: Compose and tokenize in a process of its own, because something ended a replica.

    Returns:
        The stage.

    Raises:
        BundleRefused: The bundle must not be used.
    """
    if not apart:
        return Prepare(partial(compose, open_preparer(settings)), columns, known)
    longest_s = settings.execution.hang_s
    trial = Trial(partial(_open_composing, settings), limit_s=3 * longest_s, item_s=longest_s)
    return Prepare(ComposeApart(trial), columns, known)


def _open_composing(settings: Settings) -> Callable[[Candidates], Composed]:
    """What a trial does, in its process."""
    return partial(_composed, open_preparer(settings))


def _composed(preparer: Prepares, candidates: Candidates) -> Composed:
    rejected: list[Rejected] = []
    return *compose(preparer, candidates, rejected), rejected


def _chosen(candidates: Candidates, mask: NDArray[np.bool_]) -> tuple[Candidates, NDArray[np.intp]]:
    """Some of the candidates, and their places among all."""
    places = np.flatnonzero(mask)
    if len(places) == len(candidates):
        return candidates, places
    at = places.tolist()
    columns = (
        candidates.record,
        candidates.row,
        candidates.candidate_id,
        candidates.query,
        candidates.document,
    )
    return Candidates(*([column[one] for one in at] for column in columns)), places  # type: ignore[arg-type]


def _rows_of(candidates: Candidates) -> NDArray[np.int64]:
    return np.array(candidates.row, np.int64)

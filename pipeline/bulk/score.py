"""Score, in bulk: from prepared parts to what is written of them. Score, decide, lay out.

Promises that every row of a part leaves as a verdict or as a reject, in its order. Knows no engine and no store.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.probes import read_probes
from actors.scorer import Scores, ScoresPairs
from actors.tokens import Tokens
from pipeline.bearing import Bearing, joined
from pipeline.bulk.apart import Apart
from pipeline.bulk.parts import Part
from pipeline.bulk.prepare import Prepared
from pipeline.bulk.verdicts import reject_table
from pipeline.bundles import open_bundle
from pipeline.codec import Origins, finite, not_finite
from pipeline.codec.verdict import VerdictContext, VerdictRows
from pipeline.errors import InvariantBroken
from pipeline.records import Effort, Reason
from pipeline.score import explained, open_scorer, open_scoring
from pipeline.settings import Settings
from pipeline.trial import Trial


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A part, ready to be written."""

    part: Part
    verdicts: VerdictRows
    """In the part's order; the offset is the row in the file."""
    pairs: NDArray[np.uint64]
    """Their digests, uint64 `[n, 2]`."""
    rejects: pa.Table
    reasons: Mapping[Reason, int]
    """They add up to the rejects."""
    n_known: int
    """Verdicts whose scores were known."""
    effort: Effort
    """What scoring the others took; none where they were scored apart."""
    core_s: float
    """CPU time of Prepare and Score."""
    replica_s: float
    """How long a replica was busy with it."""


class Score:
    """Turns prepared parts into what is written.

    Args:
        scorer: Scores tokens.
        context: What the verdicts have in common.
        sound: A pair that can be scored, where one is known.
    """

    def __init__(self, scorer: ScoresPairs, context: VerdictContext, *, sound: Tokens | None = None) -> None:
        self._scorer = Bearing(scorer, sound=sound)
        self._context = context

    def __call__(self, prepared: Prepared) -> Iterator[Scored]:
        """Score one part.

        Args:
            prepared: The part.

        Yields:
            The same part, scored.

        Raises:
            InvariantBroken: A row has not ended exactly once.
        """
        began, cpu_began = time.monotonic(), time.process_time()
        tokens = Tokens.from_arrow(prepared.tokens)
        borne = self._scorer.score(tokens)
        origins, every = prepared.origins, joined([borne.scores, prepared.known])
        rejected = [*prepared.rejected, *explained(not_finite(origins, every), origins, borne.failures)]
        order = _in_order(origins, every)
        rows = prepared.rows
        n_rows = len(order) + len(rejected)
        if n_rows != rows.part.n_rows or len({one.row for one in rejected}) != len(rejected):
            raise InvariantBroken(f"{rows.part}: {rows.part.n_rows} rows became {n_rows}")
        yield Scored(
            rows.part,
            _verdicts(rows.at, origins, every, order, context=self._context),
            prepared.pairs[order],
            reject_table(rows, rejected),
            Counter(one.reason for one in rejected),
            len(prepared.known),
            borne.effort,
            prepared.core_s + time.process_time() - cpu_began,
            time.monotonic() - began,
        )


def build(settings: Settings, context: VerdictContext, *, apart: bool = False) -> Score:
    """Score as the settings describe it; loads the model.

    Args:
        settings: Of the gate.
        context: What the verdicts have in common.
        apart: Score in a process of its own, because something ended a replica.

    Returns:
        The stage, ready to score.

    Raises:
        BundleRefused: The bundle, or the device, must not be used.
    """
    if not apart:
        return Score(open_scorer(settings), context)
    longest_s = settings.execution.hang_s
    trial = Trial(partial(open_scoring, settings), limit_s=longest_s, item_s=longest_s)
    probes = read_probes(open_bundle(settings).path)
    return Score(Apart(trial), context, sound=None if probes is None else probes.tokens.slice(0, 1))


def _in_order(origins: Origins, scores: Scores) -> NDArray[np.intp]:
    """Those that have a verdict, as they stand in the part."""
    kept = np.flatnonzero(finite(scores))
    return kept[np.argsort(origins.row[kept], kind="stable")]


def _verdicts(
    at: NDArray[np.int64],
    origins: Origins,
    scores: Scores,
    order: NDArray[np.intp],
    *,
    context: VerdictContext,
) -> VerdictRows:
    action = scores.action[order]
    nothing = np.zeros(len(order), np.int32)  # a row of a file is a message of one candidate
    return VerdictRows(
        record=nothing,
        row=nothing,
        offset=at[origins.row[order]],
        candidate_id=origins.candidate_id.take(pa.array(order)),
        score=scores.logit[order].astype(np.float64),
        relevance=scores.relevance[order].astype(np.float64),
        action=action,
        route=context.routes[action],
    )

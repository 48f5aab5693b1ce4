"""Scores in, verdicts out: what the gate tells the world about each candidate.

Promises: a JSON candidate gives one JSON verdict; a batch message gives one Arrow batch per route, or a JSON
verdict per candidate, by setting; key and headers are the input's; per route, verdicts keep the source's order.
A score that is not finite gives a reject, never a verdict. It must not know a model or the name of a topic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from actors.policy import ActionCode
from pipeline.codec.encode_arrow import arrow_verdicts, streams
from pipeline.codec.encode_json import json_verdicts
from pipeline.codec.headers import RECORD_BYTES, Format, carried_bytes, format_of, with_format
from pipeline.codec.verdict import ROUTES, Origins, VerdictContext, VerdictRows
from pipeline.records import Counts, Output, Reason, Record, Rejected, Route, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from actors.scorer import Scores


class Verdicts(NamedTuple):
    """What became of a claim's candidates."""

    outputs: list[Output]
    rejected: list[Rejected]
    """Those whose score is not finite."""
    counts: Counts
    """Of these candidates; `records` is 0: that is for whoever read them."""


def encode_verdicts(
    records: Sequence[Record], origins: Origins, scores: Scores, context: VerdictContext, *, time_ms: int
) -> Verdicts:
    """Turn the scores of a claim's candidates into messages.

    Args:
        records: The claim's records.
        origins: Where each candidate came from, n entries.
        scores: What the scorer says about it, n entries.
        context: What the verdicts have in common.
        time_ms: When they were scored, epoch milliseconds.

    Returns:
        Messages, rejects and counts: every candidate is in one of the first two, unless it passes unsent.
    """
    offset = np.array([record.offset for record in records], np.int64)
    rows = _in_order(offset, origins, scores, context)
    n_pass, n_review, n_prune = np.bincount(scores.action[finite(scores)], minlength=len(ActionCode)).tolist()
    rejected = not_finite(origins, scores)
    counts = Counts(n_prune, n_review, n_pass, rejected=len(rejected))
    return Verdicts(list(_messages(records, rows, context, time_ms)), rejected, counts)


def _in_order(
    offset: NDArray[np.int64], origins: Origins, scores: Scores, context: VerdictContext
) -> VerdictRows:
    """The verdicts to be sent, as they are sent: those of a batch message that share a route, together."""
    routes = context.routes[scores.action]
    sent = finite(scores)
    if not context.emit_pass:
        sent &= routes != ROUTES.index(Route.PASS)
    chosen = np.flatnonzero(sent)
    order = chosen[np.lexsort((routes[chosen], origins.record[chosen]))]
    return VerdictRows(
        record=origins.record[order],
        row=origins.row[order],
        offset=offset[origins.record[order]],
        candidate_id=origins.candidate_id.take(order),
        score=scores.logit[order].astype(np.float64),
        relevance=scores.relevance[order].astype(np.float64),
        action=scores.action[order],
        route=routes[order],
    )


def not_finite(origins: Origins, scores: Scores) -> list[Rejected]:
    """The rejects of pairs that have no verdict.

    Args:
        origins: Where each pair came from, n entries.
        scores: What the scorer says about it, n entries.

    Returns:
        One for each score that is not finite, in order.
    """
    return [
        Rejected(
            int(origins.record[at]),
            int(origins.row[at]),
            Reason.SCORE_NOT_FINITE,
            Stage.SCORE,
            f"logit {scores.logit[at]}, relevance {scores.relevance[at]}",
        )
        for at in np.flatnonzero(~finite(scores))
    ]


def finite(scores: Scores) -> NDArray[np.bool_]:
    """Which scores a verdict can be made of, bool `[n]`."""
    return np.isfinite(scores.logit) & np.isfinite(scores.relevance)


def _messages(
    records: Sequence[Record], rows: VerdictRows, context: VerdictContext, time_ms: int
) -> Iterator[Output]:
    """One message per row, but one per route for each batch message."""
    batches = []
    if context.batch_verdicts == "arrow":
        # Only records that have candidates: another one's content type may be anything.
        with_rows = np.unique(rows.record).tolist()
        batches = [at for at in with_rows if format_of(records[at].headers) is Format.ARROW]
    batched = np.isin(rows.record, batches)
    table = arrow_verdicts(rows.where(batched), context, time_ms=time_ms)
    singles = json_verdicts(rows.where(~batched), context, time_ms=time_ms)
    taken = 0
    for start, stop in _runs(rows):
        record = records[rows.record[start]]
        route = ROUTES[rows.route[start]]
        if not batched[start]:
            headers = with_format(record.headers, Format.JSON)
            for value in islice(singles, stop - start):
                yield Output(route, record.key, value, headers)
            continue
        headers = with_format(record.headers, Format.ARROW)
        room = context.max_message_bytes - carried_bytes(record.key, headers) - RECORD_BYTES
        for value in streams(table.slice(taken, stop - start), room_bytes=room):
            yield Output(route, record.key, value, headers)
        taken += stop - start


def _runs(rows: VerdictRows) -> Iterator[tuple[int, int]]:
    """Where neither record nor route changes: start and stop of each such stretch."""
    changes = (np.diff(rows.record) != 0) | (np.diff(rows.route) != 0)
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(rows.record)]
    return pairwise(bounds if len(rows.record) else [])

"""Verdicts as JSON objects, one per candidate.

What the verdicts of a claim have in common is rendered once per action; only the rest is rendered per row.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pipeline.codec.verdict import ACTIONS, VerdictContext, VerdictRows


def json_verdicts(rows: VerdictRows, context: VerdictContext, *, time_ms: int) -> Iterator[bytes]:
    """Render each row.

    Args:
        rows: The verdicts.
        context: What they have in common.
        time_ms: When they were scored, epoch milliseconds.

    Yields:
        One JSON object per row, in order.
    """
    heads = [_head(action, context, time_ms) for action in range(len(ACTIONS))]
    columns = zip(
        rows.action.tolist(),
        rows.candidate_id.to_pylist(),
        rows.score.tolist(),
        rows.relevance.tolist(),
        rows.offset.tolist(),
        rows.row.tolist(),
        strict=True,
    )
    for action, candidate_id, score, relevance, offset, row in columns:
        own = {
            "candidate_id": candidate_id,
            "score": score,
            "relevance": relevance,
            "source_offset": offset,
            "source_row": row,
        }
        yield heads[action] + orjson.dumps(own)[1:]


def _head(code: int, context: VerdictContext, time_ms: int) -> bytes:
    action = ACTIONS[code]
    shared = {
        "action": action.value,
        "route": context.mode.route(action).value,
        "mode": context.mode.value,
        "prune_threshold": context.prune_threshold,
        "review_threshold": context.review_threshold,
        "guarantee": context.guarantee,
        "bundle": context.bundle,
        "source_topic": context.source.topic,
        "source_partition": context.source.partition,
        "run": context.run,
        "time_ms": time_ms,
    }
    return orjson.dumps(shared)[:-1] + b","

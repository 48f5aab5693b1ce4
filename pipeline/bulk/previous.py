"""An earlier run whose scores are taken over: whether it may be, and what it knows.

Promises that no score of another bundle, or of other code, is ever taken for this one's. Knows no engine.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.bundle import Bundle
from actors.manifest import canonical_json, sha256
from actors.policy import ActionCode
from actors.scorer import Scores
from pipeline.bulk import run, write
from pipeline.bulk.known import Known, as_digests
from pipeline.bulk.store import Store
from pipeline.errors import BackfillRefused
from pipeline.settings import Settings

_COLUMNS = ["pair_digest", "score", "relevance"]


class Previous(NamedTuple):
    """A finished run, or none."""

    digest: str | None
    """`sha256:<hex>` of its manifest."""
    known: Known


def read_previous(address: str | None, bundle: Bundle, settings: Settings) -> Previous:
    """Read what an earlier run knows. Blocks; takes 25 bytes for each of its verdicts.

    Args:
        address: Of its folder; None knows nothing.
        bundle: What scores now.
        settings: Of the gate.

    Returns:
        Its verdicts.

    Raises:
        BackfillRefused: It is not finished, or what it says was said by another bundle or with other settings.
        TransientError: The store does not answer.
    """
    if address is None:
        return Previous(None, Known(*_none()))
    store = Store(address)
    told = run.finished(store)
    if told is None:
        raise BackfillRefused(
            address, f"holds no finished run, there is no {run.MANIFEST}; leave out --previous"
        )
    _check(address, told, bundle, settings)
    pairs, scores = [_none()[0]], [_none()[1]]
    for name in store.names(write.VERDICTS):
        try:
            of_file = _verdicts(name, store.get(name) or b"")
        except (pa.ArrowException, OSError, KeyError) as error:
            problem = f"its {name} is damaged: {error}; leave out --previous"
            raise BackfillRefused(address, problem) from error
        pairs += of_file[0]
        scores.append(of_file[1])
    columns = ([getattr(one, name) for one in scores] for name in ("logit", "relevance", "action"))
    return Previous(
        sha256(canonical_json(told)), Known(np.concatenate(pairs), Scores(*map(np.concatenate, columns)))
    )


def _check(address: str, told: Mapping[str, Any], bundle: Bundle, settings: Settings) -> None:
    scored_with, settled = told.get("bundle"), told.get("settings", {})
    if scored_with != bundle.digest:
        problem = f"was scored with bundle {scored_with}, not {bundle.digest}; score anew without --previous"
        raise BackfillRefused(address, problem)
    for name, now in run.deciding(settings).items():
        then = settled.get(name)
        if then != now:
            problem = f"was scored with {name} {then}, not {now}; leave out --previous to score anew"
            raise BackfillRefused(address, problem)


def _verdicts(name: str, content: bytes) -> tuple[list[NDArray[np.uint64]], Scores]:
    """Digests of the pairs, in pieces, and what was said of them."""
    table = pq.read_table(pa.BufferReader(content), columns=_COLUMNS)
    logit, relevance = (table[one].to_numpy().astype(np.float32) for one in ("score", "relevance"))
    pairs = [as_digests(chunk) for chunk in table["pair_digest"].chunks]
    return pairs, Scores(logit, relevance, np.full(len(logit), _action(name), np.int8))


def _action(name: str) -> ActionCode:
    """By the folder that a file of verdicts is in."""
    return ActionCode[posixpath.basename(posixpath.dirname(name)).removeprefix("action=").upper()]


def _none() -> tuple[NDArray[np.uint64], Scores]:
    nothing = np.empty(0, np.float32)
    return np.empty((0, 2), np.uint64), Scores(nothing, nothing, np.empty(0, np.int8))

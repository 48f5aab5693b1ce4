"""What a bundle says of pairs that are at hand: scored as a replica of the gate scores them, and with its code.

Promises a finite logit for every pair, in order, or one line that names the pair which has none: figures and
thresholds that rest on these logits rest on all of the data. Needs torch.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn.quiet import quiet
from actors.pairs import MAX_CHARS, Fields
from actors.probes import Probes
from actors.scorer import Preparer, Scorer

logger = logging.getLogger(__name__)

_AT_ONCE = 1_024
"""Pairs whose tokens are held together, and after which it says how far it is; a pair's logit is the same in any
company."""


def logits(
    bundle_path: Path, queries: Sequence[Fields], documents: Sequence[Fields], *, source: str
) -> NDArray[np.float64]:
    """Score pairs with a bundle.

    Args:
        bundle_path: The bundle's folder.
        queries: Query-side fields, n of them.
        documents: Document-side fields, n of them.
        source: Where the pairs come from, for an error.

    Returns:
        Severity, float64 `[n]`, finite: higher is worse.

    Raises:
        BundleError: The bundle must not be used.
        DataRefused: A pair has no text on a side, or too long a one; or its logit is not finite.
    """
    with quiet():
        preparer, scorer = Preparer(bundle_path, max_chars=MAX_CHARS), Scorer(bundle_path)
    found = np.empty(len(queries))
    for start in range(0, len(queries), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        prepared = preparer.prepare(queries[rows], documents[rows])
        for place, problem in prepared.problems[:1]:
            raise DataRefused(f"{source}, pair {start + place + 1}", str(problem))
        found[rows] = scorer.score(prepared.tokens).logit
        if len(queries) > _AT_ONCE:
            logger.info("scored %d of %d pairs of %s", min(rows.stop, len(queries)), len(queries), source)
    for place in np.flatnonzero(~np.isfinite(found))[:1].tolist():
        said = f"the bundle's logit is {found[place]}; mend or replace the bundle {bundle_path}"
        raise DataRefused(f"{source}, pair {place + 1}", said)
    return found


def probes(bundle_path: Path, queries: Sequence[Fields], documents: Sequence[Fields]) -> Probes:
    """What a bundle's encoder says of pairs, for those who serve it to compare with.

    Args:
        bundle_path: The bundle's folder.
        queries: Query-side fields, n of them, at least one.
        documents: Document-side fields, n of them; all have been scored before.

    Returns:
        The pairs' tokens, with the encoder's logits.

    Raises:
        BundleError: The bundle must not be used.
    """
    with quiet():
        preparer, scorer = Preparer(bundle_path, max_chars=MAX_CHARS), Scorer(bundle_path)
    tokens = replace(preparer.prepare(queries, documents).tokens, prior=None)
    return Probes(tokens, scorer.encode(tokens))

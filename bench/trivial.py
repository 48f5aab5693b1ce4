"""A preparer and a scorer that cost next to nothing, so that what is measured is the stream around them.

Of each hundred candidates 5 are pruned, 5 go to review and 90 pass, by their place in the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from actors.bundle import Bundle
from actors.pairs import Fields
from actors.scorer import Prepared, Scores
from actors.tokens import Tokens

PREPARER = "pool.preparer=bench.trivial:TrivialPreparer"
TRIVIAL = (PREPARER, "pool.scorer=bench.trivial:TrivialScorer")
"""The settings that name them."""
_PERCENT = np.arange(100)
_ACTIONS = np.where(_PERCENT < 5, 2, np.where(_PERCENT < 10, 1, 0)).astype(np.int8)


class TrivialPreparer:
    """One token per candidate: its place. Looks at no text."""

    def __init__(self, bundle_path: Path | str, *, max_chars: int) -> None:
        del bundle_path, max_chars

    def prepare(self, queries: Sequence[Fields], documents: Sequence[Fields]) -> Prepared:
        """Keep every candidate."""
        n = len(queries)
        places = np.arange(n, dtype=np.int32)
        return Prepared(list(range(n)), Tokens(places, np.arange(n + 1, dtype=np.int32), None), [])


class TrivialScorer:
    """Scores by the token, through a table."""

    def __init__(
        self,
        bundle_path: Path | str,
        *,
        threads: int | None = None,
        budget_tokens: int = 0,
        cache_pairs: int = 0,
    ) -> None:
        del threads, budget_tokens, cache_pairs
        self.bundle = Bundle.open(bundle_path)

    def score(self, tokens: Tokens) -> Scores:
        """Five, five and ninety of a hundred."""
        actions = _ACTIONS[tokens.ids % 100]
        return Scores(actions.astype(np.float32), (1 - actions / 2).astype(np.float32), actions)

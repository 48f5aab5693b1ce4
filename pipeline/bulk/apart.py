"""A scorer in a process of its own, for pairs that may end it. Slow: each call starts one and loads the model.

Promises that a pair which ends its process, or gives no answer, raises here as any other that cannot be scored: so
`Bearing` finds it. Knows no engine.
"""

from __future__ import annotations

from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.errors import ReplicasKeepDying
from pipeline.score import Trying
from pipeline.trial import Died

MAX_DEATHS = 40
"""Deaths in a row until it is not the pairs. To find one of a million by halving takes 21, others a few."""


class Apart:
    """Scores where nothing else can be hurt.

    Args:
        trial: Scores in a process of its own.
    """

    def __init__(self, trial: Trying) -> None:
        self._trial = trial
        self._n_deaths = 0  # in a row

    def score(self, tokens: Tokens) -> Scores:
        """Score pairs, in order. Blocks.

        Args:
            tokens: Pairs, n of them.

        Returns:
            A score for each.

        Raises:
            RuntimeError: They ended the process, or it gave no answer.
            ReplicasKeepDying: So did all others before them.
        """
        (answer,) = self._trial([tokens])
        if not isinstance(answer, Died):
            self._n_deaths = 0
            return answer
        self._n_deaths += 1
        if self._n_deaths == MAX_DEATHS:
            raise ReplicasKeepDying(self._n_deaths, f"one of {len(tokens)} pairs")
        raise RuntimeError(f"scoring was given up: {answer.how}")

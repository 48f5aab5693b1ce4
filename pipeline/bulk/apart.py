"""The two stages in processes of their own, for what may end one. Slow: each call starts one and loads the model.

Promises that a row which ends its process, or gives no answer, is found by halving and rejected, and no other. A
pair that does raises here, as any other that cannot be scored: so `Bearing` finds it. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from actors.scorer import Scores
from actors.tokens import Tokens
from pipeline.codec import Origins
from pipeline.errors import ReplicasKeepDying
from pipeline.records import Candidates, Reason, Rejected, Stage
from pipeline.score import Trying
from pipeline.trial import Died

MAX_DEATHS = 40
"""Deaths in a row until it is not the rows. To find one of a million by halving takes 21, others a few."""

NOTHING = Candidates([], [], [], [], [])

Composed = tuple[Origins, pa.RecordBatch, list[Rejected]]
"""Where candidates came from, what the scorer needs of each, and the others."""
TryingToCompose = Callable[[Sequence[Candidates]], list[Composed | Died]]
"""Composes and tokenizes what may kill its process; a `Trial`."""


class Apart:
    """Scores where nothing else can be hurt.

    Args:
        trial: Scores in a process of its own.
    """

    def __init__(self, trial: Trying) -> None:
        self._trial = trial
        self._deaths = _Deaths()

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
            self._deaths.forget()
            return answer
        self._deaths.count(f"one of {len(tokens)} pairs")
        raise RuntimeError(f"scoring was given up: {answer.how}")


class ComposeApart:
    """Composes and tokenizes where nothing else can be hurt.

    Args:
        trial: Does it in a process of its own.
    """

    def __init__(self, trial: TryingToCompose) -> None:
        self._trial = trial
        self._deaths = _Deaths()

    def __call__(self, candidates: Candidates, rejected: list[Rejected]) -> tuple[Origins, pa.RecordBatch]:
        """Compose and tokenize candidates, as `pipeline.prepare.compose` does. Blocks.

        Args:
            candidates: Of one part.
            rejected: Grows by those that have a problem, or ended the process.

        Returns:
            Where the others came from, and what the scorer needs of each.

        Raises:
            ReplicasKeepDying: No process does anything, or too many candidates in a row ended theirs.
        """
        pieces = list(self._composed([candidates]))
        for _, _, of_piece in pieces:
            rejected += of_piece
        kept = [piece for piece in pieces if len(piece[0].row)] or pieces[:1]
        origins, columns, _ = zip(*kept, strict=True)
        return joined_origins(origins), pa.concat_batches(columns)

    def _composed(self, pieces: Sequence[Candidates]) -> Iterator[Composed]:
        """What becomes of each piece, in order; of those that end their process, what becomes of their halves."""
        nothing, *answers = self._trial([NOTHING, *pieces])
        if isinstance(nothing, Died):
            raise ReplicasKeepDying(1, "a process that had nothing to do yet")
        for piece, answer in zip(pieces, answers, strict=True):
            if not isinstance(answer, Died):
                self._deaths.forget()
                yield answer
                continue
            self._deaths.count(f"one of {len(piece)} candidates")
            if len(piece) > 1:
                yield from self._composed(_halves(piece))
            else:
                detail = f"tokenizing it was given up: {answer.how}"
                reject = Rejected(0, piece.row[0], Reason.PREPARING_FAILED, Stage.COMPOSE, detail)
                yield nothing[0], nothing[1], [reject]


class _Deaths:
    """Deaths in a row."""

    def __init__(self) -> None:
        self._n = 0

    def forget(self) -> None:
        """Somebody lived."""
        self._n = 0

    def count(self, latest: str) -> None:
        """Somebody died. Raises ReplicasKeepDying where so many did."""
        self._n += 1
        if self._n == MAX_DEATHS:
            raise ReplicasKeepDying(self._n, latest)


def joined_origins(parts: Sequence[Origins]) -> Origins:
    """One after the other; at least one."""
    return Origins(
        np.concatenate([part.record for part in parts]),
        np.concatenate([part.row for part in parts]),
        pa.concat_arrays([part.candidate_id for part in parts]),
    )


def _halves(candidates: Candidates) -> list[Candidates]:
    middle = len(candidates) // 2
    return [
        Candidates(
            candidates.record[at],
            candidates.row[at],
            candidates.candidate_id[at],
            candidates.query[at],
            candidates.document[at],
        )
        for at in (slice(0, middle), slice(middle, None))
    ]

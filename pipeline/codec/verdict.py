"""What a verdict is made of, before it has a form on the wire. Plain columns and facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.policy import ActionCode
from pipeline.records import Action, Candidates, Mode, Route, TopicPartition

ACTIONS = tuple(Action[code.name] for code in sorted(ActionCode))
"""By `ActionCode`."""
ROUTES = tuple(Route)
"""By the route code that columns hold."""


class Origins(NamedTuple):
    """Where candidates came from, column by column, one entry per candidate, in source order."""

    record: NDArray[np.int32]
    """Index into the claim's records, ascending."""
    row: NDArray[np.int32]
    """Row within a batch message; 0 for a single candidate."""
    candidate_id: pa.StringArray

    @classmethod
    def of(cls, candidates: Candidates, kept: Sequence[int]) -> Origins:
        """The origins of some of these candidates.

        Args:
            candidates: As they were decoded.
            kept: Which of them, ascending.

        Returns:
            As many entries as `kept` has.
        """
        chosen = np.asarray(kept, np.intp)
        return cls(
            np.array(candidates.record, np.int32)[chosen],
            np.array(candidates.row, np.int32)[chosen],
            pa.array(candidates.candidate_id, pa.string()).take(pa.array(chosen)),
        )


@dataclass(frozen=True, slots=True)
class VerdictContext:
    """What the verdicts of one claim have in common, and how they are sent."""

    source: TopicPartition
    run: int
    """Raised by a replay, so that its verdicts can be told from the first ones."""
    bundle: str
    """The bundle's digest."""
    prune_threshold: float
    """Logit from which on a candidate is pruned; infinity never prunes, and is null in the verdict."""
    review_threshold: float
    guarantee: str
    """What is promised about prune, or `none`."""
    mode: Mode
    batch_verdicts: Literal["arrow", "json"] = "arrow"
    """How the verdicts of a batch message are sent."""
    emit_pass: bool = True
    """False: what is routed to pass is counted and not sent."""
    max_message_bytes: int = 1 << 20
    """Ceiling on a message of verdicts, as in `Limits`: a larger batch is sent in several."""

    @property
    def routes(self) -> NDArray[np.int8]:
        """The route code of each `ActionCode`."""
        return np.array([ROUTES.index(self.mode.route(action)) for action in ACTIONS], np.int8)


class VerdictRows(NamedTuple):
    """Verdicts in the order they are sent, column by column: by record, then route, then row."""

    record: NDArray[np.int32]
    row: NDArray[np.int32]
    offset: NDArray[np.int64]
    candidate_id: pa.StringArray
    score: NDArray[np.float64]
    relevance: NDArray[np.float64]
    action: NDArray[np.int8]
    """`ActionCode`."""
    route: NDArray[np.int8]
    """Position in `ROUTES`."""

    def where(self, mask: NDArray[np.bool_]) -> VerdictRows:
        """The rows that the mask picks, bool `[n]`."""
        chosen = np.flatnonzero(mask)
        columns: list[Any] = [column.take(chosen) for column in self]
        return VerdictRows(*columns)

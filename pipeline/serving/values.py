"""What travels between the door and its replicas. Plain data that every process can unpickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.scorer import Scores
from pipeline.codec import Origins
from pipeline.records import Effort, Rejected


class Batch(NamedTuple):
    """One go of a scorer."""

    n_pairs: int
    n_tokens: int
    """Padded, as `gather.cost` counts them."""
    seconds: float
    effort: Effort = Effort()


class Source(NamedTuple):
    """Who scored."""

    replica: str
    bundle: str
    """Digest of what it scored with: another door of the same name may have put its own replicas there."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a replica says about the pairs of one request."""

    scores: Scores
    """One for each pair, in order; `bearing.NOT_SCORED` where there is none."""
    failures: Mapping[int, str]
    """Why some have none, by place."""
    score_s: float
    """What the batches took that held its pairs, all of them together."""
    batches: tuple[Batch, ...]
    """Those batches of which it held the first pair: told to one request each, none is counted twice."""
    source: Source


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of the candidates of one request; each is in `origins` or in `rejected`."""

    origins: Origins
    """`record` is the candidate's place in the request."""
    scored: Scored | None
    """One for each of `origins`; None where there is nothing to score."""
    rejected: list[Rejected] = field(default_factory=list)
    n_tokens: int = 0
    """Padded, as `gather.cost` counts them."""
    prepare_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Unavailable:
    """In the place of `Scored` or `Judged`: whoever should have answered is gone or broken."""

    because: str

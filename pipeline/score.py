"""Score: from prepared pieces to what is published. Score, decide, encode.

Promises: every row of a piece leaves as a message, a count or a reject, in source order; a batch that the
scorer cannot bear is halved down to the row, and that row is rejected, as long as the scorer still bears
another one: a replica that is broken raises, and rejects nothing. Knows neither Kafka nor the engine.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import ceil

import numpy as np

from actors.bundle import Bundle
from actors.errors import ActorError
from actors.scorer import Scores, ScoresPairs
from actors.tokens import Tokens
from pipeline import link
from pipeline.codec import (
    Limits,
    Origins,
    VerdictContext,
    encode_rejects,
    encode_verdicts,
    pack_outputs,
    unpack_work,
)
from pipeline.errors import BundleRefused
from pipeline.prepare import Prepared, load_class
from pipeline.records import Mode, Reason, Rejected, Settled, TopicPartition
from pipeline.settings import Settings

NOT_SCORED = float("nan")


class Score:
    """Turns prepared pieces into what is published.

    Args:
        scorer: Scores tokens.
        bundle: What it scores with, for the verdicts to name.
        limits: What a reject may keep.
        run: The run number.
        batch_verdicts: How the verdicts of a batch message are sent, `arrow` or `json`.
        emit_pass: False where what passes is counted and not sent.
    """

    def __init__(
        self,
        scorer: ScoresPairs,
        bundle: Bundle,
        limits: Limits,
        *,
        run: int,
        batch_verdicts: str = "arrow",
        emit_pass: bool = True,
    ) -> None:
        self._scorer = scorer
        self._limits = limits
        self._run = run
        self._sound: Tokens | None = None  # a pair that this replica has scored
        self._replica = f"{socket.gethostname()}:{os.getpid()}"
        policy = bundle.manifest.policy
        self._context = VerdictContext(
            source=TopicPartition("", 0),
            run=run,
            bundle=bundle.digest,
            prune_threshold=policy.prune,
            review_threshold=policy.review,
            guarantee=str(policy.guarantee or "none"),
            mode=Mode.OBSERVE,
            batch_verdicts="json" if batch_verdicts == "json" else "arrow",
            emit_pass=emit_pass,
            max_message_bytes=limits.max_message_bytes,
        )

    def __call__(self, item: Prepared | link.Frame) -> Iterator[link.Frame]:
        """Score one piece; whatever else comes along is passed on."""
        if not isinstance(item, Prepared):
            yield item
            return
        began = time.monotonic()
        claim, work = item.claim, unpack_work(item.work)
        scores, failures = self._score(Tokens.from_arrow(work.columns))
        context = replace(self._context, source=claim.source, mode=claim.mode)
        now_ms = time.time_ns() // 1_000_000
        verdicts = encode_verdicts(work.records, work.origins, scores, context, time_ms=now_ms)
        rejected = [*work.rejected, *_named(verdicts.rejected, work.origins, failures)]
        rejects = encode_rejects(work.records, rejected, claim.source, self._limits, run=self._run)
        reasons = Counter(one.reason for one in rejected)
        counts = verdicts.counts._replace(rejected=len(rejected), records=len(work.records))
        yield Settled(
            claim,
            pack_outputs([*verdicts.outputs, *rejects]),
            counts,
            reasons=dict(reasons),
            n_bytes=item.n_bytes,
            oldest_ms=item.oldest_ms,
            prepare_s=item.prepare_s,
            score_s=time.monotonic() - began,
            replica=self._replica,
            lost=item.lost,
        )

    def _score(self, tokens: Tokens) -> tuple[Scores, dict[int, Exception]]:
        """Score what can be scored; raise if it is not for the pairs that some cannot."""
        scores, failures = _score(self._scorer, tokens)
        if self._sound is None and len(failures) < len(tokens):
            self._sound = tokens.take([next(at for at in range(len(tokens)) if at not in failures)])
        if failures:
            # After a failed assertion on a CUDA device every call fails: whatever came would be rejected.
            if self._sound is None:
                raise next(iter(failures.values()))
            self._scorer.score(self._sound)
        return scores, failures


def build(settings: Settings) -> Score:
    """Score as the settings describe it; loads the model.

    Args:
        settings: Of the gate.

    Returns:
        The stage, ready to score.

    Raises:
        BundleRefused: The bundle, or the device, must not be used.
    """
    open_scorer = load_class(settings.pool.scorer)
    pool = settings.pool
    try:
        scorer = open_scorer(
            settings.bundle, threads=ceil(pool.cpus_per_replica), budget_tokens=pool.budget_tokens
        )
    except ActorError as error:
        raise BundleRefused(str(error)) from error
    return Score(
        scorer,
        scorer.bundle,
        settings.limits.to_codec(),
        run=settings.gate.run,
        batch_verdicts=settings.publish.batch_verdicts,
        emit_pass=settings.topics.pass_ is not None,
    )


def _score(scorer: ScoresPairs, tokens: Tokens) -> tuple[Scores, dict[int, Exception]]:
    """Score what can be scored; what fails even alone is named, with the reason.

    The device's errors (memory, an index out of range) come as RuntimeError or MemoryError.
    """
    n = len(tokens)
    try:
        return scorer.score(tokens), {}
    except (RuntimeError, MemoryError, IndexError) as error:
        if n == 1:
            nothing = np.full(1, NOT_SCORED, np.float32)
            return Scores(nothing, nothing, np.zeros(1, np.int8)), {0: error}
        if n == 0:
            raise
    middle = n // 2
    left, left_failed = _score(scorer, tokens.slice(0, middle))
    right, right_failed = _score(scorer, tokens.slice(middle, n))
    failed = left_failed | {middle + at: because for at, because in right_failed.items()}
    joined = Scores(
        np.concatenate([left.logit, right.logit]),
        np.concatenate([left.relevance, right.relevance]),
        np.concatenate([left.action, right.action]),
    )
    return joined, failed


def _named(rejected: list[Rejected], origins: Origins, failures: dict[int, Exception]) -> list[Rejected]:
    """Rejects of scores that are not finite; where there never was a score, they say so."""
    if not failures:
        return rejected
    because = {(int(origins.record[at]), int(origins.row[at])): why for at, why in failures.items()}
    return [
        one._replace(reason=Reason.SCORING_FAILED, detail=f"{type(why).__name__}: {why}")
        if (why := because.get((one.record, one.row))) is not None
        else one
        for one in rejected
    ]

"""Score: from prepared pieces to what is published. Score, decide, encode.

Promises: every row of a piece leaves as a message, a count or a reject, in source order; a batch that the
scorer cannot bear is halved down to the row, and that row is rejected, as long as the scorer still bears
another one: a replica that is broken raises, and rejects nothing. The rows of a condemned message are scored
one by one in a process of its own, and those that end it are rejected. Knows neither Kafka nor the engine.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any

from actors.bundle import Bundle
from actors.scorer import Scores, ScoresPairs
from actors.tokens import Tokens
from pipeline import link
from pipeline.bearing import Bearing, Borne, joined, unscored
from pipeline.bundles import open_with
from pipeline.codec import (
    Limits,
    Origins,
    VerdictContext,
    encode_rejects,
    encode_verdicts,
    pack_outputs,
    unpack_work,
)
from pipeline.prepare import Prepared, load_class
from pipeline.records import Completed, Mode, Reason, Rejected, TopicPartition
from pipeline.settings import Settings
from pipeline.trial import Died, Trial

_TRIAL_SHARE = 2 / 3
"""Of `execution.hang_s`, for a trial. Prepare's comes first, with a sixth, and gives nothing back either."""

Trying = Callable[[Sequence[Tokens]], list[Scores | Died]]
"""Scores pairs that may kill their process, one by one; a `Trial`."""


class Score:
    """Turns prepared pieces into what is published.

    Args:
        scorer: Scores tokens.
        bundle: What it scores with, for the verdicts to name.
        limits: What a reject may keep.
        trial: Scores what may kill this process.
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
        trial: Trying,
        run: int,
        batch_verdicts: str = "arrow",
        emit_pass: bool = True,
    ) -> None:
        self._scorer = Bearing(scorer)
        self._limits = limits
        self._trial = trial
        self._run = run
        self._replica = f"{socket.gethostname()}:{os.getpid()}"
        self._context = replace(
            verdict_context(bundle, run=run, mode=Mode.OBSERVE),
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
        tokens = Tokens.from_arrow(work.columns)
        borne = self._try(tokens) if claim.condemned and len(tokens) else self._scorer.score(tokens)
        context = replace(self._context, source=claim.source, mode=claim.mode)
        now_ms = time.time_ns() // 1_000_000
        verdicts = encode_verdicts(work.records, work.origins, borne.scores, context, time_ms=now_ms)
        rejected = [*work.rejected, *explained(verdicts.rejected, work.origins, borne.failures)]
        rejects = encode_rejects(work.records, rejected, claim.source, self._limits, run=self._run)
        reasons = Counter(one.reason for one in rejected)
        counts = verdicts.counts._replace(rejected=len(rejected), records=len(work.records))
        yield Completed(
            claim,
            pack_outputs([*verdicts.outputs, *rejects]),
            counts,
            reasons=dict(reasons),
            n_bytes=item.n_bytes,
            oldest_ms=item.oldest_ms,
            prepare_s=item.prepare_s,
            score_s=time.monotonic() - began,
            effort=borne.effort,
            replica=self._replica,
            lost=item.lost,
        )

    def _try(self, tokens: Tokens) -> Borne:
        """Score the pairs of a condemned message without risk to this process."""
        pairs = [tokens.slice(at, at + 1) for at in range(len(tokens))]
        answers = self._trial(pairs)
        failures = {
            at: f"scoring it was given up: {answer.how}"
            for at, answer in enumerate(answers)
            if isinstance(answer, Died)
        }
        return Borne(joined([unscored() if isinstance(one, Died) else one for one in answers]), failures)


def build(settings: Settings) -> Score:
    """Score as the settings describe it; loads the model.

    Args:
        settings: Of the gate.

    Returns:
        The stage, ready to score.

    Raises:
        BundleRefused: The bundle, or the device, must not be used.
    """
    scorer = open_scorer(settings)
    return Score(
        scorer,
        scorer.bundle,
        settings.limits.to_codec(),
        trial=Trial(partial(open_scoring, settings), limit_s=_TRIAL_SHARE * settings.execution.hang_s),
        run=settings.gate.run,
        batch_verdicts=settings.publish.batch_verdicts,
        emit_pass=settings.topics.pass_ is not None,
    )


def open_scorer(settings: Settings) -> Any:  # noqa: ANN401 - a class that the settings name
    """The scorer that the settings name, on their bundle. Every door opens it here.

    Args:
        settings: Of the gate.

    Returns:
        The scorer, warm; it has a `bundle`.

    Raises:
        BundleRefused: The bundle, or the device, must not be used.
    """
    pool = settings.pool
    opener = partial(
        load_class(pool.scorer),
        threads=ceil(pool.cpus_per_replica),
        budget_tokens=pool.budget_tokens,
        cache_pairs=pool.cache_pairs,
    )
    return open_with(opener, settings.bundle)


def open_scoring(settings: Settings) -> Callable[[Tokens], Scores]:
    """What a trial does, in its process: it opens the scorer that the settings name, and scores.

    Args:
        settings: Of the gate.

    Returns:
        Scores pairs, in order.
    """
    scorer: ScoresPairs = open_scorer(settings)
    return scorer.score


def verdict_context(bundle: Bundle, *, run: int, mode: Mode) -> VerdictContext:
    """What all verdicts of a bundle have in common; whoever uses it fills in the source.

    Args:
        bundle: What scores.
        run: The run number.
        mode: How far it may act.

    Returns:
        The bundle's digest, thresholds and promise.
    """
    policy = bundle.manifest.policy
    return VerdictContext(
        source=TopicPartition("", 0),
        run=run,
        bundle=bundle.digest,
        prune_threshold=policy.prune,
        review_threshold=policy.review,
        guarantee=str(policy.guarantee or "none"),
        mode=mode,
    )


def explained(rejected: list[Rejected], origins: Origins, failures: Mapping[int, str]) -> list[Rejected]:
    """Let rejects of scores that are not finite say so where there never was a score.

    Args:
        rejected: See `codec.not_finite`.
        origins: Of the pairs.
        failures: Why some were not scored, by their place; see `Bearing.score`.

    Returns:
        As many rejects.
    """
    if not failures:
        return rejected
    because = {(int(origins.record[at]), int(origins.row[at])): why for at, why in failures.items()}
    return [
        one._replace(reason=Reason.SCORING_FAILED, detail=why)
        if (why := because.get((one.record, one.row))) is not None
        else one
        for one in rejected
    ]

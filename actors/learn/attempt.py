"""One try at a promise: refused before work is done for it, and on record before its labels are looked at.

Promises a policy whose evidence holds every try on its labels that is known. A window of traffic that leaves no
threshold to try looks at no label, and is no try.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.bundle import Bundle
from actors.errors import BundleProblem
from actors.learn.guarantee import Labelled, grid
from actors.learn.sample import People
from actors.learn.threshold import Decision, Wish, decide
from actors.learn.tries import Try, begin, check, scores_as
from actors.learn.window import Window
from actors.policy import Policy


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a try."""

    decision: Decision
    tries: tuple[Try, ...]
    """All that are known on these labels."""

    @property
    def policy(self) -> Policy:
        """The policy, with every try in its evidence; without times, so that equal work gives equal bundles."""
        policy = self.decision.to_policy()
        made = [{name: value for name, value in asdict(one).items() if name != "time"} for one in self.tries]
        return replace(policy, evidence={**(policy.evidence or {}), "tries": made})


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """A try that may be made."""

    people: People
    """What the thresholds will rest on."""
    wish: Wish
    record: Path | None
    known: tuple[Try, ...]
    this: Try

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        people: People,
        wish: Wish,
        *,
        traffic: str,
        record: Path | None,
        known: Sequence[Try] = (),
    ) -> Attempt:
        """Plan a try.

        Args:
            bundle: Whose model scores.
            people: A probability sample of clusters, settled by people.
            wish: What is asked for.
            traffic: Names the window of traffic.
            record: File that holds the tries on these labels; None keeps none.
            known: Tries on these labels that a bundle tells of.

        Returns:
            The try; nothing is on record yet.

        Raises:
            TriesSpent: It would be one more than planned.
            DataRefused: The tries before were planned for another number, or the record is none.
        """
        this = Try.of(scores_as(bundle.manifest), wish, _names(people), traffic)
        check(record, this, known)
        return cls(people, wish, record, tuple(known), this)

    def make(
        self, logit: NDArray[np.float64], window: Window, *, pairs_per_cluster: float | None = None
    ) -> Outcome:
        """Put the try on record, and test the thresholds.

        Args:
            logit: The bundle's logits of the labelled pairs, float64 `[n]`, finite.
            window: The traffic.
            pairs_per_cluster: See `guarantee.grid`.

        Returns:
            Thresholds, and what is promised.

        Raises:
            TriesSpent: Another process was quicker.
            DataRefused: The record cannot be kept.
        """
        people, wish = self.people, self.wish
        fresh = grid(
            window.logit,
            window.cluster,
            wish.promise,
            people.n_clusters,
            pairs_per_cluster=pairs_per_cluster,
        )
        this, tries = replace(self.this, thresholds=fresh.tolist()), self.known
        if len(fresh):
            tries = begin(self.record, this, self.known)
        labelled = Labelled.of(logit, people.severe, people.cluster)
        # Without a threshold of its own it is no try, and so must not look at labels with those of another.
        thresholds = this.thresholds_among(tries) if len(fresh) else fresh
        decision = decide(
            labelled,
            window.logit,
            window.cluster,
            wish,
            thresholds=thresholds,
            recorded=self.record is not None,
        )
        return Outcome(decision, tries)


def tries_of(bundle: Bundle) -> tuple[Try, ...]:
    """The tries that a bundle's policy came of.

    Args:
        bundle: A checked one.

    Returns:
        The tries; none where its thresholds were set by hand.

    Raises:
        BundleProblem: What it says is no try.
    """
    try:
        return tuple(Try(**one) for one in (bundle.manifest.policy.evidence or {}).get("tries", ()))
    except TypeError as error:
        raise BundleProblem(str(bundle.path), f"the policy's tries are malformed: {error}") from error


def _names(people: People) -> list[str]:
    """A name for each cluster that follows from its pairs and what settled them, not from other clusters."""
    said: dict[int, list[str]] = {}
    rows = (people.cluster.tolist(), people.query.tolist(), people.documents, people.severe.tolist())
    for number, query, document, severe in zip(*rows, strict=True):
        said.setdefault(number, []).append(json.dumps([query, sorted(document.items()), severe]))
    return [hashlib.sha256(json.dumps(sorted(pairs)).encode()).hexdigest()[:16] for pairs in said.values()]

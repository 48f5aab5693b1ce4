"""Makes a child of a bundle that is computed in another way: exported, in fewer bits, faster.

Promises a child with a map and thresholds of its own, whose promise was tested on its own logits; and that it
is there only if it does what its parent does: it prunes the same pairs, but for a few, and ranks as well. An
equal share of all decisions would prove little where one in a hundred is pruned.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from actors.bundle import Bundle, refuse_existing, write_child
from actors.errors import DataRefused
from actors.learn import apply
from actors.learn.bootstrap import Difference
from actors.learn.card import AGAINST_PARENT
from actors.learn.evaluate import Judged, compare
from actors.learn.export import export
from actors.learn.finish import Finished, Order, finish, retold
from actors.learn.labels import Pair
from actors.learn.roles import Role
from actors.learn.sample import Sample
from actors.learn.window import Traffic
from actors.pairs import MAX_CHARS
from actors.policy import Policy
from actors.scorer import Preparer
from actors.serving import Engine, Serving
from actors.tokens import Tokens

MOST_DIFFERENT = 0.02
"""Of the pairs that the parent prunes: how many only one of the two may prune."""
MOST_LOSS = 0.003
"""Of AUC, the upper end of its interval."""
N_CALIBRATED = 300
"""Pairs that int8 settles its scales on."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A child beside its parent, on pairs that neither learned from."""

    n_pairs: int
    acted_on: str
    """Which action the sets are of: `prune`; `review` where the parent prunes nothing."""
    n_parent: int
    """Pairs that the parent acts on so."""
    n_different: int
    """Pairs that only one of the two acts on so."""
    decisions_equal: float
    """Share of all pairs that both give the same action."""
    auc: Difference
    """The child's less the parent's, on the labelled pairs of the roles `map` and `test`."""

    @property
    def set_difference(self) -> float:
        """Of the parent's set; infinite where that is empty and the child's is not."""
        if not self.n_parent:
            return math.inf if self.n_different else 0.0
        return self.n_different / self.n_parent

    @property
    def accepted(self) -> bool:
        """Whether the child may take its parent's place."""
        lost = math.inf if self.auc.low is None else -self.auc.low
        return self.set_difference <= MOST_DIFFERENT and lost <= MOST_LOSS

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        difference = self.set_difference
        return {
            "n_pairs": self.n_pairs,
            "acted_on": self.acted_on,
            "n_parent": self.n_parent,
            "n_different": self.n_different,
            "set_difference": difference if math.isfinite(difference) else None,
            "decisions_equal": self.decisions_equal,
            "auc": self.auc.to_json(),
            "accepted": self.accepted,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Optimised:
    """What came of it."""

    finished: Finished
    """Its bundle is where it was ordered if it was accepted, and otherwise gone."""
    likeness: Likeness


def optimise(
    parent: Bundle,
    sample: Sample,
    order: Order,
    serving: Serving,
    *,
    traffic: Traffic | None = None,
    source: str = "labels",
) -> Optimised:
    """Make a child that is computed in another way.

    Args:
        parent: Whose weights are computed.
        sample: Labels, with the parent's roles.
        order: What is asked for. Its promise is one more try on the parent's labels.
        serving: The way.
        traffic: See `finish`; the two are also compared on it.
        source: Where the labels come from, for an error.

    Returns:
        The child, and how it compares.

    Raises:
        BundleError: The folder exists, the encoder cannot be exported, or this machine cannot compute it so.
        CalibrationFailed: See `finish`.
        DataRefused: See `finish`; or no pair of the role `train` is there to settle scales on.
        TriesSpent: It would be one more try than planned.
    """
    refuse_existing(order.folder)
    order.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=order.folder.parent, prefix=f".{order.folder.name}-") as scratch:
        aside = replace(order, folder=Path(scratch) / "bundle")
        done = child_of(parent, sample, aside, serving, traffic=traffic, source=source)
        pairs = (traffic or Traffic.of(sample, source)).pairs
        found = liken(parent, done.bundle, sample, pairs, source=source)
        if found.accepted:
            done = retold(done, order, {AGAINST_PARENT: found.to_json()})
    return Optimised(done, found)


def child_of(
    parent: Bundle,
    sample: Sample,
    order: Order,
    serving: Serving,
    *,
    traffic: Traffic | None = None,
    source: str = "labels",
) -> Finished:
    """Make a child that is computed in another way, whatever it does.

    Args:
        parent: See `optimise`, also for the others.
        sample: Labels.
        order: What is asked for.
        serving: The way.
        traffic: A window.
        source: Where the labels come from.

    Returns:
        The child, where it was ordered.

    Raises:
        BundleError: As `optimise` raises it, and so for the others.
        CalibrationFailed: The map cannot be fitted.
        DataRefused: The labels do not suffice.
        TriesSpent: It would be one more try than planned.
    """
    with tempfile.TemporaryDirectory() as scratch:
        draft = _draft(Path(scratch) / "draft", parent, sample, serving, source=source)
        return finish(draft, sample, order, traffic, earlier=parent, source=source)


def liken(parent: Bundle, child: Bundle, sample: Sample, pairs: Sequence[Pair], *, source: str) -> Likeness:
    """Compare two bundles as they act.

    Args:
        parent: The one.
        child: The other.
        sample: Labels. Ranks are compared on the roles `map` and `test`: few clusters would bound no loss.
            Sets are compared on the role `test`.
        pairs: Traffic, beside them.
        source: Where the labels come from, for an error.

    Returns:
        The comparison.

    Raises:
        BundleError: One must not be used.
        DataRefused: A pair cannot be scored.
    """
    people = sample.people(Role.MAP, Role.TEST)
    queries = [*people.queries, *(pair.query for pair in pairs)]
    documents = [*people.documents, *(pair.document for pair in pairs)]
    scored = [apply.logits(one.path, queries, documents, source=source) for one in (parent, child)]
    n = len(people)
    # Traffic that nobody gave holds the texts of the role `map` already.
    acted = [
        np.concatenate([logit[:n][sample.role[people.pair] == Role.TEST], logit[n:]]) for logit in scored
    ]
    policies = parent.manifest.policy, child.manifest.policy
    named = "prune" if any(math.isfinite(policy.prune) for policy in policies) else "review"
    sets = [
        logit >= (policy.prune if named == "prune" else policy.review)
        for logit, policy in zip(acted, policies, strict=True)
    ]
    actions = [policy.decide(logit) for logit, policy in zip(acted, policies, strict=True)]
    return Likeness(
        n_pairs=len(acted[0]),
        acted_on=named,
        n_parent=int(sets[0].sum()),
        n_different=int((sets[0] != sets[1]).sum()),
        decisions_equal=float(np.mean(actions[0] == actions[1])),
        auc=compare(Judged.of(people, scored[1][:n]), scored[0][:n])["auc"],
    )


def _draft(folder: Path, parent: Bundle, sample: Sample, serving: Serving, *, source: str) -> Bundle:
    """The parent's model, to be computed in another way, that may not act yet."""
    before = parent.manifest
    manifest = replace(
        before,
        serving=serving,
        policy=Policy(prune=math.inf, review=math.inf, rests_on="nothing: a draft"),
        roles={Role.TRAIN.value: before.roles[Role.TRAIN]} if Role.TRAIN in before.roles else {},
        metrics={"training": before.metrics["training"]} if "training" in before.metrics else {},
    )
    files = {}
    if serving.engine is Engine.OPENVINO:
        files = export(parent, serving, _to_settle_on(parent, sample, source))
    return write_child(folder, parent, manifest, files=files)


def _to_settle_on(parent: Bundle, sample: Sample, source: str) -> Tokens:
    """Pairs of the role `train`, evenly over the labels."""
    trained = np.flatnonzero(sample.role == Role.TRAIN)
    if not len(trained):
        problem = (
            "no pair has the role train, and int8 settles its scales on such; add the labels it learned from"
        )
        raise DataRefused(source, problem)
    few = trained[np.unique(np.linspace(0, len(trained) - 1, N_CALIBRATED).astype(np.int64))].tolist()
    pairs = [sample.labels.pairs[i] for i in few]
    preparer = Preparer(parent.path, max_chars=MAX_CHARS)
    return preparer.prepare([pair.query for pair in pairs], [pair.document for pair in pairs]).tokens

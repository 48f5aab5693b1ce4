"""A bundle's README: what people should know before they let it act, in the form of a Hugging Face model card.

Promises that every number in it is one of the manifest's, measured or counted; that estimates are called so, and
stand apart from what is promised; and that a bundle which promises nothing says so in large letters. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from actors.bundle import PLOT_FILES
from actors.learn.bootstrap import ENOUGH_CLUSTERS, LEVEL, Estimate
from actors.learn.evaluate import TITLES, titled
from actors.learn.front_matter import front_matter
from actors.learn.made_of import describe_labels, describe_origin, describe_student, describe_training
from actors.learn.markdown import code, plain, table
from actors.lexical import NAMES
from actors.manifest import Manifest
from actors.prior import PRIOR_FILE

AGAINST_PARENT = "against_parent"
"""Of the metrics: what `learn.optimise.Likeness` says."""
_CAPTIONS = (
    "Found against stated probability, equally many pairs to a point: right on the diagonal.",
    "Logits of severe pairs and of others, with the thresholds.",
    "Precision of prune, capped, against the share pruned, if the threshold were moved: an estimate.",
)
_BY_SEGMENT = ("auc", "share_prune", "precision_capped", "severe_pass")


def card(manifest: Manifest, *, base_model: str | None = None, drawn_on: str | None = None) -> str:
    """Write the README of a bundle.

    Args:
        manifest: The bundle's; of `files` it matters only whether the prior is there.
        base_model: Hub id of the encoder that was fine-tuned, where it is known.
        drawn_on: Which pairs the plots beside it show; None where there are none.

    Returns:
        Markdown that begins with YAML, as the hub reads it.
    """
    sections = (
        front_matter(manifest, base_model),
        f"# {plain(manifest.name)}\n\n"
        "A cross-encoder that reads a query and a document together and gives one number: how likely the pair is "
        "a severe violation. It was made to act in a gate that prunes, reviews or passes candidates.",
        _promise(manifest),
        _meaning(manifest),
        _use(manifest),
        describe_labels(manifest),
        describe_training(manifest.metrics.get("training", {})),
        describe_student(manifest.metrics.get("against_teacher", {})),
        _likeness(manifest),
        _measured(manifest.metrics),
        _calibration(manifest),
        _segments(manifest.metrics),
        _plots(drawn_on),
        describe_origin(manifest),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _promise(manifest: Manifest) -> str:
    policy, evidence = manifest.policy, manifest.policy.evidence or {}
    if policy.guarantee is not None:
        promise = policy.guarantee
        said = (
            "## What is promised\n\n"
            f"**Precision of prune: at least {promise.target:g}, with a confidence of {promise.confidence:g}**, "
            "over clusters of alike queries drawn as the labelled ones were; of each cluster at most "
            f"{promise.cap} pruned pairs count. The confidence is over repeated draws of the labelled clusters. "
            "Nothing else is promised: not the precision within a segment, not that over all pairs, and nothing "
            "about review."
        )
    elif math.isfinite(policy.prune):
        said = "# NOTHING IS PROMISED\n\nThis bundle prunes, and no precision was proven for its threshold."
    else:
        said = "# NOTHING IS PROMISED, AND NOTHING IS PRUNED\n\nNo threshold could be proven, so that none prunes."
    if policy.guarantee is None and "clusters_needed" in evidence:
        said += _lacking(evidence)
    return (
        f"{said}\n\nThe thresholds rest on this: {plain(policy.rests_on)}.\n\n"
        f"{_thresholds(manifest)}{_severe(manifest.metrics)}"
    )


def _lacking(evidence: Mapping[str, Any]) -> str:
    """What it would take to promise what was asked for: of `threshold.Decision`."""
    needed = evidence["clusters_needed"]
    others = "".join(
        f", or {n} if the precision is truly {name.removeprefix('at_precision_')}"
        for name, n in needed.items()
        if name.startswith("at_precision_") and n is not None
    )
    trials = evidence.get("trials")
    held = f", {trials[0]['n_clusters']} with prunes at the strictest threshold tried" if trials else ""
    return (
        f" A promise of {evidence['target']:g} at {evidence['confidence']:g} takes at least "
        f"{needed['without_error']} labelled clusters full of prunes without a single error{others}; there were "
        f"{evidence['n_clusters']} labelled clusters{held}."
    )


def _severe(metrics: Mapping[str, Any]) -> str:
    """What becomes of what should be stopped: whoever prunes nothing must not look perfect."""
    figures = metrics.get("figures", {})
    if "severe_pass" not in figures:
        return ""
    pruned, reviewed, passed = (_shown(figures[f"severe_{action}"]) for action in ("prune", "review", "pass"))
    return (
        f"\n\nOf the severe pairs of the role test, a share of {pruned} is pruned, {reviewed} goes to review and "
        f"**{passed} passes unseen**: estimates."
    )


def _thresholds(manifest: Manifest) -> str:
    policy = manifest.policy
    shares = (policy.evidence or {}).get("traffic_shares", {})
    rows = [
        (
            action,
            _number(threshold),
            f"{manifest.calibration.relevance(np.array([threshold]))[0]:.3f}"
            if math.isfinite(threshold)
            else "",
            "" if action not in shares else f"{shares[action]:.2%} (estimate)",
        )
        for action, threshold in (("prune", policy.prune), ("review", policy.review), ("pass", -math.inf))
    ]
    return table(("action", "logit from", "relevance at most", "expected share of traffic"), rows)


def _meaning(manifest: Manifest) -> str:
    rubric = manifest.rubric
    levels = ", ".join(
        f"**{plain(level)}** (severe)" if level in rubric.severe else plain(level) for level in rubric.levels
    )
    return (
        "## What the score means\n\n"
        "The logit is of severity: the higher, the worse. Thresholds act on it. The map turns it into P(severe), "
        "the probability that people would give the pair a severe level; relevance is 1 minus that, for people to "
        f"read. Levels of the labels: {levels}.\n\n"
        f"The encoder reads at most {manifest.max_tokens} tokens of a pair: query fields "
        f"{_fields(part.field for part in manifest.template.query)}; document fields "
        f"{_fields(part.field for part in manifest.template.document)}. {_prior(manifest)}"
    )


def _prior(manifest: Manifest) -> str:
    if PRIOR_FILE not in manifest.files:
        return "Its logit is the score: nothing is added to it."
    return (
        "To its logit is added what the words of the whole pair say: which of the query's are in the document, "
        f"and brands, numbers and exclusions (`{PRIOR_FILE}`, a sum over {len(NAMES)} features)."
    )


def _use(manifest: Manifest) -> str:
    return (
        "## Use\n\n"
        "- Meant for a gate over candidates that look like its labels and its reference window "
        f"({manifest.reference.n:,} pairs); what was measured below holds for such, and for nothing else.\n"
        "- Not for ranking: it learned to tell severe pairs from all others, not good ones from better ones.\n"
        "- Not for other languages, catalogues, fields or levels than those it was measured on, and not for "
        "judgements about people.\n"
        "- Not with thresholds of another bundle, and not in another numeric precision: both move the logits."
    )


def _likeness(manifest: Manifest) -> str:
    told = manifest.metrics.get(AGAINST_PARENT)
    if not told:
        return ""
    return (
        f"## Beside its parent\n\nThe parent's weights, computed in another way: {manifest.serving}. Of "
        f"{told['n_pairs']:,} pairs the parent acts on {told['n_parent']:,} ({told['acted_on']}), and "
        f"{told['n_different']:,} differ, {told['set_difference']:.1%} of them. The same action for "
        f"{told['decisions_equal']:.2%} of all; AUC less the parent's: {_shown(told['auc'])}."
    )


def _measured(metrics: Mapping[str, Any]) -> str:
    if "figures" not in metrics:
        return "## Measured\n\nNobody measured this bundle on a test role."
    rows = [(title, str(Estimate.from_json(found))) for title, found in titled(metrics["figures"])]
    acted = "share_prune" in metrics["figures"]
    return (
        "## Measured on the role test\n\n"
        f"{metrics['n_pairs']:,} pairs, {metrics['n_severe']:,} of them severe, in {metrics['n_clusters']:,} "
        f"clusters. Estimates, with intervals of {LEVEL:.0%} over drawn clusters{_approximate(metrics)}. AUC is "
        "the chance that a severe pair gets a worse score than another one; 0.5 is a coin's. "
        + (
            f"Where precision is capped, at most {metrics['cap']} prunes of a cluster count. A figure without an "
            "interval is one of which the draws say nothing: too few define it, or all are alike.\n\n"
            if acted
            else "Measured before these thresholds were set: what depends on them is left out.\n\n"
        )
        + table(("what", "value [interval]"), rows)
    )


def _calibration(manifest: Manifest) -> str:
    found = manifest.metrics.get("calibration")
    if not found:
        return ""
    rows = [
        (TITLES[name], str(Estimate.from_json(found[name])))
        for name in ("brier", "calibration_slope", "calibration_intercept")
    ]
    rows.append(
        (TITLES["expected_calibration_error"], f"{found['expected_calibration_error']:.3f} (a point)")
    )
    kind = manifest.calibration.to_json()["kind"]
    return (
        f"## Calibration\n\nThe map is of the kind {kind}. A slope of 1 and an intercept of 0 are right; with a "
        "slope below 1 the probabilities are too extreme.\n\n" + table(("what", "value [interval]"), rows)
    )


def _segments(metrics: Mapping[str, Any]) -> str:
    parts = metrics.get("by_segment")
    if not parts:
        return ""
    rows = [
        (
            plain(name) or "(none)",
            f"{part['n_pairs']:,}",
            f"{part['n_severe']:,}",
            f"{part['n_clusters']:,}",
            *(_shown(part["figures"].get(figure)) for figure in _BY_SEGMENT),
            _shown(part["calibration"]["brier"]),
            _shown(part["calibration"]["calibration_slope"]),
        )
        for name, part in parts.items()
    ]
    heads = ("segment", "pairs", "severe", "clusters", *(TITLES[figure] for figure in _BY_SEGMENT))
    shown = table((*heads, TITLES["brier"], TITLES["calibration_slope"]), rows)
    return f"## By segment\n\nDescribed, not promised.\n\n{shown}"


def _plots(drawn_on: str | None) -> str:
    if drawn_on is None:
        return ""
    shown = "\n\n".join(
        f"![{caption}]({name})\n\n{caption}" for name, caption in zip(PLOT_FILES, _CAPTIONS, strict=True)
    )
    return f"## Plots\n\nDrawn on {drawn_on}.\n\n{shown}"


def _approximate(metrics: Mapping[str, Any]) -> str:
    if not metrics["approximate"]:
        return ""
    return f", all approximate (~), as there are fewer than {ENOUGH_CLUSTERS} clusters"


def _shown(found: Mapping[str, Any] | None) -> str:
    return "" if found is None else str(Estimate.from_json(found))


def _number(threshold: float) -> str:
    return f"{threshold:.4f}" if math.isfinite(threshold) else "never" if threshold > 0 else "the rest"


def _fields(names: Iterable[str]) -> str:
    return ", ".join(map(code, names))

"""From a model that has learned to a bundle that may act: map, thresholds, figures, card and plots.

Promises that each part rests on the role that is for it and on no other: the map on `map`, the thresholds on
`threshold`, the figures on `test`; that the try is on record before its labels are looked at; and a bundle that
is whole or not there. Traffic gives the grid of thresholds, the review threshold, the expected shares and the
reference distribution; it needs no labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.bundle import (
    CARD_FILE,
    PLOT_FILES,
    PROBES_FILE,
    Bundle,
    refuse_existing,
    write_bundle,
    write_child,
)
from actors.calibration import CalibrationMap, fit_platt
from actors.errors import DataRefused
from actors.learn import apply
from actors.learn.attempt import Attempt, tries_of
from actors.learn.card import AGAINST_PARENT, card
from actors.learn.curve import curve
from actors.learn.eligible import Proving
from actors.learn.evaluate import RANKING, Evaluation, Judged, evaluate
from actors.learn.front_matter import base_model_of
from actors.learn.isotonic import fit_isotonic
from actors.learn.plots import coverage_plot, reliability_plot, score_plot
from actors.learn.reliability import bins
from actors.learn.roles import ROLES_FILE, Role, Roles, read_roles
from actors.learn.sample import People, Sample
from actors.learn.threshold import Decision, Wish
from actors.learn.tries import Try, n_made
from actors.learn.window import Traffic, Window
from actors.manifest import Manifest, ReferenceScores, RoleCount
from actors.policy import Policy
from actors.probes import Probes, chosen

_DRAWN_ON = "the role test"


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for."""

    folder: Path
    """Where the bundle goes; must not exist."""
    wish: Wish
    record: Path | None = None
    """File that holds the tries on these labels, see `tries`; None keeps this one in the bundle alone."""
    isotonic: bool = False
    """Fit an isotonic map instead of Platt's: for thousands of pairs of the role `map`."""
    base_model: str | None = None
    """Hub id of the encoder that was fine-tuned, for the card; a folder of this machine is not named there."""


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """What came of it."""

    bundle: Bundle
    decision: Decision
    evaluation: Evaluation | None
    """On the role `test`; None where the labels hold nothing of it."""
    n_tries: int
    """Made on these labels so far, by the record."""


def finish(
    draft: Bundle,
    sample: Sample,
    order: Order,
    traffic: Traffic | None = None,
    *,
    earlier: Bundle | None = None,
    source: str = "labels",
) -> Finished:
    """Make a bundle of a draft that has learned.

    Args:
        draft: A bundle with the model; its map, policy, reference, figures and all counts of roles but those it
            states itself are set here.
        sample: All labels, with their roles.
        order: What is asked for.
        traffic: A window of traffic; None takes the texts of the roles `dev` and `map`, but for those that a score
            chose.
        earlier: A bundle whose roles the sample keeps: its tries count where they were about the same clusters.
        source: Where the labels come from, for an error.

    Returns:
        The bundle, and what was decided and measured.

    Raises:
        BundleError: The folder exists or cannot be written.
        CalibrationFailed: The role `map` holds one kind of pair only, or the logits do not rise with severity.
        DataRefused: A role holds no settled pair, a pair cannot be scored, or the record cannot be kept.
        TriesSpent: It would be one more try than planned.
    """
    refuse_existing(order.folder)
    parts = {role: sample.people(role) for role in (Role.MAP, Role.THRESHOLD, Role.TEST)}
    for role, people in parts.items():
        if not len(people):
            raise DataRefused(source, f"no pair that people have settled has the role {role}; label more")
    texts = traffic or Traffic.of(sample, source)
    attempt = Attempt.of(
        draft,
        parts[Role.THRESHOLD],
        order.wish,
        traffic=texts.name(draft.manifest.template),
        record=order.record,
        known=_tried_before(earlier, parts[Role.THRESHOLD]),
    )
    logit, window = _logits(draft, parts, source), Window.of(draft, texts)
    calibration = (fit_isotonic if order.isotonic else fit_platt)(logit[Role.MAP], parts[Role.MAP].severe)
    outcome = attempt.make(
        logit[Role.THRESHOLD], window, pairs_per_cluster=_per_cluster(count(parts[Role.MAP]))
    )
    judged = Judged.of(parts[Role.TEST], logit[Role.TEST])
    evaluation = evaluate(judged, outcome.policy, calibration, cap=order.wish.cap)
    manifest = replace(
        draft.manifest,
        calibration=calibration,
        policy=outcome.policy,
        reference=ReferenceScores.of(window.logit),
        roles={role.value: count(sample.people(role)) for role in Role} | dict(draft.manifest.roles),
        metrics={**draft.manifest.metrics, **evaluation.to_json()},
    )
    named = _named(order.base_model)
    files = _files(manifest, judged, sample.roles, base_model=named, drawn_on=_DRAWN_ON, cap=order.wish.cap)
    files[PROBES_FILE] = _probes(draft, texts, window).to_bytes()
    bundle = write_bundle(order.folder, model_folder=draft.path, manifest=manifest, files=files)
    return Finished(bundle, outcome.decision, evaluation, n_made(outcome.tries))


def retold(done: Finished, order: Order, more: Mapping[str, Any]) -> Finished:
    """Write what was just finished elsewhere, with more in its metrics and its card.

    Args:
        done: What `finish` gave.
        order: What was asked of it, with another folder.
        more: What its metrics say besides, by name; plain data.

    Returns:
        The same with the bundle that was written.

    Raises:
        BundleError: The folder exists or cannot be written.
    """
    before = done.bundle
    manifest = replace(before.manifest, metrics={**before.manifest.metrics, **more})
    page = card(manifest, base_model=_named(order.base_model), drawn_on=_DRAWN_ON)
    files = {CARD_FILE: page.encode()}
    bundle = write_bundle(order.folder, model_folder=before.path, manifest=manifest, files=files)
    return replace(done, bundle=bundle)


def renew(
    parent: Bundle, proving: Proving, order: Order, traffic: Traffic, *, data: Mapping[str, str], source: str
) -> Finished:
    """Make a child of a bundle, with other thresholds and the reference distribution of other traffic.

    The map stays. Figures of the parent that depend on its thresholds are measured again where the labels hold
    pairs of the role `test`, and left out otherwise.

    Args:
        parent: Whose model scores.
        proving: Labels that its thresholds may rest on.
        order: What is asked for; the kind of map and the base model are the parent's.
        traffic: A window of traffic.
        data: Digests of the label files, by name.
        source: Where the labels come from, for an error.

    Returns:
        The child, and what was decided and measured.

    Raises:
        BundleError: The folder exists or cannot be written.
        DataRefused: A pair cannot be scored, or the record cannot be kept.
        TriesSpent: It would be one more try than planned.
    """
    refuse_existing(order.folder)
    parts = {Role.THRESHOLD: proving.people} | ({} if proving.test is None else {Role.TEST: proving.test})
    attempt = Attempt.of(
        parent,
        proving.people,
        order.wish,
        traffic=traffic.name(parent.manifest.template),
        record=order.record,
        known=() if proving.fresh else tries_of(parent),
    )
    logit, window = _logits(parent, parts, source), Window.of(parent, traffic)
    outcome = attempt.make(
        logit[Role.THRESHOLD],
        window,
        pairs_per_cluster=_pairs_of_each(proving.people) or _per_cluster(parent.manifest.roles.get(Role.MAP)),
    )
    calibration = parent.manifest.calibration
    judged = Judged.of(parts.get(Role.TEST, proving.people), logit.get(Role.TEST, logit[Role.THRESHOLD]))
    evaluation = None
    if proving.test is not None:
        evaluation = evaluate(judged, outcome.policy, calibration, cap=order.wish.cap)
    manifest = replace(
        parent.manifest,
        policy=outcome.policy,
        reference=ReferenceScores.of(window.logit),
        roles={**parent.manifest.roles, Role.THRESHOLD.value: count(proving.people)},
        data=_joined(parent.manifest.data, data),
        metrics=_without_actions(parent.manifest.metrics)
        | ({} if evaluation is None else evaluation.to_json()),
        parent=parent.digest,
    )
    drawn_on = "the labelled pairs that the thresholds were tested on" if evaluation is None else _DRAWN_ON
    named = base_model_of(parent.path)
    files = _files(manifest, judged, proving.roles, base_model=named, drawn_on=drawn_on, cap=order.wish.cap)
    child = write_child(order.folder, parent, manifest, files=files)
    return Finished(child, outcome.decision, evaluation, n_made(outcome.tries))


def draw(judged: Judged, policy: Policy, calibration: CalibrationMap, *, cap: int) -> dict[str, bytes]:
    """The plots of a bundle, by the names that they have in it.

    Args:
        judged: Pairs with the bundle's logits.
        policy: The bundle's.
        calibration: The bundle's.
        cap: Pruned pairs of one cluster that count.

    Returns:
        A PNG for each name of `bundle.PLOT_FILES`.
    """
    drawn = (
        reliability_plot(bins(calibration.p_severe(judged.logit), judged.severe, judged.cluster)),
        score_plot(judged.logit, judged.severe, policy),
        coverage_plot(curve(judged, cap=cap, prune=policy.prune), policy),
    )
    return dict(zip(PLOT_FILES, drawn, strict=True))


def count(people: People) -> RoleCount:
    """How many pairs, severe ones and clusters there are."""
    return RoleCount(len(people), int(people.severe.sum()), people.n_clusters)


def _probes(draft: Bundle, traffic: Traffic, window: Window) -> Probes:
    """Of the traffic, from the least to the most severe."""
    pairs = [traffic.pairs[i] for i in chosen(window.logit).tolist()]
    return apply.probes(draft.path, [pair.query for pair in pairs], [pair.document for pair in pairs])


def _named(base_model: str | None) -> str | None:
    """What the card may name: no folder of this machine."""
    return None if base_model is None or Path(base_model).exists() else base_model


def _per_cluster(role: RoleCount | None) -> float | None:
    return role.n_pairs / role.n_clusters if role is not None and role.n_clusters else None


def _pairs_of_each(people: People) -> float | None:
    """How many pairs of each cluster were labelled, if equally many: then that was settled beforehand."""
    sizes = np.unique(people.cluster, return_counts=True)[1]
    return float(sizes[0]) if sizes.min() == sizes.max() else None


def _logits(bundle: Bundle, parts: Mapping[Role, People], source: str) -> dict[Role, NDArray[np.float64]]:
    """The logits of each role's pairs; the model is loaded once."""
    queries = [query for people in parts.values() for query in people.queries]
    documents = [document for people in parts.values() for document in people.documents]
    found = apply.logits(bundle.path, queries, documents, source=source)
    ends = np.cumsum([len(people) for people in parts.values()])
    return dict(zip(parts, np.split(found, ends[:-1]), strict=True))


def _tried_before(earlier: Bundle | None, people: People) -> tuple[Try, ...]:
    """The tries of an earlier bundle, where it knows some of these clusters."""
    known = None if earlier is None else read_roles(earlier.path)
    if earlier is None or known is None or not any(known.inherit(people.query.tolist(), people.cluster)):
        return ()
    return tries_of(earlier)


def _files(
    manifest: Manifest, judged: Judged, roles: Roles, *, base_model: str | None, drawn_on: str, cap: int
) -> dict[str, bytes]:
    return {
        ROLES_FILE: roles.to_bytes(),
        CARD_FILE: card(manifest, base_model=base_model, drawn_on=drawn_on).encode(),
        **draw(judged, manifest.policy, manifest.calibration, cap=cap),
    }


def _joined(before: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Digests by file; a second file of the same name is told apart."""
    found = dict(before)
    for name, of in added.items():
        found[name if found.get(name, of) == of else f"{name} (thresholds)"] = of
    return found


def _without_actions(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that other thresholds do not change."""
    metrics = {name: told for name, told in metrics.items() if name != AGAINST_PARENT}
    if "figures" not in metrics:
        return metrics
    figures = {name: metrics["figures"][name] for name in RANKING}
    parts = {name: _without_actions(part) for name, part in metrics["by_segment"].items()}
    return {**metrics, "figures": figures, "by_segment": parts}

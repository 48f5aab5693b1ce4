"""What a bundle was made of: the sections of its card about labels, training, teacher and descent.

Promises counts and digests of the manifest, and nobody's name but those of judges. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.learn.bootstrap import Estimate
from actors.learn.evaluate import TITLES
from actors.learn.markdown import code, plain, table
from actors.learn.roles import Role
from actors.manifest import Manifest

_PURPOSE = {
    Role.TRAIN: "the encoder learned from it",
    Role.DEV: "early stop, choice of the recipe",
    Role.MAP: "the calibration map was fitted on it",
    Role.THRESHOLD: "the thresholds were tested on it",
    Role.TEST: "it judged the bundle, and nothing else",
}
_MOST_JUDGES = 5
"""Judges that are named one by one."""


def describe_labels(manifest: Manifest) -> str:
    """Whose labels, in which roles, from which files, and how far people agree."""
    said = f"## Labels\n\n{plain(manifest.origin)}."
    counts = [
        (plain(role), f"{count.n_pairs:,}", f"{count.n_severe:,}", f"{count.n_clusters:,}", _purpose(role))
        for role, count in manifest.roles.items()
        if count.n_pairs
    ]
    if counts:
        said += "\n\nRoles are disjoint by cluster of alike queries.\n\n"
        said += table(("role", "pairs", "severe", "clusters", "what for"), counts)
    if manifest.data:
        said += "\n\n" + table(
            ("file", "digest"), [(plain(name), code(of)) for name, of in manifest.data.items()]
        )
    agreement = manifest.metrics.get("training", {}).get("agreement")
    return said if agreement is None else f"{said}\n\n{_agreement(agreement)}"


def describe_training(told: Mapping[str, Any]) -> str:
    """What `learn.fit.Fitted` says, by what recipe, and the problems of the labels that somebody let pass.

    Args:
        told: `metrics.training` of the manifest.

    Returns:
        The section; empty where nothing is told.
    """
    if not told:
        return ""
    sources = [(f"labels: {source}", f"{n:,}") for source, n in told.get("labelled_pairs", {}).items()]
    others = [
        (what, f"{told[name]:,}")
        for name, what in (("made_pairs", "made from them"), ("imitated_pairs", "scored by the teacher"))
        if name in told
    ]
    said = "## Training\n\n" + table(("pairs learned from", "how many"), [*sources, *others])
    if "recipe" in told:
        base = told["base"] if isinstance(told["base"], str) else ", ".join(told["base"].values())
        said += (
            f"\n\nBase: {code(base)}; teacher: {told['teacher']['kind']}; recipe, teacher and augmentation in "
            "full are in `sluice.json`, under `metrics.training`."
        )
    left_out = [name or "one without a name" for name in told.get("judges_left_out", {})]
    if left_out:
        names = ", ".join(left_out[:_MOST_JUDGES])
        more = f" and {len(left_out) - _MOST_JUDGES} more" if left_out[_MOST_JUDGES:] else ""
        said += f"\n\nJudges that could not be held against people, and were left out: {plain(names)}{more}."
    if told.get("accepted"):
        kinds = ", ".join(told["accepted"])
        said += f"\n\n**Problems of the labels that somebody let pass: {plain(kinds)}.**"
    return said


def describe_student(told: Mapping[str, Any]) -> str:
    """What `learn.distilled.Cost` says.

    Args:
        told: `metrics.against_teacher` of the manifest.

    Returns:
        The section; empty where no bundle taught it.
    """
    if not told:
        return ""
    rows = [
        (TITLES.get(name, name), str(Estimate.from_json(found)))
        for name, found in told["differences"].items()
    ]
    return (
        "## What distillation cost\n\n"
        f"{told['parameters']:,} parameters of the teacher's {told['parameters_of_teacher']:,}; teacher "
        f"{code(told['teacher'])}. This bundle's figures less the teacher's, on {told['n_pairs']:,} equal "
        "pairs:\n\n" + table(("what", "difference [interval]"), rows)
    )


def describe_origin(manifest: Manifest) -> str:
    """What it is held against, what it descends from, and how to check it."""
    quantiles = manifest.reference.quantiles
    last = len(quantiles) - 1
    marks = ", ".join(
        f"{share}%: {quantiles[round(share / 100 * last)]:.3f}" for share in (1, 10, 50, 90, 99)
    )
    lines = [
        "## Where it comes from, and how to check it",
        f"- Reference distribution of logits, for drift: {manifest.reference.n:,} pairs; {marks}.",
        f"- Code that learned: `{manifest.code}`." if manifest.code else "",
        f"- Parent: `{manifest.parent}`, whose weights it shares." if manifest.parent else "",
        "- `sluice bundle verify FOLDER` checks every file against `sluice.json` and prints the digest that "
        "verdicts name. Weights are safetensors; no code in the folder is ever run.",
    ]
    return lines[0] + "\n\n" + "\n".join(line for line in lines[1:] if line)


def _agreement(told: Mapping[str, Any]) -> str:
    """What `learn.agreement.Agreement` says."""
    alpha = told["krippendorff_alpha"]
    if alpha is None:
        said = "How far people agree is not known: no pair was labelled by two."
    else:
        said = (
            f"People agree with a Krippendorff's alpha of {alpha:.3f} (1 is full agreement, 0 is chance) on the "
            f"{told['pairs_labelled_twice']:,} pairs that two or more have labelled."
        )
    return (
        f"{said} Pairs of which one says severe and another not, and that nobody settled: {told['conflicts']:,}; "
        f"pairs that rest on one person's word: {told['pairs_of_one_person']:,}."
    )


def _purpose(role: str) -> str:
    return _PURPOSE.get(Role(role), "") if role in set(Role) else ""

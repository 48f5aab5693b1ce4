"""Measures a bundle on labels, alone or against another: what `sluice learn evaluate` does.

Promises figures over pairs that neither bundle learned from, unless their role was asked for; and a report that is
whole or not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.bundle import Bundle
from actors.errors import DataRefused
from actors.files import draft_beside
from actors.learn import apply
from actors.learn.bootstrap import Difference
from actors.learn.eligible import to_judge, unused_by
from actors.learn.evaluate import Acting, Evaluation, Judged, compare, evaluate
from actors.learn.finish import draw
from actors.learn.guarantee import CAP
from actors.learn.labels import Columns, Labels
from actors.learn.roles import Role, read_roles
from actors.learn.sample import People
from actors.policy import Policy
from pipeline.bundles import local_bundle
from pipeline.label_files import read_with_digests


@dataclass(frozen=True, slots=True)
class Data:
    """Labels to judge by."""

    paths: tuple[Path, ...]
    columns: Columns
    roles: tuple[Role, ...] = (Role.TEST,)
    """Roles in the bundle whose pairs are taken."""
    everything: bool = False
    """Take all pairs, of which the bundle saw none."""

    @property
    def source(self) -> str:
        """The files, for an error."""
        return ", ".join(map(str, self.paths))


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One bundle's figures."""

    bundle: Bundle
    evaluation: Evaluation
    judged: Judged

    @property
    def on_trust(self) -> bool:
        """Whether the bundle records no roles, so that it may have learned from the pairs and nobody can tell."""
        return read_roles(self.bundle.path) is None

    @property
    def acting(self) -> Acting:
        """What it makes of its logits."""
        return Acting(self.bundle.manifest.policy, self.bundle.manifest.calibration)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What was measured."""

    measured: Measured
    data: Mapping[str, str]
    """Digest of each file, by its name."""
    other: Measured | None
    """The second bundle, on the same pairs."""
    n_left_out: int
    """Pairs that judge the first bundle and not the second, which has used them."""
    differences: Mapping[str, Difference]
    """The first bundle's figures less the second's, on equal draws; empty without a second."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        found = {
            "bundle": self.measured.bundle.digest,
            "on_trust": self.measured.on_trust,
            "data": dict(self.data),
            **self.measured.evaluation.to_json(),
        }
        if self.other is not None:
            found["against"] = {
                "bundle": self.other.bundle.digest,
                "on_trust": self.other.on_trust,
                "n_pairs_left_out": self.n_left_out,
                **self.other.evaluation.to_json(),
                "differences": {name: one.to_json() for name, one in self.differences.items()},
            }
        return found


def measure(address: str, data: Data, *, against: str | None = None) -> Report:
    """Measure a bundle.

    Args:
        address: Of the bundle, see `bundles.local_bundle`.
        data: What it is judged by; levels are read by the bundle's own rubric.
        against: Address of a second bundle.

    Returns:
        The figures.

    Raises:
        BundleError: A bundle cannot be used.
        DataRefused: The labels cannot be used, or none of them may judge the bundle, or both.
    """
    bundle = Bundle.open(local_bundle(address))
    other = None if against is None else Bundle.open(local_bundle(against))
    labels, digests = read_with_digests(data.paths, data.columns, bundle.manifest.rubric)
    people = to_judge(bundle, labels, roles=data.roles, everything=data.everything, source=data.source)
    n_pairs = len(people)
    if other is not None:
        people = _for_both(bundle, other, people, labels=labels, data=data)
    ours = _measure(bundle, people, data.source)
    theirs = None if other is None else _measure(other, people, data.source)
    found = {} if theirs is None else compare(ours.judged, theirs.judged.logit, (ours.acting, theirs.acting))
    return Report(
        measured=ours,
        data=digests,
        other=theirs,
        n_left_out=n_pairs - len(people),
        differences=found,
    )


def write_report(folder: Path, report: Report) -> None:
    """Write `evaluation.json` and the plots into a new folder: all, or none of it.

    Args:
        folder: Must not exist; its parent is made.
        report: What was measured.

    Raises:
        DataRefused: The folder exists, or cannot be written.
    """
    refuse_existing(folder)
    measured = report.measured
    acting, cap = measured.acting, measured.evaluation.cap
    files = draw(measured.judged, acting.policy, acting.calibration, cap=cap)
    files["evaluation.json"] = (json.dumps(report.to_json(), indent=2) + "\n").encode()
    try:
        with draft_beside(folder) as draft:
            for name, content in files.items():
                (draft / name).write_bytes(content)
            draft.rename(folder)
    except OSError as error:
        raise DataRefused(str(folder), f"cannot be written: {error.strerror or error}") from error


def refuse_existing(folder: Path) -> None:
    """Refuse a folder for a report where something is, before work is done for it."""
    try:
        there = folder.exists()
    except OSError as error:
        raise DataRefused(str(folder), f"cannot be written: {error.strerror}") from error
    if there:
        raise DataRefused(str(folder), "exists already; name a new folder for the report")


def _for_both(bundle: Bundle, other: Bundle, people: People, *, labels: Labels, data: Data) -> People:
    if other.manifest.rubric != bundle.manifest.rubric:
        raise DataRefused(
            str(other.path), "its rubric is another one, so that the two bundles do not say the same thing"
        )
    left = unused_by(other, people, labels, roles=data.roles, source=data.source)
    if not len(left):
        raise DataRefused(
            data.source,
            f"the bundle {other.path} has used all {len(people)} pairs that may judge {bundle.path}; compare on "
            "data that neither has seen",
        )
    return left


def _measure(bundle: Bundle, people: People, source: str) -> Measured:
    manifest = bundle.manifest
    logit = apply.logits(bundle.path, people.queries, people.documents, source=source)
    judged = Judged.of(people, logit)
    evaluation = evaluate(judged, manifest.policy, manifest.calibration, cap=_cap(manifest.policy))
    return Measured(bundle, evaluation, judged)


def _cap(policy: Policy) -> int:
    """What the policy counts of a cluster, promised or tried; the usual where it says nothing."""
    if policy.guarantee is not None:
        return policy.guarantee.cap
    return int((policy.evidence or {}).get("cap", CAP))

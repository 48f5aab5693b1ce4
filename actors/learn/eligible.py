"""Which labelled pairs a bundle may be judged by, and which its thresholds may rest on: what it records decides.

Promises that no pair judges a bundle that learned from its query, unless that is asked for by its role; that
thresholds rest on pairs of their own role, or on such as the bundle never met; and that what is refused is counted
out, role by role. A query of one cluster with a known one counts as known. One that is like a query which is not
among the labels at hand is not found out: a bundle records digests, and no texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.bundle import Bundle
from actors.errors import DataRefused
from actors.learn.labels import Labels
from actors.learn.roles import Role, Roles, digest, read_roles
from actors.learn.sample import People, Sample


@dataclass(frozen=True, slots=True, eq=False)
class Proving:
    """Labels for the thresholds of a bundle."""

    people: People
    """What the thresholds rest on, at least one pair."""
    test: People | None
    """What may judge the bundle afterwards; None where these labels hold nothing of the role."""
    roles: Roles
    """What the bundle's child records: its parent's, and that these pairs are of the role `threshold`."""
    fresh: bool
    """Whether the bundle knows none of them, so that no earlier try of its was about them."""
    on_trust: bool
    """Whether the bundle records no roles, so that it may have learned from them and nobody can tell."""


def to_judge(
    bundle: Bundle,
    labels: Labels,
    *,
    roles: Sequence[Role] = (Role.TEST,),
    everything: bool = False,
    source: str = "labels",
) -> People:
    """The settled pairs that may judge a bundle.

    Args:
        bundle: What is judged.
        labels: As they were read.
        roles: Roles in the bundle whose pairs are taken.
        everything: Take all pairs instead, for data that the bundle never met.
        source: Where the labels come from, for an error.

    Returns:
        At least one pair.

    Raises:
        DataRefused: Nothing is left; the bundle records no roles; or of `everything` it knows a part.
    """
    if everything:
        return _everything(bundle, labels, source)
    # What the bundle does not know may only train here, and so stays out.
    sample, known, before = _sample(bundle, labels, Role.TRAIN, source)
    if known is None:
        raise DataRefused(
            str(bundle.path),
            "it does not record which queries it learned from; use --all on data that it never saw",
        )
    people = sample.people(*roles)
    people = people.where(np.array([before[i] is not None for i in people.pair.tolist()], np.bool_))
    if not len(people):
        there = _counted(sample, before, sample.settled.pair)
        raise DataRefused(
            source,
            f"none of its labelled queries has the role {' or '.join(roles)} in the bundle {bundle.path}; they "
            f"are: {there or 'none that people have settled'}. Name another role with --role, or use --all on "
            "data that the bundle never saw",
        )
    return people


def unused_by(
    other: Bundle,
    people: People,
    labels: Labels,
    *,
    roles: Sequence[Role] = (Role.TEST,),
    source: str = "labels",
) -> People:
    """Those of some pairs that may judge a second bundle as well.

    Args:
        other: The second bundle.
        people: Pairs that judge the first.
        labels: All that they are of: also what only a judge labelled may be known to the second, and like them.
        roles: Roles in it whose pairs are taken, beside what it does not know.
        source: Where the labels come from, for an error.

    Returns:
        The pairs; perhaps none.

    Raises:
        DataRefused: The second bundle's template cannot read a pair.
    """
    _, _, before = _sample(other, labels, Role.TRAIN, source)
    may = [before[i] is None or before[i] in roles for i in people.pair.tolist()]
    return people.where(np.array(may, np.bool_))


def to_prove(bundle: Bundle, labels: Labels, *, source: str = "labels") -> Proving:
    """The settled pairs of a probability sample that a bundle's thresholds may rest on.

    Either all queries are new to the bundle, or it knows them all and those of the role `threshold` are taken.
    Labels of that role to which new ones were added will do as well.

    Args:
        bundle: Whose thresholds are set.
        labels: As they were read.
        source: Where the labels come from, for an error.

    Returns:
        The pairs, at least one, and what else is in the labels.

    Raises:
        DataRefused: Nothing is left; or new queries are mixed with some that the bundle uses otherwise.
    """
    sample, known, before = _sample(bundle, labels, Role.THRESHOLD, source)
    sampled = sample.settled.pair[sample.settled.random]
    found = {before[i] for i in sampled.tolist()}
    people = sample.people(Role.THRESHOLD)
    there = _counted(sample, before, sampled)
    if None in found and not found <= {None, Role.THRESHOLD}:
        raise DataRefused(
            source,
            f"new queries are mixed with some that the bundle {bundle.path} has used: {there}. Give it the labels "
            "that it was made from, or new ones, or new ones beside those of the role threshold",
        )
    if not len(people):
        raise DataRefused(
            source,
            "none of its queries is of a probability sample and of the role threshold in the bundle "
            f"{bundle.path}; they are: {there or 'not of a probability sample'}. Label a random sample of new "
            "clusters",
        )
    test = sample.people(Role.TEST) if None not in found else None
    recorded = {digest(query): Role.THRESHOLD for query in people.query.tolist()}
    return Proving(
        people=people,
        fresh=found == {None},
        on_trust=known is None,
        test=test if test is not None and len(test) else None,
        roles=Roles(recorded | dict(known.by_query if known is not None else {})),
    )


def refuse_learned(folder: Path, sample: Sample) -> None:
    """Refuse to learn from a model that learned the labels which are to judge here, or to prove thresholds.

    What it learned it hands on, so that a promise would rest on labels that the new model has as good as seen. A
    folder that records no roles is believed.

    Args:
        folder: Of a bundle that teaches, or of the encoder that is fine-tuned.
        sample: All labels, with the student's roles.

    Raises:
        BundleProblem: The roles in it cannot be read.
        DataRefused: It learned from some of these queries, or from ones like them.
    """
    before = sample.roles_in(folder)
    kept = np.flatnonzero(np.isin(sample.role, [Role.MAP, Role.THRESHOLD, Role.TEST]))
    learned = np.array([i for i in kept.tolist() if before[i] in {Role.TRAIN, Role.DEV}], np.int64)
    if len(learned):
        raise DataRefused(
            str(folder),
            f"it has learned from queries that are to judge here, or to prove thresholds: "
            f"{_counted(sample, before, learned)}. Let all queries keep the roles that they had there "
            f"(labels.known: {folder}), or learn from a model that never saw them",
        )


def _everything(bundle: Bundle, labels: Labels, source: str) -> People:
    sample, _, before = _sample(bundle, labels, Role.TEST, source)
    spoken = sample.settled.pair
    used = np.array([i for i in spoken.tolist() if before[i] not in {None, Role.TEST}], np.int64)
    if len(used):
        raise DataRefused(
            source,
            f"the bundle {bundle.path} has used some of its queries, or ones like them: "
            f"{_counted(sample, before, used)}. What it learned from cannot judge it: take those out, or say "
            "which roles may with --role",
        )
    people = sample.people(Role.TEST)
    if not len(people):
        raise DataRefused(source, "no pair of a probability sample that people have settled is in it")
    return people


def _sample(
    bundle: Bundle, labels: Labels, new: Role, source: str
) -> tuple[Sample, Roles | None, list[Role | None]]:
    """The labels with their roles, `new` for what the bundle does not know; its roles; and those of each pair."""
    known = read_roles(bundle.path)
    sample = Sample.of(labels, bundle.manifest.template, shares={new: 1.0}, known=known, source=source)
    return sample, known, (known or Roles({})).inherit(sample.query, sample.cluster)


def _counted(sample: Sample, before: Sequence[Role | None], pairs: NDArray[Any]) -> str:
    """How many distinct queries of some pairs have which role in the bundle."""
    role_of = {digest(sample.query[i]): before[i] for i in pairs.tolist()}
    counts = Counter(role_of.values())
    return ", ".join(f"{counts[role]} {role or 'unknown'}" for role in (*Role, None) if counts[role])

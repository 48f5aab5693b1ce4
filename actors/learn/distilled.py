"""What a student lost against the bundle that taught it, and what it saves.

Promises a comparison on pairs of the role `test` that the teacher did not learn from, on equal draws of
clusters; and sizes, not speeds: how fast a bundle is depends on where it runs, and `sluice` measures that
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from actors.bundle import WEIGHTS_FILE, Bundle
from actors.errors import DataRefused
from actors.learn import apply
from actors.learn.bootstrap import Difference
from actors.learn.evaluate import Judged, compare
from actors.learn.roles import Role
from actors.learn.sample import People, Sample


@dataclass(frozen=True, slots=True)
class Cost:
    """A student beside its teacher."""

    teacher: str
    """Digest of the teacher's bundle."""
    n_parameters: int
    n_parameters_teacher: int
    n_pairs: int
    """Pairs that both were judged on."""
    differences: Mapping[str, Difference]
    """The student's figures less the teacher's."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        return {
            "teacher": self.teacher,
            "parameters": self.n_parameters,
            "parameters_of_teacher": self.n_parameters_teacher,
            "n_pairs": self.n_pairs,
            "differences": {name: one.to_json() for name, one in self.differences.items()},
        }


def cost_of(student: Bundle, teacher_path: Path, sample: Sample) -> Cost:
    """Compare the two.

    Args:
        student: Its map and policy play no part.
        teacher_path: Folder of the teacher's bundle.
        sample: All labels, with the student's roles.

    Returns:
        The comparison.

    Raises:
        BundleError: The teacher's bundle must not be used.
        DataRefused: The teacher learned from every pair that judges the student.
    """
    teacher = Bundle.open(teacher_path)
    people = unseen_by(teacher_path, sample)
    ours, theirs = (
        apply.logits(bundle.path, people.queries, people.documents, source="labels")
        for bundle in (student, teacher)
    )
    return Cost(
        teacher=teacher.digest,
        n_parameters=_parameters(student),
        n_parameters_teacher=_parameters(teacher),
        n_pairs=len(people),
        differences=compare(Judged.of(people, ours), theirs),
    )


def unseen_by(teacher_path: Path, sample: Sample) -> People:
    """The pairs that both are compared on.

    Args:
        teacher_path: Folder of the teacher's bundle, a checked one.
        sample: All labels, with the student's roles.

    Returns:
        Pairs of the role `test`, at least one.

    Raises:
        BundleError: The teacher's roles cannot be read.
        DataRefused: The teacher learned from every one.
    """
    people, before = sample.people(Role.TEST), sample.roles_in(teacher_path)
    unseen = [before[i] in {None, Role.TEST} for i in people.pair.tolist()]
    people = people.where(np.array(unseen, np.bool_))
    if not len(people):
        problem = "it has used every pair of the role test, so that nothing tells what its student lost"
        raise DataRefused(str(teacher_path), problem)
    return people


def _parameters(bundle: Bundle) -> int:
    with safe_open(bundle.path / WEIGHTS_FILE, framework="np") as weights:
        return sum(int(np.prod(weights.get_slice(name).get_shape())) for name in weights.keys())  # noqa: SIM118

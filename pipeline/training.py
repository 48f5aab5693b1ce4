"""Makes a bundle of labels: what `sluice learn train` does.

Promises that nobody trains past what the audit found without accepting it by name; a bundle that is whole or not
there; and that an interrupted run, begun with the same settings on the same labels, goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.bundle import Bundle
from actors.errors import DataRefused, TrainingStopped
from actors.files import file_digest
from actors.learn.audit import audit, refuse_unless_accepted
from actors.learn.distilled import Cost, cost_of
from actors.learn.draft import Told, code_digest, write_draft
from actors.learn.finish import Finished, Order, Traffic, finish, refuse_existing
from actors.learn.fit import Fitted, OnStage, Plan, fit
from actors.learn.labels import read_labels
from actors.learn.recipe import TeacherKind
from actors.learn.roles import read_roles
from actors.learn.sample import Sample
from pipeline.bundles import local_bundle
from pipeline.learn_settings import LearnSettings

_BEGUN_FILE = "begun.json"


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came of it."""

    finished: Finished
    fitted: Fitted
    cost: Cost | None
    """What the student lost against its teacher; None where no bundle taught it."""
    accepted: tuple[str, ...]
    """Kinds of problems that were let pass."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without NaN."""
        done = self.finished
        return {
            "bundle": str(done.bundle.path),
            "digest": done.bundle.digest,
            "training": self.fitted.to_json(),
            "accepted": list(self.accepted),
            "policy": done.decision.to_json(),
            "evaluation": None if done.evaluation is None else done.evaluation.to_json(),
            "against_teacher": None if self.cost is None else self.cost.to_json(),
        }


def train(
    settings: LearnSettings,
    out: Path,
    *,
    accept: Collection[str] = (),
    resume: bool = False,
    on_stage: OnStage | None = None,
) -> Trained:
    """Make a bundle.

    Args:
        settings: Labels, model, recipe, teacher and policy.
        out: Where the bundle goes; must not exist. States lie beside it until it is there.
        accept: Kinds of problems to let pass, beside those of the settings.
        resume: Go on with an interrupted run.
        on_stage: Told what is done.

    Returns:
        The bundle, and what is to be said of it.

    Raises:
        SettingsError: No labels are named.
        ActorError: Labels, a teacher or the disk cannot be used, or a problem was not accepted.
    """
    refuse_existing(out)
    paths = settings.labels.paths
    if not paths:
        raise settings.refuse("labels.paths", "name the files of labels")
    source = ", ".join(map(str, paths))
    known = settings.labels.known
    labels = read_labels(paths, settings.labels.columns, settings.labels.rubric)
    sample = Sample.of(
        labels,
        settings.model.template,
        shares=settings.labels.shares,
        seed=settings.labels.seed,
        known=None if known is None else read_roles(Bundle.open(local_bundle(known)).path),
        source=source,
    )
    found = audit(labels, sample, shares=settings.labels.shares, source=source)
    accepted = {*settings.labels.accept, *accept}
    refuse_unless_accepted(found, accepted)
    traffic = settings.policy.traffic
    window = None if traffic is None else Traffic.read(traffic, settings.labels.columns)

    data = {path.name: file_digest(path) for path in paths}
    plan = _plan(settings)
    states = _begun(out, settings, data, resume=resume)
    fitted = fit(sample, states / "model", plan, checkpoints=states, on_stage=on_stage)
    told = Told(
        name=settings.model.name,
        template=plan.template,
        max_tokens=plan.recipe.max_tokens,
        rubric=labels.rubric,
        origin=f"{len(labels.rows):,} labels from {', '.join(data)}",
        data=data,
        training=fitted.to_json() | {"accepted": sorted(accepted & {one.kind for one in found.blocking})},
    )
    shutil.rmtree(states / "draft", ignore_errors=True)
    draft = write_draft(states / "draft", states / "model", told)
    cost = None
    if plan.teacher.kind is TeacherKind.BUNDLE:
        cost = cost_of(draft, Path(plan.teacher.source or ""), sample)
        draft = replace(
            draft,
            manifest=replace(
                draft.manifest, metrics={**draft.manifest.metrics, "against_teacher": cost.to_json()}
            ),
        )
    order = Order(
        out, settings.policy.wish, settings.policy.record, settings.policy.isotonic, settings.model.base
    )
    finished = finish(draft, sample, order, window, source=source)
    shutil.rmtree(states)
    return Trained(finished, fitted, cost, tuple(sorted(accepted)))


def states_beside(out: Path) -> Path:
    """Where a run keeps its states until its bundle is there."""
    return out.with_name(f"{out.name}.states")


def _plan(settings: LearnSettings) -> Plan:
    teacher = settings.teacher
    if teacher.kind is TeacherKind.BUNDLE:
        teacher = replace(teacher, source=str(Bundle.open(local_bundle(teacher.source or "")).path))
    return Plan(
        base=settings.model.base,
        template=settings.model.template,
        recipe=settings.recipe,
        teacher=teacher,
        augment=settings.augment,
        prior=settings.model.prior,
        columns=settings.labels.columns,
    )


def _begun(out: Path, settings: LearnSettings, data: dict[str, str], *, resume: bool) -> Path:
    """The folder of states; it notes what the run was begun with, so that no other goes on with it."""
    states = states_beside(out)
    name = hashlib.sha256(
        json.dumps([settings.model_dump(mode="json"), data, code_digest()], sort_keys=True).encode()
    ).hexdigest()
    note = states / _BEGUN_FILE
    if states.exists():
        if not resume:
            raise DataRefused(
                str(states), "holds an interrupted run; go on with it by --resume, or remove the folder"
            )
        if note.exists() and json.loads(note.read_text(encoding="utf-8")) != name:
            raise DataRefused(
                str(states),
                "that run was begun with other settings, labels or code; remove the folder and begin again",
            )
    try:
        states.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(name), encoding="utf-8")
    except OSError as error:
        raise TrainingStopped(str(states), error.strerror or str(error)) from error
    return states

"""Makes a bundle of labels: what `sluice learn train` does.

Promises that nobody trains past what the audit found without accepting it by name; a bundle that is whole or not
there; and that an interrupted run, begun with the same settings on the same labels, goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from actors.bundle import Bundle, refuse_existing
from actors.errors import BundleProblem, DataRefused, TrainingStopped
from actors.learn.audit import Audit, audit, refuse_unless_accepted
from actors.learn.base import check_base
from actors.learn.distilled import Cost, cost_of, unseen_by
from actors.learn.draft import Told, code_digest, write_draft
from actors.learn.eligible import refuse_learned
from actors.learn.finish import Finished, Order, finish
from actors.learn.fit import Fitted, OnStage, Plan, fit
from actors.learn.problems import Kind
from actors.learn.recipe import TeacherKind
from actors.learn.roles import Role, read_roles
from actors.learn.sample import Sample
from actors.learn.window import Traffic
from pipeline.bundles import local_bundle
from pipeline.label_files import digest_of, read_with_digests
from pipeline.learn_settings import LearnSettings

_BEGUN_FILE = "begun.json"
_FITTED_FILE = "fitted.json"
"""The last file of a model that has learned: with it, the model is whole."""
_LOCK_FILE = "lock"
_MODEL_FOLDER = "model"


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came of it."""

    finished: Finished
    fitted: Fitted
    cost: Cost | None
    """What the student lost against its teacher; None where no bundle taught it."""
    accepted: tuple[str, ...]
    """Kinds of problems that were found, and let pass."""

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
    record = settings.policy.record
    if record is not None and not record.absolute().parent.is_dir():
        raise settings.refuse(
            "policy.record", f"{record.parent} is no folder; the record is kept in one that is there"
        )
    accepted = {*settings.labels.accept, *accept}
    plan = _plan(settings, overlap_accepted=Kind.OVERLAP in accepted)
    source = ", ".join(map(str, paths))
    known = settings.labels.known
    earlier = None if known is None else Bundle.open(local_bundle(known))
    labels, data = read_with_digests(paths, settings.labels.columns, settings.labels.rubric)
    sample = Sample.of(
        labels,
        settings.model.template,
        shares=settings.labels.shares,
        seed=settings.labels.seed,
        known=None if earlier is None else read_roles(earlier.path),
        source=source,
    )
    found = audit(labels, sample, shares=settings.labels.shares, source=source)
    refuse_unless_accepted(found, accepted)
    let_pass = tuple(sorted({one.kind.value for one in found.blocking} & accepted))
    traffic = settings.policy.traffic
    window = None if traffic is None else Traffic.read(traffic, settings.labels.columns)
    _refuse_too_little(sample, plan, source)

    learned_by = _learned_by(plan)
    begun = _begun_with(settings, data, learned_by, known=None if earlier is None else earlier.digest)
    with _states(out, begun, resume=resume) as states:
        refuse_existing(out)  # a run beside this one may have ended since
        fitted = _fitted(sample, states, plan, on_stage)
        told = Told(
            name=settings.model.name,
            template=plan.template,
            max_tokens=plan.recipe.max_tokens,
            rubric=labels.rubric,
            origin=f"{len(labels.rows):,} labels from {', '.join(data)}",
            data=data,
            training=fitted.to_json()
            | learned_by
            | {"agreement": _agreement(found), "accepted": [*let_pass]},
        )
        shutil.rmtree(states / "draft", ignore_errors=True)
        draft = write_draft(states / "draft", states / _MODEL_FOLDER, told)
        cost = None
        if plan.teacher.kind is TeacherKind.BUNDLE:
            cost = cost_of(draft, Path(plan.teacher.source or ""), sample)
            metrics = {**draft.manifest.metrics, "against_teacher": cost.to_json()}
            draft = replace(draft, manifest=replace(draft.manifest, metrics=metrics))
        order = Order(
            out, settings.policy.wish, settings.policy.record, settings.policy.isotonic, settings.model.base
        )
        finished = finish(draft, sample, order, window, earlier=earlier, source=source)
        shutil.rmtree(states)
    return Trained(finished, fitted, cost, let_pass)


def states_beside(out: Path) -> Path:
    """Where a run keeps its states until its bundle is there."""
    return out.with_name(f"{out.name}.states")


def _plan(settings: LearnSettings, *, overlap_accepted: bool) -> Plan:
    teacher, model, recipe = settings.teacher, settings.model, settings.recipe
    if teacher.kind is TeacherKind.NONE and not recipe.epochs:
        raise settings.refuse("recipe.epochs", "0 leaves nothing to learn where teacher.kind is none")
    try:
        check_base(model.base, max_tokens=recipe.max_tokens)
    except DataRefused as error:
        raise settings.refuse("model.base", str(error)) from error
    if teacher.kind is TeacherKind.BUNDLE:
        teacher = replace(teacher, source=str(Bundle.open(local_bundle(teacher.source or "")).path))
    return Plan(
        base=model.base,
        template=model.template,
        recipe=recipe,
        teacher=teacher,
        augment=settings.augment,
        prior=model.prior,
        columns=settings.labels.columns,
        overlap_accepted=overlap_accepted,
    )


def _refuse_too_little(sample: Sample, plan: Plan, source: str) -> None:
    """What the end of a run would stumble on, said before its beginning."""
    for role in (Role.TRAIN, Role.MAP, Role.THRESHOLD, Role.TEST):
        people = sample.people(role)
        n, n_severe = len(people), int(people.severe.sum())
        if not n or (role in {Role.TRAIN, Role.MAP} and not 0 < n_severe < n):
            problem = (
                f"the role {role} has {n} pairs that people have settled, {n_severe} of them severe; label more, "
                "or draw the roles anew (labels.seed)"
            )
            raise DataRefused(source, problem)
    refuse_learned(Path(plan.base), sample)
    if plan.teacher.kind is TeacherKind.BUNDLE:
        refuse_learned(Path(plan.teacher.source or ""), sample)
        unseen_by(Path(plan.teacher.source or ""), sample)


def _learned_by(plan: Plan) -> dict[str, Any]:
    """What decides the weights beside the labels, plain data: files by their digests, and none by its place."""
    base, teacher = Path(plan.base), asdict(plan.teacher)
    match plan.teacher.kind:
        case TeacherKind.BUNDLE:
            teacher["source"] = Bundle.open(Path(plan.teacher.source or "")).digest
        case TeacherKind.FILE:
            teacher["source"] = digest_of(Path(plan.teacher.source or ""))
    teacher |= {"kind": plan.teacher.kind.value, "fields": [*plan.teacher.fields]}
    weights = [path for path in sorted(base.glob("*")) if path.suffix in {".safetensors", ".bin"}]
    return {
        "base": {path.name: digest_of(path) for path in weights} if base.is_dir() else plan.base,
        "recipe": asdict(plan.recipe),
        "teacher": teacher,
        "augmentation": asdict(plan.augment),
    }


def _agreement(found: Audit) -> dict[str, Any]:
    """How far people agree, without their names: a bundle goes to others."""
    told = found.agreement.to_json()
    return {name: value for name, value in told.items() if name != "cohen_kappa"}


def _fitted(sample: Sample, states: Path, plan: Plan, on_stage: OnStage | None) -> Fitted:
    """What is learned once for all runs with these states."""
    note = states / _FITTED_FILE
    if note.exists():
        return Fitted(**json.loads(note.read_text(encoding="utf-8")))
    shutil.rmtree(states / _MODEL_FOLDER, ignore_errors=True)
    fitted = fit(sample, states / _MODEL_FOLDER, plan, checkpoints=states, on_stage=on_stage)
    _write_whole(note, asdict(fitted))
    return fitted


def _begun_with(
    settings: LearnSettings, data: Mapping[str, str], learned_by: Mapping[str, Any], *, known: str | None
) -> str:
    """Names what the model is learned from: the policy may be another when a run goes on.

    The roles are those of the bundle with the digest `known`: with another one at its address, what the model has
    learned could judge it.
    """
    chosen = settings.model_dump(exclude={"policy": True, "labels": {"accept"}})
    text = json.dumps([chosen, data, learned_by, known, code_digest()], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    """The levels that are severe are a set, and a set has another order in each process."""
    return sorted(value) if isinstance(value, Set) else str(value)


@contextmanager
def _states(out: Path, begun: str, *, resume: bool) -> Iterator[Path]:
    """The folder of states, for one run at a time; it notes what it was begun with, so that no other goes on."""
    states = states_beside(out)
    try:
        states.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleProblem(str(out), f"nothing can be written there: {error.strerror or error}") from error
    try:
        with _alone(states):
            # Only now: of a run that is at work nobody is to be told to remove its folder.
            _refuse_other_work(states, begun, resume=resume)
            _write_whole(states / _BEGUN_FILE, begun)
            try:
                yield states
            finally:
                if states.exists() and not _hold_work(states):
                    shutil.rmtree(states)
    except OSError as error:
        raise TrainingStopped(str(states), error.strerror or str(error)) from error


def _refuse_other_work(states: Path, begun: str, *, resume: bool) -> None:
    if not _hold_work(states):
        return
    if not resume:
        problem = "holds an interrupted run; go on with it by --resume, or remove the folder"
        raise DataRefused(str(states), problem)
    if _noted(states / _BEGUN_FILE) != begun:
        problem = "that run was begun with other settings, labels or code; remove the folder and begin again"
        raise DataRefused(str(states), problem)


def _hold_work(states: Path) -> bool:
    """Whether there is anything that could be gone on with."""
    return states.exists() and any(
        not path.name.startswith((_BEGUN_FILE, _LOCK_FILE)) for path in states.iterdir()
    )


@contextmanager
def _alone(states: Path) -> Iterator[None]:
    with (states / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataRefused(str(states), "another run is at work there") from error
        yield


def _noted(note: Path) -> str | None:
    try:
        return str(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _write_whole(path: Path, value: object) -> None:
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(json.dumps(value), encoding="utf-8")
    draft.replace(path)

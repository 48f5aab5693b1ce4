"""Makes a model of labels: first as a teacher says, on many pairs, then as the labels say, if that is better.

Promises a model folder with weights, configuration, tokenizer and, if it is wanted, the prior; that only the
role `train` is learned from and only `dev` decides when to stop; that an interrupted run goes on where it was.
It knows neither maps nor policies. Needs the `train` extra.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actors.learn.augment import Example, exclusions, mismatches, without_fields
from actors.learn.callbacks import OnStep
from actors.learn.features import Encoder
from actors.learn.finetune import Rows, fine_tune
from actors.learn.labels import Columns
from actors.learn.lesson import Lesson, Setting, Taught, lexicon_of, prepare_lesson, prior_of, texts_of
from actors.learn.loss import Goal
from actors.learn.recipe import Augmentation, Recipe, Teacher
from actors.learn.roles import Role
from actors.learn.rows import Targets, targets
from actors.learn.sample import Sample
from actors.lexical import NAMES
from actors.pairs import FLAT_FIELD, Fields, PairTemplate
from actors.prior import Prior, write_prior

OnStage = Callable[[str], OnStep]
"""Told what begins; gives what is to be told how far it is."""

_MAY_FIT = 0.5
"""Share of a query's words, weighted by rarity, from which on a foreign document may fit it after all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make a model from, and how."""

    base: str
    """Hub id or folder of a pretrained encoder."""
    template: PairTemplate = field(default_factory=PairTemplate)
    recipe: Recipe = field(default_factory=Recipe)
    teacher: Teacher = field(default_factory=Teacher)
    augment: Augmentation = field(default_factory=Augmentation)
    prior: bool = True
    """Whether what the words of a pair say is added to the encoder's logit."""
    columns: Columns = field(default_factory=Columns)
    """Of a teacher's file."""
    overlap_accepted: bool = False
    """Whether a judge that cannot be held against people is left out, instead of refused."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learned from."""

    n_by_source: dict[str, int]
    """Labelled pairs, by who labelled them."""
    n_made: int
    """Labelled pairs that were made from others."""
    n_imitated: int
    """Pairs that the teacher scored."""
    judges: dict[str, Any]
    """What each judge's word was taken for."""
    judges_left_out: dict[str, str]
    """Judges whose word was taken for nothing, and why."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "labelled_pairs": dict(self.n_by_source),
            "made_pairs": self.n_made,
            "imitated_pairs": self.n_imitated,
            "judges": dict(self.judges),
            "judges_left_out": dict(self.judges_left_out),
        }


def fit(
    sample: Sample,
    folder: Path,
    plan: Plan,
    *,
    checkpoints: Path | None = None,
    on_stage: OnStage | None = None,
    encoder: Encoder | None = None,
) -> Fitted:
    """Write a model folder.

    Args:
        sample: All labels; the roles `train` and `dev` are used.
        folder: Where the model goes; made if absent.
        plan: What to make it from.
        checkpoints: Folder for states, so that the run can go on after it was interrupted, with equal arguments.
        on_stage: Told what is done.
        encoder: The base as it was pretrained, where it is open already; it remembers texts from run to run.

    Returns:
        What was learned from.

    Raises:
        DataRefused: There is too little to learn from, a judge cannot be held against people, or a teacher's file
            cannot be used.
        BundleError: The teacher's bundle must not be used.
        TrainingStopped: A state cannot be written, or the loss is not finite.
    """
    learned = targets(sample, plan.recipe, leave_out=plan.overlap_accepted)
    with tempfile.TemporaryDirectory() as scratch:
        states = checkpoints or Path(scratch)
        setting = Setting(
            plan.teacher, plan.template, plan.base, plan.augment, plan.columns, seed=plan.recipe.seed
        )
        lesson = prepare_lesson(sample, setting, encoder)
        prior = None if not plan.prior else prior_of(sample) if lesson is None else lesson.prior
        base: str | Path = plan.base
        if lesson is not None:
            base = _imitated(
                lesson, prior, plan, states=states, on_step=on_stage("teacher") if on_stage else None
            )
        examples = _examples(sample, learned, plan, made=lesson is None)
        if plan.recipe.epochs:
            recipe = plan.recipe if lesson is None else _slower(plan.recipe, plan.teacher.label_rate)
            fine_tune(
                base,
                folder,
                _rows(examples, prior, plan.template),
                recipe,
                held_out=_held_out(sample, prior, plan.template),
                checkpoints=states / "labels",
                on_step=on_stage("labels") if on_stage else None,
            )
        else:
            shutil.copytree(base, folder)
    if prior is not None:
        write_prior(folder, prior)
    return Fitted(
        n_by_source={source.value: n for source, n in learned.n_by_source.items()},
        n_made=len(examples) - len(learned.pair),
        n_imitated=0 if lesson is None else len(lesson.pairs),
        judges={name: judge.to_json() for name, judge in learned.judges.items()},
        judges_left_out=dict(learned.left_out),
    )


def _imitated(
    lesson: Lesson, prior: Prior | None, plan: Plan, *, states: Path, on_step: OnStep | None
) -> Path:
    """The folder of a model that says what the teacher says; made once for all runs with these states."""
    folder, draft = states / "imitation", states / "imitation.draft"
    if not folder.exists():
        rows = _imitation(lesson.pairs, prior, plan.template)
        held_out = _imitation(lesson.held_out, prior, plan.template) if len(lesson.held_out) else None
        recipe = replace(plan.recipe, epochs=plan.teacher.epochs)
        shutil.rmtree(draft, ignore_errors=True)
        fine_tune(
            plan.base, draft, rows, recipe, held_out=held_out, checkpoints=states / "teacher", on_step=on_step
        )
        draft.rename(folder)
    return folder


def _imitation(taught: Taught, prior: Prior | None, template: PairTemplate) -> Rows:
    texts = texts_of(taught.queries, taught.documents, template)
    return Rows.of(texts, taught.logit.tolist(), prior=_said(texts, taught.documents, prior), goal=Goal.LOGIT)


def _examples(sample: Sample, learned: Targets, plan: Plan, *, made: bool) -> list[Example]:
    """What the labels say; and, where no teacher says it of better ones, pairs that are made of them."""
    pairs = [sample.labels.pairs[i] for i in learned.pair.tolist()]
    examples = [
        Example(pair.query, pair.document, target, weight)
        for pair, target, weight in zip(pairs, learned.target.tolist(), learned.weight.tolist(), strict=True)
    ]
    if made:
        examples += _made(sample, learned, plan)
    if plan.augment.dropped_fields:
        draw = random.Random(f"fields/{plan.recipe.seed}")
        share = plan.augment.dropped_fields
        examples = [without_fields(example, share=share, draw=draw) for example in examples]
    return examples


def _made(sample: Sample, learned: Targets, plan: Plan) -> list[Example]:
    lexicon = lexicon_of(sample)
    pairs = [sample.labels.pairs[i] for i in learned.pair.tolist()]
    coverage = NAMES.index("coverage")

    def near(query: Fields, document: Fields) -> bool:
        ((text, _),) = texts_of([query], [document], plan.template)
        return bool(lexicon.features(text, document)[coverage] >= _MAY_FIT)

    weight, seed = plan.recipe.weak_weight, plan.recipe.seed
    titles = [pair.document.get(lexicon.fields.title) or pair.document.get(FLAT_FIELD, "") for pair in pairs]
    return [
        *mismatches(
            [pair.query for pair in pairs],
            [pair.document for pair in pairs],
            sample.cluster[learned.pair].tolist(),
            n=min(plan.augment.mismatches, len(pairs)),
            near=near,
            weight=weight,
            seed=seed,
        ),
        *exclusions(
            titles,
            n=min(plan.augment.exclusions, len(pairs)),
            field=plan.template.query[0].field,
            document_field=plan.template.document[0].field,
            weight=weight,
            seed=seed,
        ),
    ]


def _rows(examples: Sequence[Example], prior: Prior | None, template: PairTemplate) -> Rows:
    documents = [example.document for example in examples]
    texts = texts_of([example.query for example in examples], documents, template)
    return Rows.of(
        texts,
        [example.severe for example in examples],
        weight=[example.weight for example in examples],
        prior=_said(texts, documents, prior),
    )


def _held_out(sample: Sample, prior: Prior | None, template: PairTemplate) -> Rows | None:
    people = sample.people(Role.DEV)
    if not len(people):
        return None
    texts = texts_of(people.queries, people.documents, template)
    return Rows.of(texts, people.share_severe.tolist(), prior=_said(texts, people.documents, prior))


def _said(
    texts: Sequence[tuple[str, str]], documents: Sequence[Fields], prior: Prior | None
) -> list[float] | None:
    if prior is None:
        return None
    return [prior.logit(query, document) for (query, _), document in zip(texts, documents, strict=True)]


def _slower(recipe: Recipe, factor: float) -> Recipe:
    return replace(
        recipe,
        learning_rate=recipe.learning_rate * factor,
        head_learning_rate=recipe.head_learning_rate * factor,
    )

"""What a teacher says of many pairs, for an encoder to imitate: the teacher is features, a bundle or a file.

Promises that nothing of it touches the roles that judge: pairs are made from texts of the role `train`, and
those of `dev` tell when to stop, their documents, without labels, also what company queries keep; and that a
teacher does not score a pair whose label it learned from. Needs the `train` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.errors import DataRefused
from actors.learn import apply
from actors.learn.augment import exclusions
from actors.learn.clusters import clusters
from actors.learn.company import Company
from actors.learn.features import DenseFeatures, Encoder
from actors.learn.labels import Columns, Pair
from actors.learn.lexical_prior import distinct, fit_prior
from actors.learn.reading import read_labels
from actors.learn.recipe import Augmentation, Teacher, TeacherKind
from actors.learn.roles import Role, digest
from actors.learn.sample import People, Sample, compose
from actors.learn.teacher import FeatureTeacher
from actors.learn.unlabelled import Couple, crossed, pseudo_queries
from actors.lexical import Lexicon
from actors.pairs import FLAT_FIELD, Fields, PairTemplate
from actors.prior import Prior

_LEAST_P = 1e-4
"""A probability of 0 or 1 is no logit; this one stands for it."""
_CERTAIN = 2.5
"""The logit that stands for what all people call severe: a probability of 0.92, as labels err."""


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """Pairs with a teacher's logits: columns of equal length."""

    queries: Sequence[Fields]
    documents: Sequence[Fields]
    logit: NDArray[np.float64]
    """Severity, float64 `[n]`, finite."""

    def __len__(self) -> int:
        return len(self.logit)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is imitated."""

    pairs: Taught
    """At least one."""
    held_out: Taught
    """Of the role `dev`, perhaps none: of a bundle, only what it did not learn from."""
    prior: Prior
    """What of it the words of a pair say."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a teacher teaches with."""

    teacher: Teacher
    template: PairTemplate
    base: str
    """Hub id or folder of the encoder, as it was pretrained."""
    augment: Augmentation = field(default_factory=Augmentation)
    columns: Columns = field(default_factory=Columns)
    """Of a teacher's file, with the probability in the column `p_severe`."""
    seed: int = 0


def prepare_lesson(sample: Sample, setting: Setting, encoder: Encoder | None = None) -> Lesson | None:
    """Have a teacher score pairs.

    Args:
        sample: All labels, with their roles.
        setting: Who teaches, and what with.
        encoder: The base, where it is open already: it remembers the texts of other lessons.

    Returns:
        The lesson; None where there is no teacher.

    Raises:
        DataRefused: There is too little to learn from, a file cannot be used, or a score is not finite.
        BundleError: The teacher's bundle must not be used.
    """
    match setting.teacher.kind:
        case TeacherKind.NONE:
            return None
        case TeacherKind.FEATURES:
            return _of_features(sample, setting, encoder or Encoder(setting.base))
        case TeacherKind.BUNDLE:
            return _of_bundle(sample, setting, encoder or Encoder(setting.base))
        case TeacherKind.FILE:
            return _of_file(sample, setting)


def lexicon_of(sample: Sample) -> Lexicon:
    """How rare words are in the documents of the role `train`."""
    documents = [sample.labels.pairs[i].document for i in np.flatnonzero(sample.role == Role.TRAIN).tolist()]
    return Lexicon.of(distinct(documents))


def prior_of(sample: Sample) -> Prior:
    """What words say, learned from what people say of the role `train`."""
    people = sample.people(Role.TRAIN)
    return fit_prior(people.query.tolist(), people.documents, people.severe, lexicon=lexicon_of(sample))


def _of_features(sample: Sample, setting: Setting, encoder: Encoder) -> Lesson:
    people, held_out = sample.people(Role.TRAIN), sample.people(Role.DEV)
    lexicon = lexicon_of(sample)
    fields = setting.teacher.fields or tuple(part.field for part in setting.template.document)
    teacher = FeatureTeacher.fit(
        people,
        [DenseFeatures.of(encoder, people.documents, fields)],
        [Company.of(encoder, [*people.documents, *held_out.documents], fields)],
        lexicon=lexicon,
        folds=setting.teacher.folds,
        seed=setting.seed,
    )
    others = [*_without_people(sample), *_made(sample, setting, encoder, lexicon)]
    said = teacher.logits(_texts(others, setting.template), [document for _, document in others])
    return Lesson(
        pairs=Taught(
            [*people.queries, *(query for query, _ in others)],
            [*people.documents, *(document for _, document in others)],
            np.concatenate([_with_labels(teacher.out_of_fold, people, setting.teacher.label_share), said]),
        ),
        held_out=Taught(
            held_out.queries, held_out.documents, teacher.logits(held_out.query.tolist(), held_out.documents)
        ),
        prior=teacher.prior,
    )


def _with_labels(logit: NDArray[np.float64], people: People, share: float) -> NDArray[np.float64]:
    """What labelled pairs are to be: between what the teacher says of them and what people say.

    A mean of soft and hard targets: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network (2015),
    section 2.
    """
    said = _CERTAIN * (2 * people.share_severe - 1)
    mean: NDArray[np.float64] = (1 - share) * logit + share * said
    return mean


def _of_bundle(sample: Sample, setting: Setting, encoder: Encoder) -> Lesson:
    path = Path(setting.teacher.source or "")
    before = sample.roles_in(path)
    # What it learned from it only remembers; the labels say that better.
    unseen = np.array([role not in {Role.TRAIN, Role.DEV} for role in before], np.bool_)
    train = np.flatnonzero(unseen & (sample.role == Role.TRAIN)).tolist()
    labelled = [(sample.labels.pairs[i].query, sample.labels.pairs[i].document) for i in train]
    lexicon = lexicon_of(sample)
    pairs = [*labelled, *_made(sample, setting, encoder, lexicon)]
    if not pairs:
        problem = "it has learned from every pair of the role train, and augment makes none for it to score"
        raise DataRefused(str(path), problem)
    held_out = sample.people(Role.DEV)
    held_out = held_out.where(unseen[held_out.pair])
    couples = [*pairs, *zip(held_out.queries, held_out.documents, strict=True)]
    said = apply.logits(
        path, [query for query, _ in couples], [document for _, document in couples], source="labels"
    )
    return Lesson(
        _taught(pairs, said[: len(pairs)]),
        _taught(couples[len(pairs) :], said[len(pairs) :]),
        prior_of(sample),
    )


def _of_file(sample: Sample, setting: Setting) -> Lesson:
    source = Path(setting.teacher.source or "")
    given = setting.columns
    columns = Columns(given.query, given.document, level=None, p_severe=given.p_severe or "p_severe")
    labels = read_labels([source], columns, sample.labels.rubric, both_kinds=False)
    query = [text for text, _ in compose(labels.pairs, setting.template, str(source))]
    role = _latest_roles(sample, query)
    said: dict[int, list[float]] = {}
    for row in labels.rows:
        said.setdefault(row.pair, []).append(row.p_severe)
    p = np.array([np.mean(said[i]) for i in range(len(labels.pairs))]).clip(_LEAST_P, 1 - _LEAST_P)
    logit = np.log(p / (1 - p))
    couples = [(pair.query, pair.document) for pair in labels.pairs]
    imitated = [i for i, has in enumerate(role) if has in {None, Role.TRAIN}]
    held_out = [i for i, has in enumerate(role) if has is Role.DEV]
    if not imitated:
        problem = (
            "none of its queries is of the role train, or new; the others judge and cannot be learned from"
        )
        raise DataRefused(str(source), problem)
    return Lesson(
        _taught([couples[i] for i in imitated], logit[imitated]),
        _taught([couples[i] for i in held_out], logit[held_out]),
        prior_of(sample),
    )


def _latest_roles(sample: Sample, query: Sequence[str]) -> list[Role | None]:
    """The role of each query, or else the last to be used of those that queries like it have; None where none has.

    The earliest will not do: a query that is like one of `train` and one of `test` would have both learned from.
    """
    everything, order = [*sample.query, *query], list(Role)
    cluster = clusters(everything).tolist()
    own = [sample.roles.by_query.get(digest(text)) for text in everything]
    latest: dict[int, Role] = {}
    for number, role in zip(cluster, own, strict=True):
        if role is not None:
            latest[number] = max(role, latest.get(number, role), key=order.index)
    found = [role or latest.get(number) for number, role in zip(cluster, own, strict=True)]
    return found[len(sample.query) :]


def _taught(couples: Sequence[Couple], logit: NDArray[np.float64]) -> Taught:
    return Taught([query for query, _ in couples], [document for _, document in couples], logit)


def _without_people(sample: Sample) -> list[Couple]:
    """Pairs of the role `train` of which no person has spoken."""
    alone = np.setdiff1d(np.flatnonzero(sample.role == Role.TRAIN), sample.settled.pair)
    return [(sample.labels.pairs[i].query, sample.labels.pairs[i].document) for i in alone.tolist()]


def _made(sample: Sample, setting: Setting, encoder: Encoder, lexicon: Lexicon) -> list[Couple]:
    """Pairs that nobody labelled, from the texts of the role `train`."""
    train = np.flatnonzero(sample.role == Role.TRAIN).tolist()
    pairs = [sample.labels.pairs[i] for i in train]
    documents = distinct([pair.document for pair in pairs])
    queries = {sample.query[i]: sample.labels.pairs[i].query for i in train}
    field = setting.template.query[0].field
    wanted, seed = setting.augment, setting.seed
    titles = [title for one in documents if (title := one.get(lexicon.fields.title) or one.get(FLAT_FIELD))]
    by_title = {one.get(lexicon.fields.title) or one.get(FLAT_FIELD): one for one in documents}
    excluding = exclusions(titles, n=wanted.exclusions, language=lexicon.language, field=field, seed=seed)
    made = [
        *crossed(queries, documents, encoder, n=wanted.mismatches, seed=seed),
        *pseudo_queries(documents, encoder, n=wanted.pseudo_queries, lexicon=lexicon, field=field, seed=seed),
        *((example.query, by_title[next(iter(example.document.values()))]) for example in excluding),
    ]
    return _unlabelled(made, sample, setting.template)


def _unlabelled(made: Sequence[Couple], sample: Sample, template: PairTemplate) -> list[Couple]:
    """Without those that came out as a pair of the labels, or with a query of a role that judges.

    A teacher that learned from them would tell what it remembers: documents near a query are those that were
    labelled for it. Of 14,000 pairs crossed from 3,898 real shopping pairs of 88 queries it was 24%, and of the 80
    documents nearest to a query 47%.
    """
    labelled = set(zip(sample.query, sample.document, strict=True))
    judging = {query for query, role in sample.roles.by_query.items() if role is not Role.TRAIN}
    texts = texts_of([query for query, _ in made], [document for _, document in made], template)
    return [
        couple
        for couple, text in zip(made, texts, strict=True)
        if text not in labelled and digest(text[0]) not in judging
    ]


def _texts(couples: Sequence[Couple], template: PairTemplate) -> list[str]:
    """The query texts, as the encoder reads them."""
    return [text for text, _ in texts_of([q for q, _ in couples], [d for _, d in couples], template)]


def texts_of(
    queries: Sequence[Fields], documents: Sequence[Fields], template: PairTemplate, source: str = "labels"
) -> list[tuple[str, str]]:
    """Query and document text of each pair; raises DataRefused where the template finds none."""
    return compose(
        [Pair(*pair, None, None) for pair in zip(queries, documents, strict=True)], template, source
    )

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.errors import DataRefused
from actors.learn.labels import Columns, Label, Labels, Pair, Sampling, Source
from actors.learn.reading import read_labels
from actors.learn.roles import Role, Roles
from actors.learn.sample import Sample
from actors.pairs import Fields, PairTemplate, Part
from actors.rubric import SEVERE_OR_NOT, Rubric

TEMPLATE = PairTemplate()


def label(
    place: int, *, severe: bool = False, source: Source = Source.HUMAN, sampling: Sampling = Sampling.RANDOM
) -> Label:
    return Label(
        place, source, "ann", "severe" if severe else "fine", float(severe), sampling, adjudicated=False
    )


def pair(query: str, cluster: str | None = None, document: str = "a kettle") -> Pair:
    return Pair({"text": query}, {"text": document}, cluster, None)


def labelled(pairs: list[Pair], rows: list[Label]) -> Labels:
    return Labels(SEVERE_OR_NOT, tuple(pairs), tuple(rows))


def words(n: int) -> list[str]:
    """Queries that share nothing."""
    return [f"{chr(97 + i % 26) * 4}{chr(97 + i // 26) * 4}" for i in range(n)]


@pytest.fixture
def many() -> Labels:
    pairs = [pair(text) for text in words(60)]
    return labelled(pairs, [label(i, severe=i % 3 == 0) for i in range(60)])


def test_every_pair_has_a_role_and_every_role_has_pairs(many: Labels) -> None:
    sample = Sample.of(many, TEMPLATE)
    assert {*sample.role.tolist()} == {*Role}
    assert sum(len(sample.people(role)) for role in Role) == 60


def test_a_cluster_without_people_only_trains(many: Labels) -> None:
    more = labelled(
        [*many.pairs, *(pair(text[::-1] + "1234") for text in words(40))],
        [*many.rows, *(label(60 + i, source=Source.JUDGE) for i in range(40))],
    )
    sample = Sample.of(more, TEMPLATE)
    lonely = ~np.isin(sample.cluster, sample.cluster[:60])
    assert lonely.any()
    assert {*sample.role[lonely].tolist()} == {Role.TRAIN}


def test_known_queries_that_are_not_in_the_labels_stay_recorded(many: Labels) -> None:
    known = Roles({"0123456789abcdef": Role.TRAIN})
    sample = Sample.of(many, TEMPLATE, known=known)

    assert sample.roles.by_query["0123456789abcdef"] is Role.TRAIN
    assert len(sample.roles.by_query) == 61


def test_known_roles_stay_whatever_the_seed(many: Labels) -> None:
    before = Sample.of(many, TEMPLATE, seed=0)
    assert Sample.of(many, TEMPLATE, seed=1).role.tolist() != before.role.tolist()
    assert Sample.of(many, TEMPLATE, seed=1, known=before.roles).role.tolist() == before.role.tolist()


def test_declared_clusters_are_taken_and_joined_by_a_common_query() -> None:
    shared = words(1)[0]
    pairs = [pair(text, cluster="one") for text in words(3)] + [pair(shared, cluster="two", document="tea")]
    pairs += [pair(f"{text}q", cluster=text) for text in words(40)]
    sample = Sample.of(labelled(pairs, [label(i, severe=i % 2 == 0) for i in range(len(pairs))]), TEMPLATE)
    assert len({*sample.cluster[:4].tolist()}) == 1
    assert len({*sample.cluster.tolist()}) == 41


def test_clusters_that_only_some_pairs_declare_are_refused() -> None:
    labels = labelled([pair("a kettle", "one"), pair("tea", None)], [label(0), label(1, severe=True)])
    with pytest.raises(DataRefused, match="1 of 2 pairs have no cluster"):
        Sample.of(labels, TEMPLATE)


def test_a_pair_without_text_for_the_template_is_refused() -> None:
    template = PairTemplate(query=(Part("brief"),))
    labels = labelled([pair("a kettle"), pair("tea")], [label(0), label(1, severe=True)])
    with pytest.raises(
        DataRefused, match=r"labels.parquet: a pair cannot .*query \{'text': 'a kettle'\}, document"
    ):
        Sample.of(labels, template, source="labels.parquet")


def test_nothing_but_training_rests_on_pairs_chosen_by_score(many: Labels) -> None:
    rows = [
        label(i, severe=i % 3 == 0, sampling=Sampling.BY_SCORE if i < 5 else Sampling.RANDOM)
        for i in range(60)
    ]
    sample = Sample.of(labelled(list(many.pairs), rows), TEMPLATE)
    assert {*sample.role[:5].tolist()} == {Role.TRAIN}
    assert all(sample.people(role).random.all() for role in Role if role is not Role.TRAIN)


def test_real_pairs_keep_their_clusters_apart(shopping_pairs: Path) -> None:
    fields: Fields = {"title": "title", "brand": "brand"}
    rubric = Rubric({"E": 1.0, "S": 0.1, "C": 0.01, "I": 0.0}, frozenset({"I"}))
    labels = read_labels([shopping_pairs], Columns(document=fields, level="esci_label"), rubric)
    sample = Sample.of(labels, PairTemplate(document=(Part("title"),)))
    of_cluster = {
        number: {*sample.role[sample.cluster == number].tolist()} for number in {*sample.cluster.tolist()}
    }
    assert all(len(found) == 1 for found in of_cluster.values())

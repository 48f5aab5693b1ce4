from __future__ import annotations

from dataclasses import replace

import pytest

from actors.bundle import Bundle, write_bundle
from actors.errors import DataRefused
from actors.learn.eligible import refuse_learned, to_judge, to_prove, unused_by
from actors.learn.labels import Sampling, Source
from actors.learn.roles import Role, Roles, digest
from actors.learn.sample import Sample
from actors.pairs import PairTemplate
from tests.learn.labelled import labels, together, words
from tests.model_folders import model_stand_in, plain_manifest

QUERIES = dict(zip(Role, ([*words(50)[10 * i : 10 * i + 10]] for i in range(5)), strict=True))
NEW = words(20, seed=1)
MANIFEST = plain_manifest()


@pytest.fixture
def bundles(tmp_path):
    """One that records its roles, and one that does not."""
    (tmp_path / "model").mkdir()
    folder = model_stand_in(tmp_path / "model")
    roles = Roles({digest(query): role for role, queries in QUERIES.items() for query in queries})
    recorded = {"roles.json": roles.to_bytes()}
    return (
        write_bundle(tmp_path / "with", model_folder=folder, manifest=MANIFEST, files=recorded),
        write_bundle(tmp_path / "without", model_folder=folder, manifest=MANIFEST),
    )


@pytest.fixture
def bundle(bundles) -> Bundle:
    return bundles[0]


def every():
    return [query for queries in QUERIES.values() for query in queries]


def test_only_the_role_test_judges_unless_another_is_named(bundle):
    mixed = labels([*every(), *NEW])

    assert set(to_judge(bundle, mixed).query) == set(QUERIES[Role.TEST])
    two = to_judge(bundle, mixed, roles=(Role.TRAIN, Role.DEV))
    assert set(two.query) == {*QUERIES[Role.TRAIN], *QUERIES[Role.DEV]}


def test_a_query_that_is_like_a_known_one_has_its_role(bundle):
    learned = QUERIES[Role.TRAIN][0]
    near = f"{learned}s"

    assert near not in to_judge(bundle, labels([*QUERIES[Role.TEST], learned, near])).query
    with pytest.raises(DataRefused, match="2 train"):
        to_judge(bundle, labels([*NEW, learned, near]), everything=True)


def test_no_query_of_the_role_is_refused_with_the_roles_that_there_are(bundle):
    with pytest.raises(DataRefused, match=r"role test in .* they are: 10 dev, 20 unknown\. Name another"):
        to_judge(bundle, labels([*QUERIES[Role.DEV], *NEW]))


def test_data_that_the_bundle_never_saw_judges_it_whole(bundle):
    assert set(to_judge(bundle, labels(NEW), everything=True).query) == set(NEW)
    assert len(to_judge(bundle, labels([*NEW, *QUERIES[Role.TEST]]), everything=True)) == 180


@pytest.mark.parametrize("role", [Role.TRAIN, Role.DEV, Role.MAP, Role.THRESHOLD])
def test_data_that_the_bundle_has_used_is_refused_as_data_that_it_never_saw(bundle, role):
    with pytest.raises(DataRefused, match=f"10 {role}. What it learned from cannot judge it"):
        to_judge(bundle, labels([*NEW, *QUERIES[role]]), everything=True)


def test_a_bundle_that_records_no_roles_is_judged_by_data_that_it_is_said_never_to_have_seen(bundles):
    with pytest.raises(DataRefused, match="does not record which queries"):
        to_judge(bundles[1], labels(NEW))
    assert len(to_judge(bundles[1], labels(NEW), everything=True)) == 120


def test_pairs_that_a_score_chose_judge_nothing(bundle):
    chosen = labels(NEW[:5], sampling=Sampling.BY_SCORE)

    assert set(to_judge(bundle, together(labels(NEW[5:]), chosen), everything=True).query) == set(NEW[5:])
    with pytest.raises(DataRefused, match="0 of a probability sample"):
        to_judge(bundle, chosen, everything=True)


def test_what_one_bundle_was_judged_by_may_be_what_another_learned_from(bundles, tmp_path):
    turned = {digest(query): Role.TRAIN for query in QUERIES[Role.TEST][:4]}
    files = {"roles.json": Roles(turned).to_bytes()}
    other = write_bundle(tmp_path / "other", model_folder=bundles[0].path, manifest=MANIFEST, files=files)
    these = labels(every())
    people = to_judge(bundles[0], these)

    assert set(unused_by(other, people, these).query) == set(QUERIES[Role.TEST][4:])
    assert len(unused_by(other, people, these, roles=(Role.TRAIN,))) == len(people)
    assert len(unused_by(bundles[1], people, these)) == len(people)


def test_what_the_other_bundle_knows_of_a_judge_alone_is_found_too(bundles, tmp_path):
    """A query that was like one which it learned from judged it, as long as no person had labelled that one."""
    test = QUERIES[Role.TEST]
    learned = f"{test[0]}s"
    files = {"roles.json": Roles({digest(learned): Role.TRAIN}).to_bytes()}
    other = write_bundle(tmp_path / "other", model_folder=bundles[0].path, manifest=MANIFEST, files=files)
    judged = labels([learned])
    judged = replace(judged, rows=tuple(replace(row, source=Source.JUDGE) for row in judged.rows))
    these = together(labels(test), judged)
    people = to_judge(bundles[1], these, everything=True)

    assert set(people.query) == set(test)
    assert set(unused_by(other, people, these).query) == set(test[1:])


def test_thresholds_rest_on_their_role_and_the_role_test_is_there_to_judge(bundle):
    proving = to_prove(bundle, labels(every()))

    assert set(proving.people.query) == set(QUERIES[Role.THRESHOLD])
    assert set(proving.test.query) == set(QUERIES[Role.TEST])
    assert not proving.fresh
    assert len(proving.roles.by_query) == 50


def test_thresholds_rest_on_new_labels_whole_and_the_child_records_them(bundles):
    for bundle, n_known in zip(bundles, (50, 0), strict=True):
        proving = to_prove(bundle, labels(NEW))

        assert set(proving.people.query) == set(NEW)
        assert proving.test is None
        assert proving.fresh
        assert proving.on_trust is (n_known == 0)
        assert len(proving.roles.by_query) == n_known + 20
        assert {proving.roles.by_query[digest(query)] for query in NEW} == {Role.THRESHOLD}


def test_labels_of_the_role_may_grow(bundle):
    proving = to_prove(bundle, labels([*QUERIES[Role.THRESHOLD], *NEW]))

    assert set(proving.people.query) == {*QUERIES[Role.THRESHOLD], *NEW}
    assert not proving.fresh


@pytest.mark.parametrize("role", [Role.TRAIN, Role.DEV, Role.MAP, Role.TEST])
def test_new_labels_mixed_with_used_ones_are_refused(bundle, role):
    with pytest.raises(DataRefused, match=f"10 {role}, 20 unknown"):
        to_prove(bundle, labels([*QUERIES[role], *NEW]))


def test_labels_without_the_role_threshold_are_refused(bundle):
    with pytest.raises(DataRefused, match="they are: 10 train, 10 test"):
        to_prove(bundle, labels([*QUERIES[Role.TRAIN], *QUERIES[Role.TEST]]))


def test_thresholds_never_rest_on_pairs_that_a_score_chose(bundle):
    chosen = labels(QUERIES[Role.THRESHOLD], sampling=Sampling.BY_SCORE)
    mixed = together(labels(QUERIES[Role.TEST]), chosen)

    with pytest.raises(DataRefused, match="of a probability sample"):
        to_prove(bundle, mixed)


@pytest.mark.parametrize("role", [Role.MAP, Role.THRESHOLD, Role.TEST])
def test_a_teacher_that_learned_what_judges_its_student_is_refused(bundles, role):
    """It would hand on the labels that the promise rests on."""
    taught, one_of_them = labels(every()), QUERIES[Role.DEV][0]
    same = Roles({digest(query): has for has, queries in QUERIES.items() for query in queries})
    other = Roles({**same.by_query, digest(one_of_them): role})

    refuse_learned(bundles[0].path, Sample.of(taught, PairTemplate(), known=same))
    refuse_learned(bundles[1].path, Sample.of(taught, PairTemplate(), known=other))
    with pytest.raises(DataRefused, match=r"or to prove thresholds: 1 dev\. Let all queries keep"):
        refuse_learned(bundles[0].path, Sample.of(taught, PairTemplate(), known=other))

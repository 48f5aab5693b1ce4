from __future__ import annotations

from dataclasses import replace

from actors.learn.agreement import among_people, compare_judges
from actors.learn.labels import Label, Pair, Sampling, Source
from actors.learn.problems import Kind, Problem, find_problems
from actors.learn.repeats import find_leakage, group_queries
from actors.learn.roles import Role
from tests.label_sets import by_judge, by_people, label, labels, pairs, sample

ALL_TRAIN = {Role.TRAIN: 1.0}


def blocked(of: list[Pair], *rows: Label, needed=tuple(Role), **options) -> tuple[Problem, ...]:
    found = sample(labels(of, *rows), **options)
    people, leakage = among_people(found.labels), find_leakage(found, group_queries(found)[0])
    return find_problems(found, people, compare_judges(found), leakage, needed=needed)


def kinds(found: tuple[Problem, ...]) -> set[Kind]:
    return {problem.kind for problem in found}


def test_a_judge_that_nobody_checked_blocks():
    of = pairs()
    found = blocked(of, *by_people(of[:300]), *by_judge(of, name="gpt", n=360)[290:])

    assert kinds(found) == {Kind.OVERLAP}
    (problem,) = found
    assert "judge gpt" in problem.said
    assert "10 of a random sample" in problem.said
    assert "let people label 20 more" in problem.what_to_do


def test_very_many_judges_are_few_problems():
    of = pairs()
    one_each = [replace(row, annotator=f"call {i}") for i, row in enumerate(by_judge(of))]
    found = blocked(of, *by_people(of), *one_each)

    assert kinds(found) == {Kind.OVERLAP}
    assert len(found) == 6
    assert "355 further judges" in found[-1].said


def test_an_overlap_of_one_kind_blocks():
    of = pairs()
    said = [i for i in range(len(of)) if i % 3][:60]
    found = blocked(of, *by_people(of), *(label(i, "good", "gpt", source=Source.JUDGE) for i in said))

    assert kinds(found) == {Kind.OVERLAP}
    assert "people say the same of all 60 pairs" in found[0].said


def test_an_overlap_that_training_could_not_use_blocks():
    """The audit let it pass, as other roles had enough of it, and training refused it."""
    of = pairs()
    roles = sample(labels(of, *by_people(of))).role
    few = [i for i in range(len(of)) if roles[i] == Role.TRAIN][:20]
    others = [i for i in range(len(of)) if roles[i] != Role.TRAIN]
    judged = [row for row in by_judge(of) if row.pair in {*few, *others}]
    found = blocked(of, *by_people(of), *judged)

    assert len(others) > 100
    assert kinds(found) == {Kind.OVERLAP}
    assert "judge gpt, of which training learns from the role train alone: 20 pairs" in found[0].said
    assert blocked(of, *by_people(of), *(row for row in judged if row.pair in others)) == ()


def test_people_or_a_judge_who_toss_coins_block():
    of = pairs()
    coins = [replace(row, source=Source.HUMAN, annotator="bob") for row in by_judge(of, right=0.0)]

    assert kinds(blocked(of, *by_people(of), *coins)) == {Kind.CHANCE}
    assert kinds(blocked(of, *by_people(of), *by_judge(of, right=0.0))) == {Kind.CHANCE}


def test_what_a_later_role_knows_beforehand_blocks():
    of = [replace(one, cluster=f"{i // 6}") for i, one in enumerate(pairs())]
    twins = [
        replace(one, query={"text": one.query["text"] + "s"}, cluster=f"{i // 6}s")
        for i, one in enumerate(of)
    ]
    queries = blocked([*of, *twins], *by_people([*of, *twins]))
    same = [replace(one, document={"text": f"thing {i % 6}"}) for i, one in enumerate(pairs())]
    documents = blocked(same, *(label(i, "bad" if i % 3 == 0 else "good") for i in range(len(same))))

    for found, what in ((queries, "query alike"), (documents, "document that")):
        assert kinds(found) == {Kind.LEAKAGE}
        assert any(what in problem.said for problem in found)


def test_a_role_with_one_kind_of_pairs_blocks():
    of = pairs()
    first = sample(labels(of, *by_people(of)))
    rows = [
        label(i, "good" if first.role[i] == Role.MAP else row.level) for i, row in enumerate(by_people(of))
    ]
    found = blocked(of, *rows)

    assert kinds(found) == {Kind.SINGLE_CLASS}
    assert f"pairs of {Role.MAP} are not severe" in found[0].said


def test_too_few_clusters_block_and_each_role_is_counted():
    of = pairs(n_clusters=1)
    found = blocked(of, *by_people(of), shares=ALL_TRAIN)

    assert kinds(found) == {Kind.CLUSTERS}
    assert "train 1, dev 0, map 0, threshold 0, test 0" in found[0].said


def test_a_role_that_is_not_needed_needs_no_cluster():
    of = pairs()

    assert blocked(of, *by_people(of), shares=ALL_TRAIN, needed=[Role.TRAIN]) == ()


def test_labels_of_a_judge_alone_block():
    of = pairs()

    assert kinds(blocked(of, *by_judge(of), shares=ALL_TRAIN)) == {Kind.OVERLAP, Kind.CLUSTERS}


def test_pairs_chosen_by_score_carry_nothing_but_training():
    of = pairs()
    rows = [replace(row, sampling=Sampling.BY_SCORE) for row in by_people(of)]

    assert kinds(blocked(of, *rows, shares=ALL_TRAIN)) == {Kind.CLUSTERS}

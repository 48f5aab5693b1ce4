import json

import numpy as np
import pytest

from actors.bundle import OPTIONAL_FILES
from actors.errors import BundleProblem, DataRefused
from actors.learn.roles import ROLES_FILE, SHARES, Role, Roles, assign, digest, read_roles

QUERIES = [f"query {i}" for i in range(1000)]
NUMBERS = np.arange(1000)
RANDOM = np.ones(1000, bool)


def test_roles_come_in_about_their_shares():
    roles = assign(QUERIES, NUMBERS, RANDOM)

    for role, share in SHARES.items():
        found = sum(has is role for has in roles.by_query.values()) / 1000
        assert found == pytest.approx(share, abs=0.04)


def test_queries_of_one_cluster_have_one_role():
    cluster = NUMBERS // 10
    roles = assign(QUERIES, cluster, RANDOM)

    for number in range(100):
        assert len({roles.by_query[digest(QUERIES[i])] for i in np.flatnonzero(cluster == number)}) == 1


def test_a_cluster_keeps_its_role_when_others_are_added():
    few = assign(QUERIES[:300], NUMBERS[:300], RANDOM[:300])
    many = assign(QUERIES, NUMBERS + 7, RANDOM)

    assert all(many.by_query[key] is role for key, role in few.by_query.items())


def test_another_seed_is_another_draw():
    assert assign(QUERIES, NUMBERS, RANDOM, seed=1) != assign(QUERIES, NUMBERS, RANDOM)


def test_what_was_gathered_by_score_can_only_train():
    random = RANDOM.copy()
    random[:400] = False
    roles = assign(QUERIES, NUMBERS, random)

    assert {roles.by_query[digest(query)] for query in QUERIES[:400]} == {Role.TRAIN}


def test_too_few_clusters_are_refused_with_their_number_and_what_to_do():
    with pytest.raises(
        DataRefused, match=r"^labels: 3 clusters of queries, 3 of .* leave none for .*; label more"
    ):
        assign(QUERIES[:3], NUMBERS[:3], RANDOM[:3])


def test_a_role_without_a_share_may_stay_empty():
    shares = dict.fromkeys(Role, 0.0) | {Role.TRAIN: 1.0}

    assert set(assign(QUERIES[:3], NUMBERS[:3], RANDOM[:3], shares=shares).by_query.values()) == {Role.TRAIN}


def test_roles_come_back_equal_through_json_and_hold_no_text():
    roles = assign(QUERIES, NUMBERS, RANDOM)
    text = json.dumps(roles.to_json())

    assert Roles.from_json(json.loads(text)) == roles
    assert "query" not in text
    with pytest.raises(ValueError, match="two roles"):
        Roles.from_json(roles.to_json() | {"test": roles.to_json()["train"]})


def test_later_data_inherits_the_roles_and_what_was_trained_on_never_becomes_a_test():
    roles = Roles({digest("red kettle"): Role.TEST, digest("lamp"): Role.TRAIN, digest("pan"): Role.MAP})
    queries = ["Red  kettle", "red kettles", "lamp", "pan", "hose"]

    assert roles.inherit(queries, np.array([0, 0, 1, 2, 3])) == [
        Role.TEST,
        Role.TEST,
        Role.TRAIN,
        Role.MAP,
        None,
    ]
    assert roles.inherit(queries, np.array([0, 0, 0, 2, 3]))[:3] == [Role.TRAIN] * 3


def test_a_bundle_records_its_roles(tmp_path):
    assert ROLES_FILE in OPTIONAL_FILES
    assert read_roles(tmp_path) is None
    roles = assign(QUERIES, NUMBERS, RANDOM)
    (tmp_path / ROLES_FILE).write_bytes(roles.to_bytes())
    assert read_roles(tmp_path) == roles


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"train": 1}'])
def test_roles_that_are_none_are_refused(tmp_path, text):
    (tmp_path / ROLES_FILE).write_text(text)
    with pytest.raises(BundleProblem, match=r"roles\.json is malformed"):
        read_roles(tmp_path)

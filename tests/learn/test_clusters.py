import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.learn.clusters import clusters

QUERIES = ["red kettle", "Red  Kettle", "red kettles", "garden hose", "garden hoses 20m", "phone case"]


def together(numbers):
    return [{i for i, other in enumerate(numbers) if other == number} for number in numbers]


def test_near_duplicates_share_a_cluster_and_others_do_not():
    numbers = clusters(QUERIES)

    assert numbers[0] == numbers[1] == numbers[2]
    assert len({numbers[0], numbers[3], numbers[5]}) == 3


def test_the_examples_of_the_threshold_are_as_stated():
    assert len(set(clusters(["red kettles", "kettle red"]))) == 1
    assert len(set(clusters(["kettle for tea", "kettle for coffee"]))) == 2


@given(st.permutations(range(len(QUERIES))))
def test_the_order_of_the_queries_does_not_matter(order):
    numbers = clusters(QUERIES)
    moved = clusters([QUERIES[i] for i in order])

    assert together(numbers[list(order)]) == together(moved)


@given(st.lists(st.sampled_from([*QUERIES, "kettle red", "hose", "", "wx"]), max_size=8))
def test_adding_queries_never_parts_a_cluster(more):
    before = clusters(QUERIES)
    after = clusters(QUERIES + more)[: len(QUERIES)]

    for number in set(before.tolist()):
        assert len(set(after[before == number].tolist())) == 1


def test_clusters_connect_through_the_queries_between():
    chain = ["blue cotton shirt", "blue cotton shirts", "blue cotton shirts xl"]

    assert len(set(clusters(chain, alike=0.88))) == 1
    assert len(set(clusters([chain[0], chain[2]], alike=0.88))) == 2


def test_no_queries_have_no_clusters():
    assert clusters([]).shape == (0,)


def test_numbers_follow_the_first_appearance():
    assert clusters(["b", "a", "b"]).tolist() == [0, 1, 0]
    assert clusters(["b", "a", "b"]).dtype == np.int64

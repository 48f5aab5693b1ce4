"""What everything that calls itself a `Transactor` owes to the publisher."""

from __future__ import annotations

import pytest

from pipeline.errors import Fenced, InvariantBroken
from tests.messages import batch


def initialised(cluster):
    transactor = cluster.transactor()
    transactor.init()
    return transactor


def transact(cluster, transactor, values, offset):
    transactor.begin()
    for value in values:
        transactor.send(cluster.source, batch(value))
    transactor.confirm()
    transactor.commit_offsets({cluster.source: offset}, cluster.outsider())
    transactor.commit()


def test_messages_and_offsets_become_visible_together(cluster):
    transactor = initialised(cluster)

    transact(cluster, transactor, [b"a", b"b"], 2)
    transact(cluster, transactor, [], 3)
    transact(cluster, transactor, [b"c"], 4)

    assert cluster.visible() == [b"a", b"b", b"c"]
    assert cluster.committed() == {cluster.source: 4}


def test_what_is_not_committed_is_never_visible(cluster):
    unfinished = initialised(cluster)
    unfinished.begin()
    unfinished.send(cluster.source, batch(b"never"))
    unfinished.confirm()
    unfinished.commit_offsets({cluster.source: 9}, cluster.outsider())

    initialised(cluster)

    assert cluster.visible() == []
    assert cluster.committed() == {}


def test_a_successor_fences(cluster):
    predecessor, successor = initialised(cluster), initialised(cluster)

    with pytest.raises(Fenced):
        transact(cluster, predecessor, [b"zombie"], 1)
    transact(cluster, successor, [b"right"], 1)

    assert not predecessor.reusable
    assert cluster.visible() == [b"right"]


@pytest.mark.parametrize("verb", ["confirm", "commit"])
def test_verbs_out_of_order_are_defects(cluster, verb):
    transactor = initialised(cluster)

    with pytest.raises(InvariantBroken):
        getattr(transactor, verb)()
    transactor.begin()
    with pytest.raises(InvariantBroken):
        transactor.begin()


def test_a_batch_that_fits_no_request_spends_it(cluster):
    transactor = initialised(cluster)
    transactor.begin()

    with pytest.raises(InvariantBroken):
        transactor.send(cluster.source, batch(bytes(2 << 20)))
    assert not transactor.reusable
    with pytest.raises(InvariantBroken):
        transactor.begin()


def test_nothing_goes_after_closing(cluster):
    transactor = initialised(cluster)
    transactor.close()

    assert not transactor.reusable

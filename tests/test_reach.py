from __future__ import annotations

import pytest

from pipeline.errors import BeyondEnd, TransientError
from pipeline.kafka.member import Ends
from pipeline.reach import Reach
from pipeline.records import TopicPartition

A, B = TopicPartition("in", 0), TopicPartition("in", 1)


def test_what_is_behind_is_counted_to_what_can_be_read_and_of_what_was_looked_at() -> None:
    reach = Reach()
    assert reach.behind({A: 0}) == 0
    reach.look({A: Ends(7, 12)}, {A: 5, B: 3})
    assert reach.readable == {A: 7}
    assert reach.behind({A: 5, B: 3}) == 2
    assert reach.behind({A: 9}) == 0, "another tool may have set it beyond a transaction that is still open"


def test_a_partition_without_a_leader_is_told_of_again_only_after_it_had_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reach = Reach()
    for ends in ({A: Ends(7, 7)}, {A: Ends(7, 7)}, {A: Ends(7, 7), B: Ends(3, 3)}, {A: Ends(7, 7)}):
        reach.look(ends, {A: 5, B: 3})
    assert reach.without_leader == {B}
    assert caplog.text.count("in[1]@3: the partition has no leader") == 2


def test_an_end_before_what_is_committed_ends_the_session_and_the_gate_the_second_time() -> None:
    reach = Reach()
    with pytest.raises(TransientError, match=r"in\[0\].*it ends at 4, and 5 is committed"):
        reach.look({A: Ends(4, 4)}, {A: 5})
    reach.forget_ends()
    with pytest.raises(BeyondEnd, match=r"in\[0\]@5 is committed, and the partition ends at 4"):
        reach.look({A: Ends(4, 4)}, {A: 5})


@pytest.mark.parametrize("settles", [Reach.commits, lambda reach: reach.look({A: Ends(5, 5)}, {A: 5})])
def test_what_was_in_order_since_is_asked_about_anew(settles) -> None:
    reach = Reach()
    for _ in range(2):
        with pytest.raises(TransientError):
            reach.look({A: Ends(4, 4)}, {A: 5})
        settles(reach)

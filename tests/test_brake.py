from __future__ import annotations

import pytest

from pipeline.brake import Brake
from pipeline.note import Note
from pipeline.records import Counts, TopicPartition

A, B = TopicPartition("in", 0), TopicPartition("in", 1)
BRAKED = str(Note(braked=True))


def counts(*, prune: int, pass_: int = 0, review: int = 0) -> Counts:
    return Counts(prune=prune, review=review, pass_=pass_)


def test_it_trips_once_the_window_is_full_and_too_much_of_it_would_be_pruned() -> None:
    brake = Brake(max_share=0.2, window=100)
    assert not brake.judge(counts(prune=30, pass_=60))
    assert not brake.on, "90 candidates are fewer than it judges"
    assert brake.judge(counts(prune=0, pass_=10))
    assert brake.on


def test_the_largest_share_allowed_does_not_trip_it() -> None:
    brake = Brake(max_share=0.2, window=100)
    assert not brake.judge(counts(prune=20, pass_=40, review=40))


def test_it_trips_once_and_holds_until_it_is_lifted() -> None:
    brake = Brake(max_share=0.2, window=10)
    assert brake.judge(counts(prune=10))
    assert not brake.judge(counts(prune=10))
    assert not brake.judge(counts(prune=0, pass_=1000))
    assert brake.on
    brake.lift()
    assert not brake.on
    assert brake.share is None
    assert not brake.judge(counts(prune=1, pass_=9))


def test_what_left_the_window_counts_no_more() -> None:
    brake = Brake(max_share=0.5, window=100)
    brake.judge(counts(prune=50, pass_=50))
    brake.judge(counts(prune=0, pass_=100))
    assert brake.share == 0.0


def test_rejects_are_not_judged() -> None:
    brake = Brake(max_share=0.2, window=10)
    assert not brake.judge(Counts(rejected=100, records=100))
    assert brake.share is None


def test_rejects_are_not_kept_either() -> None:
    """The window never filled where nothing was scored, so nothing ever left it: one entry more for each claim."""
    brake = Brake(max_share=0.2, window=10)
    brake.judge(counts(prune=0, pass_=5))
    for _ in range(100):
        brake.judge(Counts(rejected=100, records=100))
    assert len(brake._counts) == 1
    brake.forget()
    assert brake.share is None


def test_what_was_judged_and_never_committed_counts_once_when_it_comes_again() -> None:
    """After a rebalance the same candidates were counted twice: ten of them filled a window of twenty."""
    brake = Brake(max_share=0.2, window=20)
    brake.judge(counts(prune=0, pass_=5))
    brake.keep()
    brake.judge(counts(prune=5))
    brake.forget()
    assert brake.share == 0.0
    assert not brake.judge(counts(prune=5))
    brake.forget()
    assert not brake.judge(counts(prune=5))
    brake.keep()
    brake.forget()
    assert brake.share == 0.5


def test_forgetting_more_than_the_window_holds_leaves_it_empty() -> None:
    brake = Brake(max_share=1.0, window=10)
    for _ in range(5):
        brake.judge(counts(prune=0, pass_=10))
    brake.forget()
    assert brake.share is None


def tripped() -> Brake:
    brake = Brake(max_share=0.2, window=10)
    brake.take_over([A, B], {})
    assert brake.judge(counts(prune=10))
    return brake


@pytest.mark.parametrize(
    "note", ["", " ", "braked", "sluice/1", "sluice/1 brakedly", "sluice/2 braked", "a\x00"]
)
def test_a_note_that_is_not_its_own_says_nothing(note: str) -> None:
    brake = Brake(max_share=0.2, window=10)
    assert brake.take_over([A], {A: note}) == []
    assert not brake.on


def test_one_partition_that_was_braked_puts_it_on_for_all() -> None:
    brake = Brake(max_share=0.2, window=10)
    assert brake.take_over([A, B], {B: BRAKED}) == [B]
    assert brake.on
    assert brake.share is None, "the window was the predecessor's"
    assert brake.unnoted == {A}
    brake.keep_note()
    assert brake.unnoted == set()
    assert brake.take_over([A, B], dict.fromkeys([A, B], BRAKED)) == [], "that is no news"


def test_a_trip_and_a_lift_are_to_be_noted_with_every_partition() -> None:
    brake = tripped()
    assert brake.unnoted == {A, B}
    brake.keep_note()
    assert brake.unnoted == set()
    brake.lift()
    assert brake.unnoted == {A, B}
    brake.keep_note()
    assert brake.unnoted == set()


def test_a_lift_that_could_not_be_noted_is_not_taken_back_by_the_old_note() -> None:
    brake = tripped()
    braked = dict.fromkeys([A, B], BRAKED)
    brake.keep_note()
    brake.lift()
    assert brake.take_over([A, B], braked) == []
    assert not brake.on
    assert brake.unnoted == {A, B}
    brake.keep_note()
    assert brake.take_over([A, B], {B: braked[B]}) == [B], "another gate's brake tripped since"


def test_what_tripped_while_nothing_was_owned_is_noted_with_what_comes() -> None:
    brake = tripped()
    brake.take_over([], {})
    assert brake.unnoted == set()
    brake.take_over([B], {})
    assert brake.unnoted == {B}


def test_a_note_that_comes_back_after_a_lift_is_another_gate_s_and_counts() -> None:
    """A lift whose answer was lost was remembered for ever, and wiped out what tripped elsewhere afterwards."""
    brake = tripped()
    braked = dict.fromkeys([A, B], BRAKED)
    brake.keep_note()
    brake.lift()
    assert brake.take_over([A], {}) == [], "the lift was committed after all, and B is another gate's now"
    assert brake.take_over([A, B], {B: braked[B]}) == [B]
    assert brake.on


def test_in_the_middle_of_a_rebalance_a_lift_is_remembered() -> None:
    brake = tripped()
    braked = dict.fromkeys([A, B], BRAKED)
    brake.keep_note()
    brake.lift()
    assert brake.take_over([], {}, settled=False) == []
    assert brake.take_over([A, B], braked) == []
    assert not brake.on

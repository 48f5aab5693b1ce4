from __future__ import annotations

from pipeline.brake import Brake
from pipeline.records import Counts


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

from __future__ import annotations

from pipeline.arrivals import N_LOOKS, Arrivals
from pipeline.records import TopicPartition
from tests.fakes import Clock

A, B = TopicPartition("in", 0), TopicPartition("in", 1)


def test_what_came_in_is_counted_over_the_time_that_was_asked_for() -> None:
    clock = Clock()
    arrivals = Arrivals(30.0, clock)
    counted = []
    for second in range(90):
        counted.append(arrivals.look({A: 1000 + 5 * min(second, 50), B: 7}))
        clock.step(1.0)
    assert counted[:4] == [0, 5, 10, 15], "no more than was seen is claimed"
    assert counted[40] == 150
    assert counted[-1] == 0, "it came earlier"
    assert len(arrivals._looks) <= N_LOOKS + 1, "memory does not grow with time"


def test_however_often_it_looks_it_remembers_few() -> None:
    clock = Clock()
    arrivals = Arrivals(30.0, clock)
    for turn in range(2000):
        counted = arrivals.look({A: turn})
        clock.step(0.05)
    assert 570 <= counted <= 600
    assert len(arrivals._looks) <= N_LOOKS + 1


def test_partitions_that_come_and_go_are_no_arrivals() -> None:
    clock = Clock()
    arrivals = Arrivals(30.0, clock)
    arrivals.look({A: 1_000_000})
    clock.step(1.0)
    assert arrivals.look({B: 2_000_000}) == 0
    clock.step(1.0)
    assert arrivals.look({A: 1_000_010, B: 2_000_005}) == 10
    clock.step(29.0)
    assert arrivals.look({A: 1_000_010, B: 2_000_005}) == 5, "the look that knew only A is forgotten"


def test_after_a_long_silence_it_begins_anew() -> None:
    clock = Clock()
    arrivals = Arrivals(30.0, clock)
    arrivals.look({A: 0})
    clock.step(600.0)
    assert arrivals.look({A: 5000}) == 0

"""What a strike waits for, and counts: verdicts that were under way do not end a recovery."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from tests.faults.stand import Scenario, Size
from tests.faults.watch import Watch

AWAY_S = 0.6


class Struck:
    """A scenario without brokers: after a strike some verdicts come, and after a while the rest, bit by bit."""

    def __init__(self, *rest: int, seeds: int = 1000) -> None:
        self._rest = rest
        self.watch = Watch(settings=None)
        self.scenario = Scenario(SimpleNamespace(group="g"), Size(seeds, 1), self.watch, in_flight=10)

    def see(self, n: int) -> None:
        record = SimpleNamespace(timestamp=time.time() * 1000, offset=0)
        self.watch._take({"out": [record] * n})

    def strike(self) -> None:
        threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        time.sleep(0.1)
        self.see(5)
        for n in self._rest:
            time.sleep(AWAY_S)
            self.see(n)


def test_a_recovery_lasts_until_more_came_than_was_in_flight() -> None:
    struck = Struck(20, 20, 20)  # who looks late finds more than the first of them, and waits for the next
    assert struck.scenario.strike(struck.strike) >= AWAY_S
    assert struck.scenario.recoveries[0] >= AWAY_S


def test_where_nobody_is_left_to_give_back_anything_the_next_verdict_ends_it() -> None:
    struck = Struck()
    struck.scenario.strike(struck.strike, in_flight=0)
    assert struck.watch.n_seen == 5


def test_a_strike_that_outlasted_the_seeds_fails() -> None:
    struck = Struck(seeds=100)
    with pytest.raises(AssertionError, match="the seeds ran out"):
        struck.scenario.strike(lambda: struck.see(95))


def test_the_rest_is_waited_for_as_long_as_it_comes() -> None:
    struck = Struck(20, seeds=25)
    struck.strike()
    struck.scenario.until_all()
    assert struck.watch.n_seen == 25

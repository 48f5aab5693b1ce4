from __future__ import annotations

from pipeline.metrics import Metrics
from pipeline.view import View
from tests.fakes import Clock


def view(clock: Clock | None = None) -> View:
    return View(Metrics(), stands_still_s=60.0, clock=clock or Clock())


def facts(*, not_ready: str | None = None, records: int = 0, lag: int = 0) -> dict[str, object]:
    return {"not_ready": not_ready, "records": records, "lag": lag}


def test_it_is_not_ready_until_it_is_told() -> None:
    shown = view()
    assert shown.not_ready() == "starting"
    shown.show(facts())
    assert shown.not_ready() is None
    assert shown.status()["ready"]
    shown.show(facts(not_ready="the pool is not warm"))
    assert shown.not_ready() == "the pool is not warm"
    assert not shown.status()["ready"]


def test_the_rate_is_records_over_the_time_that_they_took() -> None:
    clock = Clock()
    shown = view(clock)
    for second in range(60):
        clock.step(1.0)
        shown.show(facts(records=50 * second))
    assert shown.status()["records_per_s"] == 50.0
    assert len(shown._samples) < 20, "memory does not grow with time"


def test_the_lag_is_told_as_the_time_that_it_takes_at_that_rate() -> None:
    clock = Clock()
    shown = view(clock)
    shown.show(facts())
    assert shown.status()["drain_s"] == 0.0, "there is nothing to drain"
    shown.show(facts(lag=600))
    assert shown.status()["drain_s"] is None, "nobody can say"
    assert b"sluice_drain_seconds +Inf" in shown.exposition()
    clock.step(1.0)
    shown.show(facts(lag=500, records=100))
    assert shown.status()["drain_s"] == 5.0
    assert b"sluice_drain_seconds 5.0" in shown.exposition()


def test_a_loop_that_stands_still_is_not_alive() -> None:
    clock = Clock()
    shown = view(clock)
    clock.step(59)
    assert shown.alive()
    clock.step(2)
    assert not shown.alive()
    shown.turned()
    assert shown.alive()


def test_a_lift_that_was_asked_for_is_taken_once() -> None:
    shown = view()
    assert not shown.take_lift()
    shown.lift_brake()
    shown.lift_brake()
    assert shown.take_lift()
    assert not shown.take_lift()


def test_what_was_read_does_not_change_with_what_is_shown_later() -> None:
    shown = view()
    shown.show(facts(records=1))
    before = shown.status()
    shown.show(facts(records=2))
    assert before["records"] == 1

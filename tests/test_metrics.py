from __future__ import annotations

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.kafka.member import Ends
from pipeline.metrics import Metrics
from pipeline.records import Claim, Completed, Counts, Effort, Mode, Reason, TopicPartition
from tests.fakes import Clock

A, B = TopicPartition("in", 0), TopicPartition("in", 1)


def completed(**facts: object) -> Completed:
    return Completed(Claim(A, 0, 10, 1, Mode.ENFORCE), b"", **{"counts": Counts(), **facts})


def series(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every value, by name and the values of its labels (`partition` before `topic`)."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_transaction_is_counted_by_what_it_held() -> None:
    metrics = Metrics()
    batch = [
        completed(
            counts=Counts(prune=1, review=2, pass_=3, rejected=1, records=7), reasons={Reason.NOT_JSON: 1}
        ),
        completed(counts=Counts(pass_=4, records=4), lost=5),
    ]
    metrics.committed(batch, 0.25)
    seen = series(metrics)
    assert seen["sluice_commits_total",] == 1
    assert seen["sluice_records_total",] == 11
    assert [seen["sluice_verdicts_total", action] for action in ("prune", "review", "pass")] == [1, 2, 7]
    assert seen["sluice_rejects_total", "not_json"] == 1
    assert seen["sluice_lost_offsets_total",] == 5
    assert seen["sluice_stage_seconds_sum", "publish"] == 0.25


def test_latency_runs_from_the_oldest_record_to_the_commit() -> None:
    metrics = Metrics()
    metrics.committed([completed(oldest_ms=round(time.time() * 1000) - 2000)], 0.0)
    assert 1.9 <= series(metrics)["sluice_latency_seconds_sum",] < 100


def test_lag_counts_to_both_ends_and_forgets_partitions_that_went_away() -> None:
    metrics = Metrics()
    metrics.set_lag({A: 10, B: 0}, {A: Ends(30, 35), B: Ends(1, 1)})
    seen = series(metrics)
    assert seen["sluice_lag_stable_offsets", "0", "in"] == 20
    assert seen["sluice_lag_offsets", "0", "in"] == 25
    metrics.set_lag({A: 10}, {A: Ends(5, 5)})
    seen = series(metrics)
    assert seen["sluice_lag_offsets", "0", "in"] == 0, "never negative"
    assert ("sluice_lag_offsets", "1", "in") not in seen


def test_a_lag_that_is_told_again_is_there_all_the_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """All were taken away and told anew, twenty times a second: who read meanwhile found some or none."""
    metrics = Metrics()
    metrics.set_lag({A: 10, B: 0}, {A: Ends(30, 35), B: Ends(1, 1)})
    seen: list[int] = []
    lag, tell = metrics._lag, metrics._lag.labels

    def read_and_tell(*label: str) -> object:
        seen.append(sum(name == "sluice_lag_offsets" for name, *_ in series(metrics)))
        return tell(*label)

    monkeypatch.setattr(lag, "labels", read_and_tell)
    metrics.set_lag({A: 11, B: 0}, {A: Ends(30, 35), B: Ends(1, 1)})
    assert seen == [2, 2]


def test_one_mode_holds_at_a_time() -> None:
    metrics = Metrics()
    metrics.set_mode(Mode.ENFORCE, None)
    metrics.set_mode(Mode.BRAKED, 0.3)
    seen = series(metrics)
    assert [seen["sluice_mode", mode.value] for mode in Mode] == [0, 0, 1]
    assert seen["sluice_prune_share",] == 0.3


def test_replicas_that_fell_silent_count_no_more() -> None:
    """The gauge was set when a claim came back, so that an idle gate showed its last busy moment for ever."""
    clock = Clock()
    metrics = Metrics(clock)
    metrics.came_back(completed(replica="a:1"))
    clock.step(50)
    metrics.came_back(completed(replica="b:2"))
    assert metrics.replicas == ["a:1", "b:2"]
    assert series(metrics)["sluice_replicas",] == 2
    clock.step(20)
    assert series(metrics)["sluice_replicas",] == 1
    metrics.ended_execution("finished")
    assert series(metrics)["sluice_replicas",] == 0


def test_stages_executions_and_assignments_are_told_apart() -> None:
    metrics = Metrics()
    effort = Effort(pairs=9, repeats=2, tokens=70, padded_tokens=112, halvings=1)
    metrics.came_back(completed(prepare_s=0.5, score_s=2.0, effort=effort))
    metrics.began_session()
    metrics.began_assignment(3, 2)
    metrics.began_execution(4)
    metrics.ended_execution("killed")
    metrics.paused(7.0)
    metrics.dropped()
    metrics.set_in_flight(6)
    seen = series(metrics)
    assert seen["sluice_stage_seconds_sum", "prepare"] == 0.5
    assert seen["sluice_stage_seconds_sum", "score"] == 2.0
    counted = ("scored_pairs", "repeated_pairs", "tokens", "padded_tokens", "budget_halvings")
    assert [seen[f"sluice_{name}_total",] for name in counted] == [9, 2, 70, 112, 1]
    assert seen["sluice_sessions_total",] == 1
    assert (seen["sluice_assignment",], seen["sluice_partitions",], seen["sluice_execution",]) == (3, 2, 4)
    assert seen["sluice_executions_ended_total", "killed"] == 1
    assert seen["sluice_rotation_pause_seconds_sum",] == 7.0
    assert seen["sluice_dropped_claims_total",] == 1
    assert seen["sluice_in_flight_claims",] == 6

"""The generated catalogue is repeatable, and bad where it says so."""

from __future__ import annotations

import pytest

from pipeline import generated
from pipeline.candidates import Batching
from pipeline.codec import Limits, decode
from pipeline.generated import catalogue, catalogue_messages
from pipeline.records import Record

LIMITS = Limits(max_chars=20_000, max_message_bytes=1 << 20, max_reject_bytes=1 << 16)
MIXED = Batching(0.2, rows=16)


def decoded(found):
    return decode([Record(at, 0, m.key, m.value, m.headers) for at, m in enumerate(found)], LIMITS)


@pytest.mark.parametrize("batching", [Batching(), MIXED, Batching(1, rows=50)])
def test_what_is_malformed_is_rejected_and_nothing_else(batching):
    made = list(catalogue_messages(600, seed=3, batching=batching, malformed=0.1))
    found, rejected = decoded(made)
    assert len(found) == sum(message.n_candidates for message in made) == 600
    assert len(rejected) == sum(message.n_malformed for message in made) == 60


def test_malformed_messages_and_rows_are_of_many_kinds():
    made = list(catalogue_messages(600, seed=3, batching=MIXED, malformed=0.1))
    _, rejected = decoded(made)
    assert len({one.reason for one in rejected}) >= 10
    in_batches = [one for one in rejected if one.row >= 0]
    assert in_batches
    assert all(made[one.record].n_candidates > 0 for one in in_batches)


def test_the_same_seed_gives_the_same_messages():
    one, again, other = (
        list(catalogue_messages(100, seed=seed, batching=MIXED, malformed=0.05)) for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


def test_the_truth_is_known_by_the_id(monkeypatch):
    monkeypatch.setattr(generated, "_CHUNK", 30)
    truth = {item.candidate_id: item.p_severe for item in catalogue(100, seed=5)}
    assert len(truth) == 100
    found, _ = decoded(catalogue_messages(100, seed=5, malformed=0.02))
    assert sorted(found.candidate_id) == sorted(truth)
    assert {p > 0.5 for p in truth.values()} == {True, False}

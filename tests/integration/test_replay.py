"""A replay on real gates: a gate of the old run refuses, and one of the new closes its account."""

from __future__ import annotations

import pytest

from pipeline import offsets
from pipeline.offsets import Target
from pipeline.reconcile import reconcile_topics
from tests.integration.gates import Lab

pytestmark = [pytest.mark.kafka, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_what_is_scored_again_is_of_the_next_run_and_both_accounts_close(lab: Lab) -> None:
    lab.produce(30)  # ten in each partition
    with lab.gate("--until-drained") as first:
        assert first.until_drained() == 0
    settings = lab.settings()

    reset = offsets.plan(settings, Target("offset", 4))
    offsets.apply(settings, reset)

    with lab.gate("--until-drained") as forgotten:
        assert forgotten.until_drained() == 78
        assert "is of run 2: set 2" in forgotten.log
    with lab.gate("gate.run=2", "--until-drained") as again:
        assert again.until_drained() == 0

    starts = {source.partition: at for source, at in reset.after.items()}
    replayed = reconcile_topics(lab.settings("gate.run=2"), start=starts)
    assert (replayed.closed, replayed.candidates) == (True, 18)
    before = reconcile_topics(settings)
    assert (before.closed, before.candidates) == (True, 30)
    assert {standing.note.run for standing in offsets.standings(settings).values()} == {2}

"""The scorer of the fault suite: its pace may be changed at any time, and a poison ends its process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.pairs import Fields
from tests.fakes import stand_in_bundle
from tests.faults.paced import PacedScorer, PoisonPreparer, set_pace

SWALLOW = """
import sys
from tests.faults.paced import PacedScorer, PoisonPreparer
tokens = PoisonPreparer("", max_chars=1).prepare([{"text": "q"}], [{"text": sys.argv[2]}]).tokens
PacedScorer(sys.argv[1]).score(tokens)
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return stand_in_bundle(tmp_path).path


def test_what_a_candidate_costs_may_be_changed_between_two_batches(bundle: Path) -> None:
    pairs: list[Fields] = [{"text": "a"}, {"text": "b"}]
    tokens = PoisonPreparer("", max_chars=1).prepare(pairs, pairs).tokens
    set_pace(bundle, 0.1)
    scorer = PacedScorer(bundle)

    def took_s() -> float:
        began = time.monotonic()
        assert len(scorer.score(tokens).logit) == 2
        return time.monotonic() - began

    assert took_s() >= 0.2
    set_pace(bundle, 0.0)
    assert min(took_s() for _ in range(5)) < 0.2, "the machine may stand still now and then"


@pytest.mark.parametrize(
    ("poison", "ends_by"), [("segfault", signal.SIGSEGV), ("out of memory", signal.SIGKILL)]
)
def test_a_poison_ends_its_process(bundle: Path, poison: str, ends_by: signal.Signals) -> None:
    set_pace(bundle, 0.0)
    done = subprocess.run([sys.executable, "-c", SWALLOW, bundle, poison], check=False, timeout=60)
    assert done.returncode == -ends_by

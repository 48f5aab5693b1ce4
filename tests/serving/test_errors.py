from __future__ import annotations

import pickle

import pytest

from pipeline.errors import SluiceError
from pipeline.serving.errors import DoorFailed, Kind, Refusal, ScorerBroken


@pytest.mark.parametrize(
    "error",
    [Refusal(429, Kind.OVERLOADED, "too much waits", 3), ScorerBroken("no memory"), DoorFailed("no replica")],
)
def test_an_error_survives_the_way_between_processes_and_says_its_facts(error: SluiceError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
    said = error.args[2] if isinstance(error, Refusal) else error.args[0]
    assert said in str(error)


def test_a_door_without_replicas_ends_with_a_code_that_a_script_can_tell() -> None:
    assert DoorFailed.exit_code == 69

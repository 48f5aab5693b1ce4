"""Every error survives pickling, says its facts, and belongs to one of the three families."""

from __future__ import annotations

import inspect
import pickle
from typing import get_type_hints

import pytest

from pipeline import errors
from pipeline.records import Reason

SAMPLES = {int: 7, int | None: 7, float: 1.5, Reason: Reason.NOT_JSON}


def every_error():
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.SluiceError) and "__init__" in vars(kind)  # the others are families
    ]


def make(kind):
    """An error of this kind, each text of which is the name of the fact."""
    hints = get_type_hints(kind.__init__)
    names = [name for name in inspect.signature(kind).parameters if name in hints]
    facts = {name: f"<{name}>" if hints[name] is str else SAMPLES[hints[name]] for name in names}
    return kind(**facts), facts


@pytest.mark.parametrize("kind", every_error())
def test_survives_the_way_between_processes(kind):
    error, facts = make(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert {name: getattr(again, name) for name in facts} == facts


@pytest.mark.parametrize("kind", every_error())
def test_says_every_fact_that_is_text(kind):
    error, facts = make(kind)
    assert [fact for fact in facts.values() if isinstance(fact, str) and fact not in str(error)] == []


@pytest.mark.parametrize("kind", every_error())
def test_belongs_to_one_family(kind):
    families = [errors.InputError, errors.TransientError, errors.FatalError]
    assert sum(issubclass(kind, family) for family in families) == 1
    assert kind.retryable is issubclass(kind, errors.TransientError)


@pytest.mark.parametrize("kind", [kind for kind in every_error() if issubclass(kind, errors.FatalError)])
def test_what_ends_the_process_has_an_exit_code_that_a_script_can_tell(kind):
    assert kind.exit_code == 2 or 64 <= kind.exit_code <= 78, "a wrong call, or one of sysexits.h"

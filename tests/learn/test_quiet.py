from __future__ import annotations

import logging

import pytest
from datasets.utils import logging as datasets_logging
from transformers.utils import logging as transformers_logging

from actors.learn.quiet import quiet

LIBRARIES = (transformers_logging, datasets_logging)


def shown():
    level = logging.getLogger("transformers").level
    return [level, *(library.is_progress_bar_enabled() for library in LIBRARIES)]


def test_libraries_are_silent_within_and_as_before_afterwards():
    before = shown()
    with quiet():
        assert shown() == [logging.ERROR, False, False]
        with quiet():
            pass
        assert shown() == [logging.ERROR, False, False]
    assert shown() == before


def test_libraries_are_as_before_after_an_error():
    before = shown()
    with pytest.raises(ValueError, match="any"), quiet():
        raise ValueError("any")
    assert shown() == before


def test_bars_that_were_off_stay_off():
    for library in LIBRARIES:
        library.disable_progress_bar()
    try:
        with quiet():
            pass
        assert shown()[1:] == [False, False]
    finally:
        for library in LIBRARIES:
            library.enable_progress_bar()

"""Keeps libraries off the terminal: their bars and notes would break ours.

Promises to leave their settings as they were, also where one silence lies within another. Warnings and errors of
Python's own still show. Needs transformers, and nothing of the `train` extra.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from transformers.utils import logging as transformers_logging

_LOGGERS = ("sentence_transformers", "transformers", "datasets", "huggingface_hub", "nncf")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no notes from the libraries."""
    noisy = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in noisy]
    showing = [library for library in _with_bars() if library.is_progress_bar_enabled()]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    for library in showing:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
        for library in showing:
            library.enable_progress_bar()


def _with_bars() -> list[ModuleType]:
    datasets_logging = sys.modules.get("datasets.utils.logging")
    return [transformers_logging, *([datasets_logging] if datasets_logging else [])]

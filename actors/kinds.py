"""Plain data that somebody else wrote, taken only where it is of the kind that it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading JSON into a value may raise when somebody wrote something else."""


def of_kind(kind: type[Value], value: object) -> Value:
    """The value, if it is of the kind; a flag is no number.

    Args:
        kind: Such as `str`.
        value: From JSON.

    Returns:
        The same value.

    Raises:
        TypeError: It is of another kind.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{value!r} instead of {kind.__name__}")
    return value


def texts(value: Mapping[str, object]) -> dict[str, str]:
    """A mapping whose values are all texts. Raises TypeError or AttributeError for anything else."""
    return {key: of_kind(str, text) for key, text in value.items()}

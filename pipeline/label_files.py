"""Reads files of labels together with their digests: what a bundle or a report says that it was made of.

Promises the digests of what was read, and not of what lay there before or after.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from actors.errors import DataRefused
from actors.files import file_digest
from actors.learn.labels import Columns, Labels
from actors.learn.reading import CHANGED, read_labels
from actors.rubric import Rubric


def read_with_digests(
    paths: Sequence[Path], columns: Columns, rubric: Rubric
) -> tuple[Labels, dict[str, str]]:
    """Read label files, see `read_labels`.

    Args:
        paths: The files, at least one.
        columns: Which column is what.
        rubric: The levels.

    Returns:
        The labels; and the digests by the files' names, those of equal names told apart by number.

    Raises:
        DataRefused: The labels cannot be used, or a file was changed while it was read.
    """
    before: dict[Path, str] = {}
    for path in paths:
        with suppress(OSError):  # what is wrong with it the reader says
            if path.is_file():  # reading a pipe would never end
                before[path] = file_digest(path)
    labels = read_labels(paths, columns, rubric)
    found: dict[str, str] = {}
    for path in paths:
        digest = digest_of(path)
        if before.get(path) != digest:
            raise DataRefused(str(path), CHANGED)
        same = sum(name.partition(" (")[0] == path.name for name in found)
        found[f"{path.name} ({same + 1})" if same else path.name] = digest
    return labels, found


def digest_of(path: Path) -> str:
    """`file_digest`, of a file that somebody named; raises DataRefused where it cannot be read."""
    try:
        return file_digest(path)
    except OSError as error:
        raise DataRefused(str(path), f"cannot be read: {error.strerror}") from error

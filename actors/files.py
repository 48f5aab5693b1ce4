"""Files and folders that are made whole or not at all, and known by their digest. Knows no bundle."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


_DRAFT = ".sluice-"


def sweep_drafts(folder: Path, *, older_than_s: float) -> None:
    """Remove the drafts that processes left behind which were killed. Never raises.

    Args:
        folder: What they are in; may be absent.
        older_than_s: One in which nothing was written for so long is nobody's any more. Seconds.
    """
    for draft in folder.glob(f"{_DRAFT}*"):
        try:
            written = max(one.stat().st_mtime for one in (draft, *draft.rglob("*")))
        except OSError:  # somebody else is at it
            continue
        if time.time() - written > older_than_s:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def draft_beside(target: Path) -> Iterator[Path]:
    """A new folder beside the target, on the same filesystem, to be renamed to it; gone afterwards otherwise.

    Args:
        target: What will be made; its parent is made if absent.

    Yields:
        The draft.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.parent / f"{_DRAFT}{secrets.token_hex(8)}"
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)

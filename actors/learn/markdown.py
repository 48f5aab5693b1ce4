"""Texts of strangers in Markdown: they are shown as they are, and change nothing around them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MARKS = re.compile(r"([\\`*_\[\]<>|])")


def plain(text: str) -> str:
    """A text that cannot end its line or its cell, and that is shown as it is: no link, picture or mark-up."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """A text as code, which cannot end it or its cell."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A line for each row, of cells that are Markdown already; line breaks within one are blanks."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in line) + " |" for line in lines)

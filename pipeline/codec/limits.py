"""What an input message may be. Plain numbers: where they come from is the settings' business."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ID_CHARS = 1024
"""Ceiling on a candidate id. It bounds a verdict (see `encode`), and no sane id comes near it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings on one input message, and on what is kept of it when it is rejected."""

    max_chars: int
    """Characters in each of the two composed texts. The pair template applies it, not the codec."""
    max_message_bytes: int
    """Key, value and headers of one message together. Beyond it the message is rejected unread."""
    max_reject_bytes: int
    """What a reject keeps of the value, of the key and of the headers, in bytes each."""

    def __post_init__(self) -> None:
        if self.max_chars < 1 or self.max_message_bytes < 1 or self.max_reject_bytes < 0:
            raise ValueError(f"limits must be positive: {self}")

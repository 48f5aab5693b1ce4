"""What an input message may be. Plain numbers: where they come from is the settings' business."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ID_CHARS = 1024
"""Ceiling on a candidate id. No sane id comes near it, and without it a verdict would know no bound."""

VERDICT_BYTES = 16 << 10
"""Room that a verdict on one candidate takes beside key and headers: 6 KB at worst for the id, escaped, and the
rest for topic, digest, guarantee and the Arrow schema."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings on one input message, and on what is kept of it when it is rejected."""

    max_chars: int
    """Characters in each of the two composed texts. The pair template applies it, not the codec."""
    max_message_bytes: int
    """Key, value and headers of one message together; beyond it the message is rejected unread. No verdict is
    larger either, so a producer must be allowed to send this much. At least 32 KiB."""
    max_reject_bytes: int
    """What a reject keeps of the value, of the key and of the headers, in bytes each."""

    def __post_init__(self) -> None:
        if self.max_chars < 1 or self.max_message_bytes < 2 * VERDICT_BYTES or self.max_reject_bytes < 0:
            raise ValueError(f"too narrow: {self}")

    @property
    def max_carried_bytes(self) -> int:
        """Ceiling on key and headers together: a verdict carries them too, and must fit beside them."""
        return self.max_message_bytes - VERDICT_BYTES

"""What a replica scored lately, by pair: a third of a stream may be pairs that were just there.

Promises what was put in, bit for bit, or nothing; and no more than twice its size. It lives as long as one opened
bundle, so a pair's tokens name all that its logit depends on. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES = 16


class Recent:
    """Logits by pair, of the latest pairs.

    Two halves: what is found in the older one moves to the younger, and a full younger one takes its place. That
    forgets the least used about as well as a list in order of use, without the list.

    Args:
        size: Pairs of one half, at least 1. About 150 bytes each.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[bytes, np.float32] = {}
        self._old: dict[bytes, np.float32] = {}

    def recall(self, keys: Sequence[bytes]) -> NDArray[np.float32]:
        """Look pairs up.

        Args:
            keys: See `key`, n of them.

        Returns:
            Logits, float32 `[n]`; NaN for pairs that are not known.
        """
        unknown = np.float32(np.nan)
        found = np.empty(len(keys), np.float32)
        for at, key in enumerate(keys):
            logit = self._young.get(key)
            if logit is None:
                logit = self._old.get(key)
                if logit is not None:
                    self._put(key, logit)
            found[at] = unknown if logit is None else logit
        return found

    def remember(self, keys: Sequence[bytes], logits: NDArray[np.float32]) -> None:
        """Put pairs in. What is not finite is not kept: a device that failed may do better next time.

        Args:
            keys: See `key`, n of them.
            logits: Theirs, float32 `[n]`.
        """
        for key, logit in zip(keys, logits, strict=True):
            if np.isfinite(logit):
                self._put(key, logit)

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def _put(self, key: bytes, logit: np.float32) -> None:
        if len(self._young) >= self._size:
            self._young, self._old = {}, self._young
        self._young[key] = logit


def key(pair: bytes) -> bytes:
    """A pair's name: 16 bytes of a digest, so that long texts take no more room than short ones.

    Args:
        pair: See `batching.distinct`.

    Returns:
        The name.
    """
    return hashlib.blake2b(pair, digest_size=_DIGEST_BYTES).digest()

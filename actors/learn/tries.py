"""What was tried on one set of labels: a file of JSON lines beside the bundles.

Promises that no more is tried than was planned before the first try, which is what lets each try take an equal
part of the chance to be wrong (see `threshold.Wish`). A try is one model, target, confidence and cap.
The same try on a grown set of labels is the same try: the evidence of `guarantee` may be looked at as labels come
in. A set with fewer clusters is not grown, and counts again. A try is on the disk before its labels are looked at,
so one that was cut short counts as well; a line that was cut short was never looked at, and goes. A record is
about one sample of clusters and those added to it; a fresh sample begins a fresh record. That labels were only
added, the caller owes. Two processes may write at once.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from actors.bundle import CARD_FILE, PLOT_FILES
from actors.errors import DataRefused, TriesSpent
from actors.learn.threshold import Wish
from actors.manifest import Manifest, canonical_json, sha256


@dataclass(frozen=True, slots=True)
class Try:
    """One line of the record."""

    weights: str
    """Names what scored, see `scores_as`."""
    target: float
    confidence: float
    """The operator's, over all tries."""
    cap: int
    n_planned: int
    """Tries settled before the first."""
    clusters: str
    """Digest of the labelled clusters, see `digest`."""
    n_clusters: int
    time: str
    """UTC, ISO 8601."""

    @classmethod
    def of(cls, weights: str, wish: Wish, clusters: Iterable[object]) -> Try:
        """Describe a try that is about to be made.

        Args:
            weights: Names what scores, see `scores_as`.
            wish: What is asked for.
            clusters: Names of the labelled clusters, in any order, repeated or not.

        Returns:
            The try, as of now.
        """
        names = {str(name) for name in clusters}
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return cls(
            weights, wish.target, wish.confidence, wish.cap, wish.n_tries, digest(names), len(names), now
        )

    def repeats(self, other: Try) -> bool:
        """Whether this is the other one, on the same labels."""
        return self._is(other) and self.clusters == other.clusters

    def grew_from(self, other: Try) -> bool:
        """Whether this is the other one, on more labels."""
        return self._is(other) and self.n_clusters > other.n_clusters

    def _is(self, other: Try) -> bool:
        return all(getattr(self, name) == getattr(other, name) for name in _KEY)


def scores_as(manifest: Manifest) -> str:
    """Name all that a bundle's logits depend on: equal for bundles that differ in map, policy or words alone.

    Args:
        manifest: A bundle's, with its files.

    Returns:
        `sha256:<hex>`.
    """
    told_apart = {name: manifest.files[name] for name in sorted({*manifest.files} - _NOT_SCORING)}
    return sha256(
        canonical_json(
            {
                "files": told_apart,
                "template": manifest.template.to_json(),
                "max_tokens": manifest.max_tokens,
            }
        )
    )


_NOT_SCORING = {"roles.json", CARD_FILE, *PLOT_FILES}
_KEY = ("weights", "target", "confidence", "cap")
_BEGINNING = b'{"cap": '


def digest(clusters: Iterable[object]) -> str:
    """Name a set of clusters: `sha256:<hex>`, whatever their order."""
    names = sorted({str(name) for name in clusters})
    return "sha256:" + hashlib.sha256(json.dumps(names).encode()).hexdigest()


def begin(path: Path, attempt: Try) -> tuple[Try, ...]:
    """Put a try into the record, before its labels are looked at.

    Args:
        path: The record; made if it is not there.
        attempt: What is about to be tried.

    Returns:
        All tries of the record, growths of one try after the other, this one included.

    Raises:
        TriesSpent: It would be one more than planned.
        DataRefused: The record was planned for another number of tries, cannot be read or written, or is
            no record.
    """
    try:
        return _begin(path, attempt)
    except OSError as error:
        raise DataRefused(str(path), f"cannot keep the record of tries there ({error.strerror})") from error


def _begin(path: Path, attempt: Try) -> tuple[Try, ...]:
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        before = _read(file, path)
        if before and before[0].n_planned != attempt.n_planned:
            planned = before[0].n_planned
            raise DataRefused(
                str(path),
                f"{planned} tries were planned before the first, so {attempt.n_planned} cannot be now; "
                f"set tries to {planned}, or label a fresh sample of clusters and begin another record",
            )
        if any(attempt.repeats(one) for one in before):
            return before
        if n_made((*before, attempt)) > attempt.n_planned:
            raise TriesSpent(str(path), attempt.n_planned)
        file.write(json.dumps(asdict(attempt), sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return (*before, attempt)


def n_made(tries: Iterable[Try]) -> int:
    """How many tries a record holds, growths of one counted once."""
    latest: list[Try] = []
    for one in tries:
        grown = [at for at, other in enumerate(latest) if one.grew_from(other)]
        if grown:
            latest[grown[-1]] = one
        else:
            latest.append(one)
    return len(latest)


def _read(file: BinaryIO, path: Path) -> tuple[Try, ...]:
    """All whole lines; a torn last one is cut off."""
    file.seek(0)
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    torn = content[len(whole) :]
    tries = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            tries.append(Try(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataRefused(str(path), f"line {number} is no try; restore the file as it was") from error
    if torn:
        # What does not begin as a try does is another file's content, and not ours to cut.
        if not torn.startswith(_BEGINNING[: len(torn)]):
            raise DataRefused(str(path), "this is no record of tries; name another file")
        file.truncate(len(whole))
    return tuple(tries)

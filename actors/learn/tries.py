"""What was tried on one set of labels: a file of JSON lines beside the bundles.

Promises that no more is tried than was planned before the first try, which is what lets each try take an equal
part of the chance to be wrong (see `threshold.Wish`). A try is one model, target, confidence, cap and window of
traffic, from which its thresholds come. The same try on a grown set of labels is the same try: the evidence of
`guarantee` may be looked at as labels come in, at the thresholds of the first look. A set is grown when it holds
every cluster of the one before as it was, with the same pairs and what settled them, and others; one that lacks a
cluster, or has settled a pair otherwise, counts again. A try is on the disk before its labels are looked at, so
one that was cut short counts as well; a line cut short was never looked at, and goes. A record is about one sample
of clusters and those added to it; a fresh sample begins a fresh record. Two processes may write at once.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from actors.bundle import CARD_FILE, PLOT_FILES, PROBES_FILE
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
    clusters: Sequence[str]
    """Names each labelled cluster with its pairs and what settled them; sorted."""
    traffic: str
    """Names the window of traffic that the thresholds came from."""
    thresholds: Sequence[float] = ()
    """The thresholds that are tried, strict to loose."""
    time: str = ""
    """UTC, ISO 8601; empty in a bundle."""

    @classmethod
    def of(cls, weights: str, wish: Wish, clusters: Iterable[str], traffic: str) -> Try:
        """Describe a try that is about to be made.

        Args:
            weights: Names what scores, see `scores_as`.
            wish: What is asked for.
            clusters: Names of the labelled clusters, each with what is known of it, in any order.
            traffic: Names the window of traffic.

        Returns:
            The try, as of now.
        """
        return cls(
            weights=weights,
            target=wish.target,
            confidence=wish.confidence,
            cap=wish.cap,
            n_planned=wish.n_tries,
            clusters=sorted(set(clusters)),
            traffic=traffic,
            time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def repeats(self, other: Try) -> bool:
        """Whether this is the other one, on the same labels."""
        return self._is(other) and set(self.clusters) == set(other.clusters)

    def grew_from(self, other: Try) -> bool:
        """Whether this is the other one, on the same labels and those of more clusters."""
        return self._is(other) and set(self.clusters) > set(other.clusters)

    def thresholds_among(self, tries: Iterable[Try]) -> Sequence[float]:
        """The thresholds to try: those that this try began with, on whatever labels there were then.

        They depend on how many clusters are labelled, and evidence that is looked at as labels come in is evidence
        about thresholds that were fixed before the first look.

        Args:
            tries: All, as `begin` gave them.

        Returns:
            Logits, strict to loose.
        """
        return next((one.thresholds for one in tries if self._is(one)), self.thresholds)

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
                "serving": manifest.serving.to_json(),
            }
        )
    )


_NOT_SCORING = {"roles.json", CARD_FILE, PROBES_FILE, *PLOT_FILES}
_IN_BUNDLE = "the bundle's tries"
_KEY = ("weights", "target", "confidence", "cap", "traffic")
_BEGINNING = b'{"cap": '


def check(path: Path | None, attempt: Try, known: Sequence[Try] = ()) -> None:
    """Refuse a try that `begin` would refuse, before work is done for it. Changes nothing.

    Args:
        path: The record; perhaps not there. None: there is none.
        attempt: What is to be tried.
        known: Tries on these labels that a bundle tells of.

    Raises:
        TriesSpent: It would be one more than planned.
        DataRefused: See `begin`.
    """
    written: tuple[Try, ...] = ()
    if path is not None and path.exists():
        try:
            written, _ = _parsed(path.read_bytes(), path)
        except OSError as error:
            raise _unkept(path, error) from error
    _admitted((*_lacking(known, written), *written), attempt, str(path or _IN_BUNDLE))


def begin(path: Path | None, attempt: Try, known: Sequence[Try] = ()) -> tuple[Try, ...]:
    """Put a try into the record, before its labels are looked at.

    Args:
        path: The record; made if it is not there. None keeps none, and goes by what is known.
        attempt: What is about to be tried.
        known: Tries on these labels that a bundle tells of; those that the record lacks are put into it.

    Returns:
        All tries, growths of one try after the other, this one included.

    Raises:
        TriesSpent: It would be one more than planned.
        DataRefused: The tries before were planned for another number, or the record cannot be read or written, or
            is no record.
    """
    if path is None:
        return _admitted(tuple(known), attempt, _IN_BUNDLE)
    try:
        return _begin(path, attempt, known)
    except OSError as error:
        raise _unkept(path, error) from error


def _begin(path: Path, attempt: Try, known: Sequence[Try]) -> tuple[Try, ...]:
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
        written = _read(file, path)
        lacking = _lacking(known, written)
        after = _admitted((*lacking, *written), attempt, str(path))
        new = (*lacking, *after[len(lacking) + len(written) :])
        file.write(b"".join(json.dumps(asdict(one), sort_keys=True).encode() + b"\n" for one in new))
        file.flush()
        os.fsync(file.fileno())
    return after


def _lacking(known: Sequence[Try], written: Sequence[Try]) -> tuple[Try, ...]:
    return tuple(one for one in known if not any(one.repeats(other) for other in written))


def _unkept(path: Path, error: OSError) -> DataRefused:
    return DataRefused(str(path), f"cannot keep the record of tries there ({error.strerror})")


def _admitted(before: tuple[Try, ...], attempt: Try, where: str) -> tuple[Try, ...]:
    """The tries with this one, if it fits the plan."""
    planned, *others = sorted({one.n_planned for one in before}) or [attempt.n_planned]
    if others:
        # A part of the chance to be wrong is another by each plan, and together they are more than there is.
        plans = " and ".join(map(str, (planned, *others)))
        raise DataRefused(
            where,
            f"tries on these labels were planned to be {plans} in all, which do not add up; label a fresh sample "
            "of clusters and begin another record",
        )
    if planned != attempt.n_planned:
        raise DataRefused(
            where,
            f"{planned} tries were planned before the first, so {attempt.n_planned} cannot be now; "
            f"set tries to {planned}, or label a fresh sample of clusters and begin another record",
        )
    if any(attempt.repeats(one) for one in before):
        return before
    if n_made((*before, attempt)) > attempt.n_planned:
        raise TriesSpent(where, attempt.n_planned)
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
    tries, n_whole = _parsed(content, path)
    if n_whole < len(content):
        file.truncate(n_whole)
    return tries


def _parsed(content: bytes, path: Path) -> tuple[tuple[Try, ...], int]:
    """The tries of all whole lines, and how many bytes those take."""
    whole = content[: content.rfind(b"\n") + 1]
    torn = content[len(whole) :]
    tries = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            tries.append(Try(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DataRefused(str(path), f"line {number} is no try; restore the file as it was") from error
    # What does not begin as a try does is another file's content, and not ours to cut.
    if torn and not torn.startswith(_BEGINNING[: len(torn)]):
        raise DataRefused(str(path), "this is no record of tries; name another file")
    return tuple(tries), len(whole)

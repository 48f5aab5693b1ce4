"""The two things that a replica does: prepare candidates, and score what was prepared.

`Preparer` turns fields into tokens and never meets a model; `Scorer` turns tokens into verdicts and never
meets a text. Both are opened on one bundle folder, hold no state between calls, and answer for a candidate
the same whatever the company. Whoever calls them knows where candidates come from; this module does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.batching import ROW_STEP, Piece, distinct, pack, pack_mixed, padded_widths, spelled
from actors.bundle import Bundle, read_config
from actors.errors import OutOfMemory, RowTooLong, ScoresDrifted
from actors.pairs import Fields, TextProblem
from actors.prior import read_prior
from actors.probes import BOUNDS, read_probes
from actors.recent import Recent, key
from actors.tokens import PairTokenizer, Tokens, has_types

if TYPE_CHECKING:  # torch takes two seconds to import
    from actors.encoder import Pending

logger = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """Candidates that can be scored, and why the others cannot."""

    kept: list[int]
    """Which of the given candidates have tokens, ascending."""
    tokens: Tokens
    """Theirs, in that order."""
    problems: list[tuple[int, TextProblem]]
    """The others, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the scorer says about n pairs, column by column."""

    logit: NDArray[np.float32]
    """Severity, float32 `[n]`: higher is worse. The encoder's and the prior's, finite or not."""
    relevance: NDArray[np.float32]
    """One minus the calibrated probability of a severe violation, float32 `[n]`."""
    action: NDArray[np.int8]
    """`policy.ActionCode`, int8 `[n]`."""

    def __len__(self) -> int:
        return len(self.logit)


@dataclass(slots=True)
class Effort:
    """What scoring took, since a scorer was opened. Grows."""

    pairs: int = 0
    """Answered."""
    encoded: int = 0
    """Of these, through the encoder; the others were repeats."""
    tokens: int = 0
    """Of the encoded pairs."""
    padded: int = 0
    """The same with their padding, where they are padded."""
    halvings: int = 0
    """How often the device had no room for a piece."""


class Prepares(Protocol):
    """Anything that can stand in for a `Preparer`."""

    def prepare(self, queries: Sequence[Fields], documents: Sequence[Fields]) -> Prepared:
        """Compose and tokenize candidates; never raises for data."""


class ScoresPairs(Protocol):
    """Anything that can stand in for a `Scorer`."""

    def score(self, tokens: Tokens) -> Scores:
        """Score pairs, in order."""


class Preparer:
    """Composes a bundle's pairs and tokenizes them. Cheap to open; imports no torch.

    Args:
        bundle_path: The bundle's folder.
        max_chars: Ceiling on each text, in characters.

    Raises:
        BundleError: The bundle must not be used.
    """

    def __init__(self, bundle_path: Path | str, *, max_chars: int) -> None:
        self.bundle = Bundle.open(bundle_path)
        self._max_chars = max_chars
        self._tokenizer = PairTokenizer(self.bundle.path, max_tokens=self.bundle.manifest.max_tokens)
        self._prior = read_prior(self.bundle.path)

    def prepare(self, queries: Sequence[Fields], documents: Sequence[Fields]) -> Prepared:
        """Compose and tokenize candidates; never raises for data.

        Args:
            queries: Query-side fields, n of them.
            documents: Document-side fields, n of them.

        Returns:
            Every candidate, once: kept with its tokens, or with its problem.
        """
        kept: list[int] = []
        pairs: list[tuple[str, str]] = []
        problems: list[tuple[int, TextProblem]] = []
        template = self.bundle.manifest.template
        for i, (query, document) in enumerate(zip(queries, documents, strict=True)):
            composed = template.compose(query, document, max_chars=self._max_chars)
            if isinstance(composed, TextProblem):
                problems.append((i, composed))
            else:
                kept.append(i)
                pairs.append(composed)
        tokens = self._tokenizer.encode(pairs)
        if self._prior is not None:
            said = [self._prior.logit(query, documents[i]) for i, (query, _) in zip(kept, pairs, strict=True)]
            tokens = replace(tokens, prior=np.array(said, np.float32))
        return Prepared(kept, tokens, problems)


class Scorer:
    """A bundle's encoder, map and policy, warm. Opening it takes seconds, so it is opened once.

    What it was opened on is probed first: an encoder that does not say of the bundle's probes what the bundle
    says is not served.

    Args:
        bundle_path: The bundle's folder.
        device: `cpu`, `cuda`, `cuda:<n>`, or `auto`: the GPU if there is one.
        threads: CPU threads, for the whole process; None leaves the engine's own choice.
        budget_tokens: Ceiling on the padded tokens that go through the encoder at once; a GPU takes some 1,024 at
            least. Halved whenever the device has no room for so many.
        cache_pairs: How many of the latest pairs are remembered, at least; 0 for none.

    Raises:
        BundleError: The bundle must not be used.
        DeviceMissing: The device is not on this machine.
        ExtraMissing: The bundle's engine is not installed.
        RowTooLong: The budget is below the bundle's longest pair.
        ScoresDrifted: This machine does not score as the bundle says.
    """

    def __init__(
        self,
        bundle_path: Path | str,
        *,
        device: str = "auto",
        threads: int | None = None,
        budget_tokens: int = 4096,
        cache_pairs: int = 0,
    ) -> None:
        # torch takes two seconds to import: the processes that only name this class must not pay for it.
        from actors.encoder import open_backend  # noqa: PLC0415

        self.bundle = Bundle.open(bundle_path)
        self._encoder = open_backend(self.bundle, device=device, threads=threads)
        self._longest = int(self._widths([self.bundle.manifest.max_tokens])[0])
        if self._longest > budget_tokens:
            raise RowTooLong(self._longest, budget_tokens)
        self._budget_tokens = budget_tokens
        self._recent = Recent(cache_pairs) if cache_pairs else None
        self.effort = Effort()
        self._probe()

    @property
    def device(self) -> str:
        """Where the encoder runs."""
        return self._encoder.device

    def score(self, tokens: Tokens) -> Scores:
        """Score pairs, in order. Identical pairs are scored once.

        Args:
            tokens: Pairs, n of them; none will do.

        Returns:
            A score for each, the same in any company.

        Raises:
            OutOfMemory: The device has no room for one pair. What else it raises passes through.
        """
        logit = self.encode(tokens)
        if tokens.prior is not None:  # a pair's own: equal tokens may come from texts that are not
            logit = logit + tokens.prior
        manifest = self.bundle.manifest
        relevance = manifest.calibration.relevance(logit).astype(np.float32)
        return Scores(logit, relevance, manifest.policy.decide(logit))

    def encode(self, tokens: Tokens) -> NDArray[np.float32]:
        """What the encoder alone says of pairs, without their prior. Identical ones go through it once.

        Args:
            tokens: Pairs, n of them; none will do.

        Returns:
            Logits, float32 `[n]`.
        """
        spellings = spelled(tokens)
        first, place = distinct(spellings)
        if self._recent is None:
            logit = self._encode(tokens, first)
        else:
            keys = [key(spelling) for spelling in spellings.take(first).to_pylist()]
            logit = self._recent.recall(keys)
            (new,) = np.nonzero(np.isnan(logit))
            logit[new] = self._encode(tokens, first[new])
            self._recent.remember([keys[at] for at in new.tolist()], logit[new])
        self.effort.pairs += len(tokens)
        return logit[place]

    def _encode(self, tokens: Tokens, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits of the chosen pairs, in that order; widest first through the encoder."""
        lengths = tokens.lengths[chosen]
        widths = self._widths(lengths)
        order = np.argsort(-widths, kind="stable")
        logits = np.empty(len(chosen), dtype=np.float32)
        rows = 0
        for n, pending in _one_ahead(self._launched(tokens.take(chosen[order]), widths[order])):
            logits[order[rows : rows + n]] = pending()
            rows += n
        self.effort.encoded += len(chosen)
        self.effort.tokens += int(lengths.sum())
        self.effort.padded += int(widths.sum())
        return logits

    def _launched(self, tokens: Tokens, widths: NDArray[np.int64]) -> Iterator[tuple[int, Pending]]:
        """Launch piece after piece: the pairs of each, and what waits for their logits."""
        start, budget = 0, 0
        pieces: Iterator[Piece] = iter(())
        while start < len(tokens):
            if self._budget_tokens != budget:  # at first, and when it was halved
                begin, budget = start, self._budget_tokens
                pieces = iter(self._cut(widths[begin:]))
            piece = next(pieces)
            yield from self._launched_piece(
                tokens.slice(begin + piece.start, begin + piece.stop), piece.width
            )
            start = begin + piece.stop

    def _cut(self, widths: NDArray[np.int64]) -> list[Piece]:
        if self._encoder.pads:
            return pack(widths, budget_tokens=self._budget_tokens, step=self._encoder.pair_step)
        return pack_mixed(widths, budget_tokens=self._budget_tokens)

    def _launched_piece(self, tokens: Tokens, width: int) -> Iterator[tuple[int, Pending]]:
        """At once; in halves where the device has no room, and smaller pieces from then on."""
        try:
            pending = self._encoder.launch(tokens, width=width)
        except OutOfMemory as error:
            least = self._encoder.pair_step * width if self._encoder.pads else ROW_STEP
            if error.n_tokens <= least:  # a half would take as many
                raise
            self.effort.halvings += 1
            self._budget_tokens = min(self._budget_tokens, max(self._longest, error.n_tokens // 2))
            logger.warning("%s; from now on %d", str(error), self._budget_tokens)
        else:
            yield len(tokens), pending
            return
        middle = len(tokens) // 2
        for half in (tokens.slice(0, middle), tokens.slice(middle, len(tokens))):
            yield from self._launched_piece(half, width)

    def _widths(self, lengths: ArrayLike) -> NDArray[np.int64]:
        """What each pair takes of the budget."""
        if self._encoder.pads:
            return padded_widths(lengths, n_positions=self._encoder.n_positions)
        return np.asarray(lengths, dtype=np.int64)

    def _probe(self) -> None:
        """Score the bundle's probes as when it was made, or a pair of nothing: that also warms the encoder."""
        probes, manifest = read_probes(self.bundle.path), self.bundle.manifest
        if probes is None:
            blank = [[0] * manifest.max_tokens]
            typed = has_types(read_config(self.bundle.path))
            self._encode(Tokens.from_rows(blank, blank if typed else None), np.zeros(1, np.int64))
        else:
            logit = self._encode(probes.tokens, np.arange(len(probes.tokens)))
            drift, bound = probes.drift(logit), BOUNDS[manifest.serving.precision]
            if drift > bound:
                served = f"{manifest.serving} on {self.device}"
                raise ScoresDrifted(str(self.bundle.path), served, drift, bound)
        self.effort = Effort()


_T = TypeVar("_T")


def _one_ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Each item once the next has been made: a device computes one piece while another is laid out for it."""
    for held in items:
        for item in items:
            yield held
            held = item  # noqa: PLW2901 - it takes the place
        yield held

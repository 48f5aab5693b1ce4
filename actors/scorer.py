"""The two things that a replica does: prepare candidates, and score what was prepared.

`Preparer` turns fields into tokens and never meets a model; `Scorer` turns tokens into verdicts and never
meets a text. Both are opened on one bundle folder, hold no state between calls, and answer for a candidate
the same whatever the company. Whoever calls them knows where candidates come from; this module does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from actors.batching import distinct, pack, pad, padded_widths
from actors.bundle import Bundle
from actors.errors import RowTooLong
from actors.pairs import Fields, TextProblem
from actors.prior import read_prior
from actors.tokens import PairTokenizer, Tokens


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

    Args:
        bundle_path: The bundle's folder.
        device: `cpu`, `cuda`, `cuda:<n>`, or `auto`: the GPU if there is one.
        threads: CPU threads of torch, for the whole process; None leaves torch's own choice.
        budget_tokens: Ceiling on the padded tokens that go through the encoder at once.

    Raises:
        BundleError: The bundle must not be used.
        DeviceMissing: The device is not on this machine.
        RowTooLong: The budget is below the bundle's longest pair.
    """

    def __init__(
        self,
        bundle_path: Path | str,
        *,
        device: str = "auto",
        threads: int | None = None,
        budget_tokens: int = 4096,
    ) -> None:
        # torch takes two seconds to import: the processes that only name this class must not pay for it.
        from actors.encoder import TorchBackend  # noqa: PLC0415

        self.bundle = Bundle.open(bundle_path)
        if self.bundle.manifest.max_tokens > budget_tokens:
            raise RowTooLong(self.bundle.manifest.max_tokens, budget_tokens)
        self._budget_tokens = budget_tokens
        self._encoder = TorchBackend(self.bundle, device=device, threads=threads)

    @property
    def device(self) -> str:
        """Where the encoder runs."""
        return self._encoder.device

    def score(self, tokens: Tokens) -> Scores:
        """Score pairs, in order. Identical pairs are scored once.

        Args:
            tokens: Pairs, n of them; none will do.

        Returns:
            A score for each, the same in any company. What the device raises (memory) passes through.
        """
        first, place = distinct(tokens)
        logit = self._encode(tokens.take(first))[place]
        if tokens.prior is not None:  # a pair's own: equal tokens may come from texts that are not
            logit = logit + tokens.prior
        manifest = self.bundle.manifest
        relevance = manifest.calibration.relevance(logit).astype(np.float32)
        return Scores(logit, relevance, manifest.policy.decide(logit))

    def _encode(self, tokens: Tokens) -> NDArray[np.float32]:
        """The logits of distinct pairs, widest first through the encoder, back in the given order."""
        widths = padded_widths(tokens.lengths, max_tokens=self.bundle.manifest.max_tokens)
        order = np.argsort(-widths, kind="stable")
        by_width = tokens.take(order)
        logits = np.empty(len(tokens), dtype=np.float32)
        for start, stop, width in pack(widths[order], budget_tokens=self._budget_tokens):
            batch = pad(by_width.slice(start, stop), width=width, pad_id=self._encoder.pad_id)
            logits[order[start:stop]] = self._encoder.logits(batch)
        return logits

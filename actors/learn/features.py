"""What an untrained encoder says of a pair, as a few numbers: the evidence that a small teacher learns from.

Promises the same numbers for the same pair in any company, each from texts alone and without a label: cosines
of the query with each field of the document and with all of it, and token-level matches (MaxSim: for each
token of the query the nearest of the document's; Khattab and Zaharia, ColBERT, SIGIR 2020), by the words alone
and in context. Each text goes through the encoder once. Needs the `train` extra.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from actors.learn.precision import bf16_pays, device
from actors.learn.quiet import quiet
from actors.pairs import Fields

QUERY_TOKENS, DOCUMENT_TOKENS, FIELD_TOKENS = 24, 64, 128
"""Ceilings: on the tokens that are matched one by one, and on those of a text that becomes one vector."""
_BATCH = 64
_LAYERS = (0, -1)
"""Word embeddings, and the last layer's."""
_MATCHES = ("word_match", "word_least", "context_match", "context_least")


@dataclass(frozen=True, slots=True, eq=False)
class TokenVectors:
    """One text, token by token, without the special ones."""

    ids: NDArray[np.int64]
    """Int64 `[t]`."""
    vectors: NDArray[np.float16]
    """Unit vectors of each layer, float16 `[2, t, d]`."""


class Encoder:
    """An encoder as it was pretrained: texts in, unit vectors out. Remembers every text that it was given.

    Args:
        base: Folder or hub id.
    """

    def __init__(self, base: Path | str) -> None:
        with quiet():
            self._tokenizer = AutoTokenizer.from_pretrained(str(base))
            model = AutoModel.from_pretrained(str(base))
        self._device = device()
        self._model = model.eval().to(self._device)
        self._bf16 = bf16_pays()
        self._vector: dict[str, NDArray[np.float32]] = {}
        self._tokens: dict[tuple[str, int], TokenVectors] = {}

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Mean of the last layer over the tokens, at unit length.

        Args:
            texts: n of them.

        Returns:
            Float32 `[n, d]`.
        """
        for batch, states, encoded in self._run(self._unknown(texts, self._vector), FIELD_TOKENS):
            mask = encoded["attention_mask"][..., None]
            mean = (states[-1] * mask).sum(1) / mask.sum(1)
            unit = torch.nn.functional.normalize(mean, dim=1).cpu().numpy()
            self._vector.update(zip(batch, unit, strict=True))
        return np.stack([self._vector[text] for text in texts])

    def tokens(self, texts: Sequence[str], *, max_tokens: int) -> list[TokenVectors]:
        """Vectors of the tokens, at unit length.

        Args:
            texts: n of them.
            max_tokens: Longer texts are cut, special tokens included.

        Returns:
            One value for each text.
        """
        known = {text: found for (text, limit), found in self._tokens.items() if limit == max_tokens}
        for batch, states, encoded in self._run(self._unknown(texts, known), max_tokens):
            layers = torch.stack([torch.nn.functional.normalize(states[i], dim=2) for i in _LAYERS])
            halves = layers.half().cpu().numpy()
            ids = encoded["input_ids"].cpu().numpy()
            special = np.isin(ids, self._tokenizer.all_special_ids)
            for i, text in enumerate(batch):
                kept = ~special[i]
                self._tokens[text, max_tokens] = TokenVectors(ids[i, kept], halves[:, i, kept])
        return [self._tokens[text, max_tokens] for text in texts]

    @torch.inference_mode()
    def _run(
        self, texts: Sequence[str], max_tokens: int
    ) -> Iterable[tuple[list[str], tuple[torch.Tensor, ...], Mapping[str, torch.Tensor]]]:
        ordered = sorted(texts, key=len)
        for start in range(0, len(ordered), _BATCH):
            batch = ordered[start : start + _BATCH]
            encoded = self._tokenizer(
                batch, truncation=True, max_length=max_tokens, padding=True, return_tensors="pt"
            ).to(self._device)
            with torch.autocast(self._device, torch.bfloat16, enabled=self._bf16):
                states = self._model(**encoded, output_hidden_states=True).hidden_states
            yield batch, tuple(state.float() for state in states), encoded

    @staticmethod
    def _unknown(texts: Sequence[str], known: Mapping[str, object]) -> list[str]:
        return [text for text in dict.fromkeys(texts) if text not in known]


@dataclass(frozen=True, slots=True, eq=False)
class DenseFeatures:
    """What an encoder says of pairs."""

    encoder: Encoder
    fields: tuple[str, ...]
    """Document-side fields that are compared with the query each by itself."""
    rarity: Mapping[int, float]
    """Inverse document frequency of each token, see `of`."""
    unseen: float
    """Rarity of a token that no document has."""

    @classmethod
    def of(cls, encoder: Encoder, documents: Sequence[Fields], fields: Sequence[str]) -> DenseFeatures:
        """Count in how many documents each token is.

        Args:
            encoder: As it was pretrained.
            documents: Without labels; equal ones count once.
            fields: Document-side fields to compare with the query each by itself.

        Returns:
            The features.
        """
        texts = list(dict.fromkeys(whole(document) for document in documents))
        found = encoder.tokens(texts, max_tokens=DOCUMENT_TOKENS)
        ids, counts = np.unique(np.concatenate([np.unique(one.ids) for one in found]), return_counts=True)
        n = len(texts) + 1
        rarity = dict(zip(ids.tolist(), np.log(n / (counts + 0.5)).tolist(), strict=True))
        return cls(encoder, tuple(fields), rarity, float(np.log(n / 0.5)))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return (*(f"cosine_{field}" for field in self.fields), "cosine", *_MATCHES)

    def of_pairs(self, queries: Sequence[str], documents: Sequence[Fields]) -> NDArray[np.float64]:
        """One row for each pair.

        Args:
            queries: Texts, n of them.
            documents: Document-side fields, n of them; where a field is absent, the whole document stands for it.

        Returns:
            Float64 `[n, len(names)]`, finite.
        """
        query = self.encoder.vectors(queries)
        cosines = [
            np.einsum("nd,nd->n", query, self.encoder.vectors(field_texts(documents, field)))
            for field in (*self.fields, None)
        ]
        said = self.encoder.tokens(queries, max_tokens=QUERY_TOKENS)
        held = self.encoder.tokens(field_texts(documents), max_tokens=DOCUMENT_TOKENS)
        matches = np.array([self._matches(one, other) for one, other in zip(said, held, strict=True)])
        return np.column_stack([*cosines, matches]).astype(np.float64)

    def _matches(self, query: TokenVectors, document: TokenVectors) -> NDArray[np.float64]:
        if not len(query.ids) or not len(document.ids):
            return np.zeros(len(_MATCHES))
        best = np.einsum(
            "ltd,lsd->lts", query.vectors.astype(np.float32), document.vectors.astype(np.float32)
        ).max(2)
        weight = np.array([self.rarity.get(token, self.unseen) for token in query.ids.tolist()])
        weight = np.maximum(weight, 1e-6)
        mean = best @ weight / weight.sum()
        return np.array([mean[0], best[0].min(), mean[1], best[1].min()], np.float64)


def whole(document: Fields) -> str:
    """All fields of a document as one text, in their order."""
    return " ".join(document.values())


def field_texts(documents: Sequence[Fields], field: str | None = None) -> list[str]:
    """One field of each document, and the whole of it where that is absent; the whole of each for no field."""
    return [(None if field is None else document.get(field)) or whole(document) for document in documents]

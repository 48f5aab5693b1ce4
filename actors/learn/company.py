"""What the company that a query keeps says of a document: how like it is to the documents that are near the query.

The nearest documents stand for relevant ones, as in pseudo-relevance feedback (Rocchio, Relevance Feedback in
Information Retrieval, 1971; Lavrenko and Croft, Relevance-Based Language Models, SIGIR 2001). Promises numbers
that follow from texts alone, without a label; a document is never compared with itself. Only who has a whole
catalogue at hand can know them: a teacher does, a replica that scores single pairs does not. Needs the `train`
extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.learn.features import Encoder, field_texts, whole
from actors.pairs import Fields

N_NEAR = 20
"""Documents that stand for relevant ones. On real shopping pairs 20 and 40 told most, 80 less."""


@dataclass(frozen=True, slots=True, eq=False)
class Company:
    """A catalogue, and the encoder that tells what is near in it."""

    encoder: Encoder
    fields: tuple[str, ...]
    """Document-side fields that are compared each by itself."""
    catalogue: tuple[Fields, ...]
    """Each document once."""

    @classmethod
    def of(cls, encoder: Encoder, documents: Sequence[Fields], fields: Sequence[str]) -> Company:
        """The company that documents make.

        Args:
            encoder: As it was pretrained.
            documents: Without labels; equal ones count once.
            fields: Document-side fields to compare each by itself.

        Returns:
            The company.
        """
        return cls(encoder, tuple(fields), tuple({whole(one): one for one in documents}.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return (*(f"company_{field}" for field in self.fields), "company")

    def of_pairs(self, queries: Sequence[str], documents: Sequence[Fields]) -> NDArray[np.float64]:
        """One row for each pair: mean cosine of the document with the `N_NEAR` others nearest to the query.

        Args:
            queries: Texts, n of them.
            documents: Document-side fields, n of them; where a field is absent, the whole document stands for it.

        Returns:
            Float64 `[n, len(names)]`; zeros where the catalogue has no other document.
        """
        place = {text: i for i, text in enumerate(field_texts(self.catalogue))}
        own = [place.get(text, -1) for text in field_texts(documents)]
        near = self._near(queries)
        found = np.zeros((len(queries), len(self.names)))
        for column, field in enumerate((*self.fields, None)):
            said, held = self._vectors(documents, field), self._vectors(self.catalogue, field)
            for i, (query, itself) in enumerate(zip(queries, own, strict=True)):
                others = near[query]
                others = others[others != itself][:N_NEAR]
                if len(others):
                    found[i, column] = (held[others] @ said[i]).mean()
        return found

    def _near(self, queries: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Places of the documents nearest to each query, one more than are needed."""
        asked = list(dict.fromkeys(queries))
        cosine = self.encoder.vectors(asked) @ self._vectors(self.catalogue, None).T
        places = np.argsort(-cosine, axis=1, kind="stable")[:, : N_NEAR + 1]
        return dict(zip(asked, places, strict=True))

    def _vectors(self, documents: Sequence[Fields], field: str | None) -> NDArray[np.float32]:
        return self.encoder.vectors(field_texts(documents, field))

"""Pairs with the logits that they had when a bundle was made: whoever serves it must score them alike.

Promises that a bundle is not served where its encoder comes out otherwise: on a processor whose int8
saturates, by an engine that picks another precision, by a release that changed a kernel. Token ids are in the
bundle as they are, so its probes can be read by whoever may read the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from actors.bundle import PROBES_FILE
from actors.errors import BundleProblem
from actors.kinds import MALFORMED
from actors.serving import Precision
from actors.tokens import Tokens

N_PROBES = 200
BOUNDS = {Precision.FP32: 1e-3, Precision.BF16: 0.02, Precision.INT8: 0.02}
"""What may differ, see `Probes.drift`: more than another order of sums does, and less than another precision."""

_LOGIT_COLUMN = "encoder_logit"


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """n pairs, at least 2 that differ."""

    tokens: Tokens
    """Without a prior: it is the encoder that is probed."""
    logit: NDArray[np.float32]
    """The encoder's, float32 `[n]`, finite."""

    def drift(self, logit: ArrayLike) -> float:
        """How far a replica is from what was.

        Args:
            logit: What it says of these pairs, `[n]`.

        Returns:
            Root mean square of the differences, in standard deviations of the stored logits; infinite where a
            logit is not finite.
        """
        differences = np.asarray(logit, np.float64) - self.logit
        if not np.isfinite(differences).all():
            return float("inf")
        spread = float(self.logit.std(dtype=np.float64)) or float(np.finfo(np.float32).eps)
        return float(np.sqrt(np.mean(differences**2))) / spread

    def to_bytes(self) -> bytes:
        """As an Arrow IPC stream; `read_probes` gives back equal ones."""
        batch = self.tokens.to_arrow().append_column(_LOGIT_COLUMN, pa.array(self.logit, pa.float32()))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        content: bytes = sink.getvalue().to_pybytes()
        return content


def chosen(logit: ArrayLike, *, n: int = N_PROBES) -> NDArray[np.int64]:
    """Which of many scored pairs are kept: from the least to the most severe, evenly.

    Args:
        logit: Finite, float `[m]`.
        n: How many to keep, at most.

    Returns:
        Places, ascending, int64 `[min(m, n)]`.
    """
    order = np.argsort(np.asarray(logit), kind="stable")
    return np.sort(
        order[np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(np.int64))]
    )


def read_probes(folder: Path) -> Probes | None:
    """The probes of a checked bundle.

    Args:
        folder: The bundle's.

    Returns:
        The probes; None where it has none.

    Raises:
        BundleProblem: The file is malformed.
    """
    try:
        content = (folder / PROBES_FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleProblem(str(folder), f"{PROBES_FILE} cannot be read: {error.strerror}") from error
    try:
        (batch,) = pa.ipc.open_stream(content)
        logit = batch.column(_LOGIT_COLUMN).to_numpy()
        if not len(logit) or not np.isfinite(logit).all():  # against none, no replica would ever differ
            raise ValueError("it needs pairs, each with a finite logit")
        return Probes(Tokens.from_arrow(batch), logit)
    except (pa.ArrowException, *MALFORMED) as error:
        raise BundleProblem(str(folder), f"{PROBES_FILE} is malformed: {error}") from error

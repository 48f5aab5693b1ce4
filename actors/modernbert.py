"""ModernBERT, and Ettin of its kind, on pairs that lie back to back: transformers' layers, our attention.

transformers hands an attention function whatever its model was called with, so that where pairs begin and end
reaches each layer. For a GPU; elsewhere `actors.automodel` pads. Importing it costs seconds.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from actors.automodel import AutoClassifier
from actors.varlen import AttendPacked, Places

_OURS = "sluice_packed"


class PackedModernBert(AutoClassifier):
    """A ModernBERT classifier of one output, with the call that `bert.BertClassifier.packed` has.

    Args:
        folder: See `AutoClassifier`.
        device: Likewise.
        products: Likewise.

    Raises:
        BundleProblem: See `AutoClassifier`.
    """

    def __init__(self, folder: Path, *, device: torch.device, products: torch.dtype) -> None:
        super().__init__(folder, device=device, products=products)
        AttentionInterface.register(_OURS, _attend)
        self._model.set_attn_implementation(_OURS)

    def packed(
        self,
        ids: Tensor,
        type_ids: Tensor | None,
        positions: Tensor,
        bounds: Tensor,
        *,
        attend: AttendPacked,
    ) -> Tensor:
        """Score pairs that lie back to back.

        Args:
            ids: Token ids, integers `[rows]`, on the weights' device.
            type_ids: The encoder has none.
            positions: Each token's place in its pair, integers `[rows]`.
            bounds: Where pairs begin and end, int32 `[n + 1]`; see `batching.PackedBatch`.
            attend: Attention within the pairs; takes also `reach`.

        Returns:
            Logits `[n]`, float32; anything for an empty pair.
        """
        del type_ids
        model = self._model
        with self._precision:
            hidden = model.model(
                input_ids=ids[None].long(),
                position_ids=positions[None],
                attention_mask=dict.fromkeys(("full_attention", "sliding_attention")),  # ours needs no mask
                attend=partial(attend, Places(bounds, bounds)),
            ).last_hidden_state[0]
            if model.config.classifier_pooling == "mean":
                pooled = torch.segment_reduce(hidden, "mean", offsets=bounds.long(), axis=0)
            else:
                pooled = hidden[bounds[:-1].clamp(max=len(hidden) - 1)]
            logits: Tensor = model.classifier(model.head(pooled))
        return logits[:, 0].float()


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *_: None,
    **told: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer, with queries, keys and values `[1, heads, rows, size]`."""
    del module
    window = told["sliding_window"]
    reach = None if window is None else window - 1  # transformers counts the place itself
    rows = (part[0].transpose(0, 1) for part in (query, key, value))
    return told["attend"](*rows, reach=reach)[None], None

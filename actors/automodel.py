"""Any sequence classifier that transformers knows, from a bundle's folder and from nowhere else.

The general way in, for the encoders that this package does not write out itself (DeBERTa-v3, ModernBERT,
XLM-RoBERTa ...). Importing it costs seconds: `actors.encoder` does so only for a bundle that needs it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Linear, functional
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

from actors.bert import EVEN_ROWS
from actors.errors import BundleProblem

_MOST_CHARS = 300
"""Of what transformers says, which may be paragraphs."""


class AutoClassifier:
    """A transformers classifier of one output, behind the same call as `bert.BertClassifier`.

    Args:
        folder: The bundle's folder. The network is never asked, and no code that it names is run.
        device: Where the weights go.
        products: The dtype of the matrix products; weights and sums stay float32.

    Raises:
        BundleProblem: The weights do not fill the classifier, or transformers cannot read the folder.
    """

    def __init__(self, folder: Path, *, device: torch.device, products: torch.dtype) -> None:
        try:
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=1,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except Exception as error:  # a configuration can make it raise anything
            said = " ".join(str(error).split())[:_MOST_CHARS] or type(error).__name__
            raise BundleProblem(str(folder), f"transformers cannot read it: {said}") from error
        # transformers would fill what is missing with random numbers and go on.
        missing = sorted(loading["missing_keys"] | loading["mismatched_keys"])
        if missing:
            raise BundleProblem(str(folder), f"model.safetensors does not fill the encoder: {missing[:3]}")
        self._model = model.eval().to(device)
        for module in self._model.modules():
            if isinstance(module, Linear):
                module.register_forward_pre_hook(_even)
        self._precision = torch.autocast(device.type, products, enabled=products != torch.float32)

    def __call__(self, ids: Tensor, type_ids: Tensor | None, mask: Tensor) -> Tensor:
        """Score padded pairs.

        Args:
            ids: Token ids, integers `[n, width]`, on the weights' device.
            type_ids: Token types, likewise, or None where the encoder has none.
            mask: True where there is a token, bool `[n, width]`.

        Returns:
            Logits `[n]`.
        """
        types = {} if type_ids is None else {"token_type_ids": type_ids.long()}
        with self._precision:
            logits: Tensor = self._model(input_ids=ids.long(), attention_mask=mask.long(), **types).logits
        return logits[: len(ids), 0]


def _even(layer: Linear, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
    """Rows of zeros below those of a head: see `bert.EVEN_ROWS`. They are cut off at the end."""
    del layer
    rows = inputs[0]
    if rows.dim() != 2 or not len(rows) % EVEN_ROWS:
        return None
    return (functional.pad(rows, (0, 0, 0, -len(rows) % EVEN_ROWS)),)

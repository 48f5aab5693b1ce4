"""A BERT sequence classifier in plain torch: the same numbers as transformers', ready in a third of the time.

A replica that starts in two seconds instead of ten can be let go when a stream is quiet. Importing
transformers' model code is what takes the difference, so the architecture that most cross-encoders share
is written out here; `actors.automodel` serves the others. Tests hold the two together.

Inference only. Only the first token's output is read, so the last layer computes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_SUPPORTED = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes of an encoder, from its `config.json`."""

    n_vocabulary: int
    n_positions: int
    n_types: int
    n_layers: int
    n_heads: int
    hidden: int
    intermediate: int
    epsilon: float
    """Of the layer norms."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BertShape | None:
        """The shape, or None where this module would not compute what the configuration asks for."""
        if any(config.get(key, wanted) != wanted for key, wanted in _SUPPORTED.items()):
            return None
        return cls(
            n_vocabulary=config["vocab_size"],
            n_positions=config["max_position_embeddings"],
            n_types=config["type_vocab_size"],
            n_layers=config["num_hidden_layers"],
            n_heads=config["num_attention_heads"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            epsilon=config["layer_norm_eps"],
        )


class BertClassifier(nn.Module):
    """Embeddings, layers, pooler and a head of one output."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.n_vocabulary, shape.hidden)
        self.positions = nn.Embedding(shape.n_positions, shape.hidden)
        self.types = nn.Embedding(shape.n_types, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.layers = nn.ModuleList(BertLayer(shape) for _ in range(shape.n_layers))
        self.pooler = nn.Linear(shape.hidden, shape.hidden)
        self.head = nn.Linear(shape.hidden, 1)

    def forward(self, ids: Tensor, type_ids: Tensor, mask: Tensor) -> Tensor:
        """Score padded pairs.

        Args:
            ids: Token ids, int32 or int64 `[n, width]`, on the module's device.
            type_ids: Token types, likewise.
            mask: True where there is a token, bool `[n, width]`.

        Returns:
            Logits `[n]`, in the module's dtype.
        """
        positions = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.norm(self.words(ids) + self.types(type_ids) + self.positions(positions))
        visible = mask[:, None, None, :]  # [n, heads, queries, keys]
        for layer in self.layers[:-1]:
            hidden = layer(hidden, hidden, visible)
        first = self.layers[-1](hidden[:, :1], hidden, visible)[:, 0]
        return torch.tanh(self.pooler(first)).matmul(self.head.weight[0]) + self.head.bias


class BertLayer(nn.Module):
    """Attention and feed-forward, each with its residual and a layer norm after it."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.query = nn.Linear(shape.hidden, shape.hidden)
        self.key_value = nn.Linear(shape.hidden, 2 * shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)
        self.up = nn.Linear(shape.hidden, shape.intermediate)
        self.down = nn.Linear(shape.intermediate, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, eps=shape.epsilon)

    def forward(self, hidden: Tensor, context: Tensor, visible: Tensor) -> Tensor:
        """Update some tokens in the light of all.

        Args:
            hidden: Tokens to update, `[n, queries, hidden]`.
            context: Tokens to look at, `[n, width, hidden]`.
            visible: True where a token may be looked at, bool `[n, 1, 1, width]`.

        Returns:
            The updated tokens, `[n, queries, hidden]`.
        """
        key, value = self.key_value(context).chunk(2, dim=-1)
        attended = functional.scaled_dot_product_attention(
            self._heads(self.query(hidden)), self._heads(key), self._heads(value), attn_mask=visible
        )
        hidden = self.attention_norm(hidden + self.out(attended.transpose(1, 2).flatten(2)))
        updated: Tensor = self.output_norm(hidden + self.down(functional.gelu(self.up(hidden))))
        return updated

    def _heads(self, projected: Tensor) -> Tensor:
        """`[n, tokens, hidden]` to `[n, heads, tokens, hidden / heads]`, as a view."""
        return projected.view(*projected.shape[:-1], self.n_heads, -1).transpose(1, 2)


def from_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a `BertForSequenceClassification` state for `BertClassifier`.

    Args:
        weights: Tensors by transformers' names, as in `model.safetensors`.

    Returns:
        The same tensors by the names used here; key and value projections joined.

    Raises:
        KeyError: A tensor is missing.
    """
    renamed = {
        "words.weight": weights["bert.embeddings.word_embeddings.weight"],
        "positions.weight": weights["bert.embeddings.position_embeddings.weight"],
        "types.weight": weights["bert.embeddings.token_type_embeddings.weight"],
    }
    for kind in ("weight", "bias"):
        renamed[f"norm.{kind}"] = weights[f"bert.embeddings.LayerNorm.{kind}"]
        renamed[f"pooler.{kind}"] = weights[f"bert.pooler.dense.{kind}"]
        renamed[f"head.{kind}"] = weights[f"classifier.{kind}"]
        for i in range(_n_layers(weights)):
            theirs = f"bert.encoder.layer.{i}"
            parts = {
                "query": f"{theirs}.attention.self.query",
                "out": f"{theirs}.attention.output.dense",
                "attention_norm": f"{theirs}.attention.output.LayerNorm",
                "up": f"{theirs}.intermediate.dense",
                "down": f"{theirs}.output.dense",
                "output_norm": f"{theirs}.output.LayerNorm",
            }
            renamed |= {
                f"layers.{i}.{our}.{kind}": weights[f"{their}.{kind}"] for our, their in parts.items()
            }
            key, value = (weights[f"{theirs}.attention.self.{part}.{kind}"] for part in ("key", "value"))
            renamed[f"layers.{i}.key_value.{kind}"] = torch.cat([key, value])
    return renamed


def _n_layers(weights: Mapping[str, Tensor]) -> int:
    prefix = "bert.encoder.layer."
    return 1 + max(
        (int(name.removeprefix(prefix).split(".")[0]) for name in weights if name.startswith(prefix)),
        default=-1,
    )

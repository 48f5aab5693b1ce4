"""A BERT sequence classifier in plain torch: transformers' numbers, without its seconds of import.

A replica that starts in two seconds instead of ten can be let go when a stream is quiet. Importing
transformers' model code is what takes the difference, so the architecture that most cross-encoders share
is written out here; `actors.automodel` serves the others. Tests hold the two together.

Inference only: tensors and functions, no modules, because initialising parameters that are replaced at once
imports half of torch's compiler. Only the first token's output is read, so the last layer computes few others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from actors.varlen import AttendPacked, Places

_SUPPORTED = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
EVEN_ROWS = 8
"""A CPU sums a product's last rows in another order where there are not a multiple of so many of them, and what a
pair scores must not depend on how many are scored beside it (AVX-512, torch 2.15: equal to the bit from 8 on)."""
# A buffer that older releases of transformers saved with the weights.
_IGNORED = {"bert.embeddings.position_ids"}


def supports(config: Mapping[str, Any]) -> bool:
    """Whether this module computes what a `config.json` asks for."""
    return all(config.get(key, wanted) == wanted for key, wanted in _SUPPORTED.items())


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values `[..., heads, size]` to what each query takes of the values, shaped as the queries."""


class Linear(NamedTuple):
    """An affine map of the last dimension, computed in the dtype of its own weight."""

    weight: Tensor
    """`[n_out, n_in]`."""
    bias: Tensor
    """`[n_out]`."""

    def __call__(self, x: Tensor) -> Tensor:
        """`[..., n_in]` to `[..., n_out]`."""
        return functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


class Norm(NamedTuple):
    """A layer norm over the last dimension."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


@dataclass(frozen=True, slots=True)
class BertLayer:
    """Attention and feed-forward, each with its residual and a layer norm after it."""

    n_heads: int
    query: Linear
    key_value: Linear
    out: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm

    def __call__(self, hidden: Tensor, context: Tensor, attend: Attend) -> Tensor:
        """Update some tokens in the light of all.

        Args:
            hidden: Tokens to update, `[..., hidden]`.
            context: Tokens to look at, `[..., hidden]`.
            attend: What a token to update takes from those that it may look at.

        Returns:
            The updated tokens, of the shape of `hidden`.
        """
        key, value = self.key_value(context).chunk(2, dim=-1)
        attended = attend(self._heads(self.query(hidden)), self._heads(key), self._heads(value))
        hidden = self.attention_norm(hidden + self.out(attended.flatten(-2)))
        return self.output_norm(hidden + self.down(functional.gelu(self.up(hidden))))

    def _heads(self, projected: Tensor) -> Tensor:
        """`[..., hidden]` to `[..., heads, hidden / heads]`, as a view."""
        return projected.view(*projected.shape[:-1], self.n_heads, -1)


@dataclass(frozen=True, slots=True)
class BertClassifier:
    """Embeddings, layers, pooler and a head of one output."""

    words: Tensor
    """`[n_vocabulary, hidden]`."""
    positions: Tensor
    """`[n_positions, hidden]`."""
    types: Tensor
    """`[n_types, hidden]`."""
    norm: Norm
    layers: tuple[BertLayer, ...]
    pooler: Linear
    head: Linear

    def __call__(self, ids: Tensor, type_ids: Tensor | None, mask: Tensor) -> Tensor:
        """Score padded pairs.

        Args:
            ids: Token ids, integers `[n, width]`, on the weights' device.
            type_ids: Token types, likewise; None where all are 0.
            mask: True where there is a token, bool `[n, width]`.

        Returns:
            Logits `[n]`, float32.
        """

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            query, key, value = (part.transpose(1, 2) for part in (query, key, value))
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
            return attended.transpose(1, 2)

        visible = mask[:, None, None, :]
        hidden = self._embedded(ids, type_ids, self.positions[: ids.shape[1]])
        for layer in self.layers[:-1]:
            hidden = layer(hidden, hidden, attend)
        first = self.layers[-1](hidden[:, :EVEN_ROWS].contiguous(), hidden, attend)
        return self.head(torch.tanh(self.pooler(first)))[:, 0, 0]

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
            type_ids: Token types, likewise; None where all are 0.
            positions: Each token's place in its pair, likewise.
            bounds: Where pairs begin and end, int32 `[n + 1]`; see `batching.PackedBatch`.
            attend: Attention within the pairs.

        Returns:
            Logits `[n]`, float32; anything for an empty pair.
        """
        everywhere = Places(bounds, bounds)
        at_first = Places(torch.arange(len(bounds), dtype=torch.int32, device=bounds.device), bounds)
        hidden = self._embedded(ids, type_ids, self.positions[positions.long()])
        for layer in self.layers[:-1]:
            hidden = layer(hidden, hidden, partial(attend, everywhere))
        first = self.layers[-1](
            hidden[bounds[:-1].clamp(max=len(hidden) - 1)], hidden, partial(attend, at_first)
        )
        # A GPU sums products of fp32 in an order that follows their number; of fp64, that shows in no logit.
        pooler, head = (Linear(one.weight.double(), one.bias.double()) for one in (self.pooler, self.head))
        return head(torch.tanh(pooler(first)))[:, 0].float()

    def _embedded(self, ids: Tensor, type_ids: Tensor | None, positions: Tensor) -> Tensor:
        types = self.types[0] if type_ids is None else self.types[type_ids.long()]
        return self.norm(self.words[ids.long()] + types + positions)


def read_classifier(
    weights: Mapping[str, Tensor], config: Mapping[str, Any], *, products: torch.dtype
) -> BertClassifier:
    """Build the classifier on the tensors of a `BertForSequenceClassification`.

    Only the layers' products are ever computed in less than float32: what is summed up from layer to layer,
    the norms and the head stay exact, which costs little and keeps the logits of bf16 close.

    Args:
        weights: Tensors by transformers' names, float32, all on one device.
        config: The `config.json` beside them, one that `supports` accepts.
        products: The dtype of the layers' matrix products.

    Returns:
        The classifier, on that device.

    Raises:
        ValueError: Weights and configuration do not belong together, or the head has not one output.
        KeyError: A tensor or a size is missing.
    """
    reader = _Reader(dict(weights), config["layer_norm_eps"])
    layers = tuple(_read_layer(reader, config, i, products) for i in range(config["num_hidden_layers"]))
    hidden, embeddings = config["hidden_size"], "bert.embeddings"
    classifier = BertClassifier(
        words=reader.tensor(f"{embeddings}.word_embeddings.weight", config["vocab_size"], hidden),
        positions=reader.tensor(
            f"{embeddings}.position_embeddings.weight", config["max_position_embeddings"], hidden
        ),
        types=reader.tensor(f"{embeddings}.token_type_embeddings.weight", config["type_vocab_size"], hidden),
        norm=reader.norm(f"{embeddings}.LayerNorm", hidden),
        layers=layers,
        pooler=reader.linear("bert.pooler.dense", hidden, hidden),
        head=reader.linear("classifier", hidden, 1),
    )
    reader.refuse_leftovers()
    return classifier


def _read_layer(reader: _Reader, config: Mapping[str, Any], index: int, products: torch.dtype) -> BertLayer:
    name = f"bert.encoder.layer.{index}"
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]

    def linear(part: str, n_in: int = hidden, n_out: int = hidden) -> Linear:
        exact = reader.linear(f"{name}.{part}", n_in, n_out)
        return Linear(exact.weight.to(products), exact.bias.to(products))

    key, value = linear("attention.self.key"), linear("attention.self.value")
    return BertLayer(
        n_heads=config["num_attention_heads"],
        query=linear("attention.self.query"),
        # One product instead of two: both read the same tokens.
        key_value=Linear(torch.cat([key.weight, value.weight]), torch.cat([key.bias, value.bias])),
        out=linear("attention.output.dense"),
        attention_norm=reader.norm(f"{name}.attention.output.LayerNorm", hidden),
        up=linear("intermediate.dense", n_out=intermediate),
        down=linear("output.dense", n_in=intermediate),
        output_norm=reader.norm(f"{name}.output.LayerNorm", hidden),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes tensors out by name, each with the shape that it must have. Mutates `unread`."""

    unread: dict[str, Tensor]
    epsilon: float

    def tensor(self, name: str, *shape: int) -> Tensor:
        tensor = self.unread.pop(name)
        if tensor.shape != shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the configuration says {shape}")
        return tensor

    def linear(self, name: str, n_in: int, n_out: int) -> Linear:
        return Linear(self.tensor(f"{name}.weight", n_out, n_in), self.tensor(f"{name}.bias", n_out))

    def norm(self, name: str, size: int) -> Norm:
        return Norm(self.tensor(f"{name}.weight", size), self.tensor(f"{name}.bias", size), self.epsilon)

    def refuse_leftovers(self) -> None:
        leftovers = sorted(self.unread.keys() - _IGNORED)
        if leftovers:
            raise ValueError(f"the configuration has no place for {', '.join(leftovers[:3])}")

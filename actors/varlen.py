"""Attention within pairs that lie back to back on a GPU: nothing is computed for padding.

By torch's own FlashAttention kernels, which need a GPU of Ampere's generation or later and products in bf16.
Elsewhere pairs are padded: `fits` says which it is. Knows tensors and where pairs begin, and no encoder.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

_AMPERE = (8, 0)
_SIZE_STEP, _MOST_SIZE = 8, 256
"""What the kernels ask of a head's size."""


class Places(NamedTuple):
    """Where n pairs lie, int32 `[n + 1]` each: pair i is rows `[i]` to `[i + 1]`."""

    queries: Tensor
    keys: Tensor


class AttendPacked(Protocol):
    """Attention of each pair's queries to its own keys."""

    def __call__(
        self, places: Places, query: Tensor, key: Tensor, value: Tensor, *, reach: int | None = None
    ) -> Tensor:
        """What each query takes of the values, shaped as the queries; of keys at most `reach` places away."""


def fits(config: Mapping[str, Any], *, device: torch.device, products: torch.dtype) -> bool:
    """Whether an encoder's attention can be computed so.

    Args:
        config: Its `config.json`.
        device: Where its weights are.
        products: The dtype of its matrix products.

    Returns:
        False where pairs must be padded.
    """
    size, rest = divmod(config.get("hidden_size", 1), config.get("num_attention_heads", 1))
    return (
        device.type == "cuda"
        and products is torch.bfloat16
        and torch.cuda.get_device_capability(device) >= _AMPERE
        and not rest
        and not size % _SIZE_STEP
        and size <= _MOST_SIZE
        and _kernel() is not None
    )


def attention(*, longest: int) -> AttendPacked:
    """The attention of an encoder that fits.

    Args:
        longest: Ceiling on the tokens of a pair.

    Returns:
        What computes it, for bf16 queries `[queries, heads, size]`, and keys and values `[rows, heads, size]`.

    Raises:
        RuntimeError: Nothing fits in this release of torch.
    """
    kernel = _kernel()
    if kernel is None:
        raise RuntimeError("this torch has no attention of variable length: ask fits() first")

    def attend(
        places: Places, query: Tensor, key: Tensor, value: Tensor, *, reach: int | None = None
    ) -> Tensor:
        window = (-1, -1) if reach is None else (reach, reach)
        attended: Tensor = kernel(query, key, value, *places, longest, longest, window_size=window)
        return attended

    return attend


@cache
def _kernel() -> Callable[..., Any] | None:
    """Torch's attention of variable length; None where there is none."""
    try:
        # Seconds, for half of torch's compiler: only where there is a GPU.
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    if "window_size" not in known:  # torch 2.10
        return None
    # One split of a pair's keys, whatever the longest pair of a batch: the order of sums must not follow company.
    # Releases without the option never split them.
    return partial(varlen_attn, num_splits=1) if "num_splits" in known else varlen_attn

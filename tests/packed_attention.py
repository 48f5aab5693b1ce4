"""Attention within pairs that lie back to back, pair by pair: what the GPU's kernels must compute."""

import torch
from torch.nn import functional


def attend(places, query, key, value, *, reach=None):
    """See `actors.varlen.AttendPacked`."""
    attended = torch.zeros_like(query)
    for (first, last), (start, stop) in zip(
        *(bounds.unfold(0, 2, 1).tolist() for bounds in places), strict=True
    ):
        if start == stop:
            continue  # an idle pair
        parts = query[first:last], key[start:stop], value[start:stop]
        near = None
        if reach is not None:
            near = (torch.arange(last - first)[:, None] - torch.arange(stop - start)).abs() <= reach
        by_head = (part.transpose(0, 1)[None] for part in parts)
        found = functional.scaled_dot_product_attention(*by_head, attn_mask=near)
        attended[first:last] = found[0].transpose(0, 1)
    return attended

"""The model on its device: padded pairs in, logits out.

`Backend` is all that a scorer asks of an encoder; the torch one is here. It opens only what a checked
bundle holds, and never the network. float32 on a CPU is the reference; on a GPU the matrix products are
bf16 (measured on a CPU, MiniLM with a random head: correlation 0.99995, RMS difference 1% of the spread).
Importing this module imports torch, two seconds; whoever only prepares or decides need not.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from actors import bert
from actors.batching import PaddedBatch
from actors.bundle import WEIGHTS_FILE, Bundle, read_config
from actors.errors import BundleProblem, DeviceMissing

Classifier = Callable[[Tensor, Tensor | None, Tensor], Tensor]
"""Ids, types and mask `[n, width]` to logits `[n]`, all on one device."""


class Backend(Protocol):
    """An encoder that is ready to score."""

    @property
    def device(self) -> str:
        """Where it runs, such as `cpu` or `cuda`."""

    @property
    def pad_id(self) -> int:
        """The token that pads."""

    def logits(self, batch: PaddedBatch) -> NDArray[np.float32]:
        """Severity of each pair, float32 `[n]`; blocks until it is on the host."""


class TorchBackend:
    """A bundle's encoder in torch, in inference mode.

    Args:
        bundle: A checked bundle.
        device: `cpu`, `cuda`, `cuda:<n>`, or `auto`: the GPU if there is one.
        threads: CPU threads of torch, for the whole process; None leaves torch's own choice.

    Raises:
        DeviceMissing: The device is not on this machine.
        BundleProblem: The configuration is malformed, the weights are not those of a classifier of one output, or
            it has fewer positions than the bundle's `max_tokens`.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> None:
        self._device = _device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        config = read_config(bundle.path)
        n_positions = config.get("max_position_embeddings")
        if n_positions is not None and n_positions < bundle.manifest.max_tokens:
            raise BundleProblem(
                str(bundle.path),
                f"max_tokens is {bundle.manifest.max_tokens}, the encoder has {n_positions} positions",
            )
        products = torch.float32 if self._device.type == "cpu" else torch.bfloat16
        self._classify = _load(bundle, config, self._device, products)
        self._pad_id = int(config.get("pad_token_id") or 0)

    @property
    def device(self) -> str:
        """Where it runs, such as `cpu` or `cuda`."""
        return str(self._device)

    @property
    def pad_id(self) -> int:
        """The token that pads."""
        return self._pad_id

    @torch.inference_mode()
    def logits(self, batch: PaddedBatch) -> NDArray[np.float32]:
        """Score pairs of one width; blocks until the logits are on the host.

        Args:
            batch: Pairs, n of them, on the host.

        Returns:
            Severity, float32 `[n]`; as the encoder gave it, finite or not.
        """
        types = None if batch.type_ids is None else self._send(batch.type_ids).long()
        logits: Tensor = self._classify(self._send(batch.ids).long(), types, self._send(batch.mask))
        return np.asarray(logits.float().cpu().numpy())

    def _send(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def _device(wanted: str) -> torch.device:
    present = ("cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count())))
    if wanted == "auto":
        return torch.device("cuda" if len(present) > 1 else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceMissing(wanted, present) from error
    if f"{device.type}:{device.index or 0}" not in (*present, "cpu:0"):
        raise DeviceMissing(wanted, present)
    return device


def _load(bundle: Bundle, config: dict[str, Any], device: torch.device, products: torch.dtype) -> Classifier:
    """The bundle's classifier: written out here if it can be, else by transformers."""
    if not bert.supports(config):
        # By name, because importing transformers' model code takes longer than all else together.
        automodel = import_module("actors.automodel")
        classifier: Classifier = automodel.AutoClassifier(bundle.path, device=device, products=products)
        return classifier
    try:
        weights = safetensors.torch.load_file(bundle.path / WEIGHTS_FILE)
        exact = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}
        return bert.read_classifier(exact, config, products=products)
    except (KeyError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise BundleProblem(str(bundle.path), f"{WEIGHTS_FILE} does not fill the encoder: {error}") from error

"""The model on its device: padded pairs in, logits out.

`Backend` is all that a scorer asks of an encoder; the torch one is here. It opens only what a checked
bundle holds, and never the network. fp32 on a CPU is the reference; on a GPU weights and activations are
bf16, which moves a logit by less than a hundredth of its spread. Importing this module imports torch (two
seconds); whoever only prepares or decides need not.
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from actors.batching import PaddedBatch
from actors.bert import BertClassifier, BertShape, from_transformers
from actors.bundle import Bundle
from actors.errors import BundleProblem, DeviceMissing


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
        BundleProblem: The weights are not those of a classifier of one output.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> None:
        self._device = _device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        config = json.loads((bundle.path / "config.json").read_text(encoding="utf-8"))
        dtype = torch.float32 if self._device.type == "cpu" else torch.bfloat16
        self._module = _load(bundle, config, dtype).eval().to(self._device, dtype)
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
        logits: Tensor = self._module(self._send(batch.ids).long(), types, self._send(batch.mask))
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


def _load(bundle: Bundle, config: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    """The bundle's classifier on the host: written out here if it can be, else by transformers."""
    shape = BertShape.of(config)
    if shape is None:
        # By name, because importing transformers' model code takes longer than all else together.
        module: nn.Module = import_module("actors.automodel").AutoClassifier(bundle.path, dtype=dtype)
        return module
    try:
        weights = from_transformers(safetensors.torch.load_file(bundle.path / "model.safetensors"))
        with torch.device("meta"):  # no memory and no random numbers for what is replaced at once
            classifier = BertClassifier(shape)
        classifier.load_state_dict(weights, assign=True)
    except (KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise BundleProblem(
            str(bundle.path), f"model.safetensors does not fill the encoder: {error}"
        ) from error
    return classifier

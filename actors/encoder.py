"""The model on its device: padded pairs in, logits out.

`Backend` is all that a scorer asks of an encoder, and `open_backend` gives the one that a bundle names. The torch
one is here; it computes in the bundle's precision wherever it runs, from what a checked bundle holds and never
from the network. Importing this module imports torch, two seconds; whoever only prepares or decides need not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
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
from actors.errors import BundleProblem, DeviceMissing, OutOfMemory
from actors.serving import Engine, Precision

logger = logging.getLogger(__name__)

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

    @property
    def n_positions(self) -> int | None:
        """Tokens of the widest pair that it reads; None where it has no limit."""

    def logits(self, batch: PaddedBatch) -> NDArray[np.float32]:
        """Severity of each pair, float32 `[n]`; blocks until it is on the host. Raises OutOfMemory."""


def open_backend(bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> Backend:
    """Load a bundle's encoder, to be computed as the bundle says.

    Args:
        bundle: A checked bundle.
        device: `cpu`, `cuda`, `cuda:<n>`, or `auto`: the GPU if there is one and the engine runs there.
        threads: CPU threads, for the whole process; None leaves the engine's own choice.

    Returns:
        The encoder, ready to score.

    Raises:
        BundleProblem: A part of the bundle is malformed, or this processor cannot compute it so.
        DeviceMissing: The device is not on this machine.
        ExtraMissing: The engine is not installed.
    """
    if bundle.manifest.serving.engine is Engine.OPENVINO:
        # By name: who serves with torch alone needs no other engine installed.
        openvino: Backend = import_module("actors.openvino_backend").OpenVinoBackend(
            bundle, device=device, threads=threads
        )
        return openvino
    return TorchBackend(bundle, device=device, threads=threads)


def read_positions(bundle: Bundle, config: Mapping[str, Any]) -> int | None:
    """How many tokens the encoder reads at most.

    Args:
        bundle: A checked bundle.
        config: Its `config.json`.

    Returns:
        The limit; None where there is none.

    Raises:
        BundleProblem: It is below the bundle's `max_tokens`.
    """
    n_positions = config.get("max_position_embeddings")
    if n_positions is not None and n_positions < bundle.manifest.max_tokens:
        raise BundleProblem(
            str(bundle.path),
            f"max_tokens is {bundle.manifest.max_tokens}, the encoder has {n_positions} positions",
        )
    return None if n_positions is None else int(n_positions)


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
        self._n_positions = read_positions(bundle, config)
        products = torch.bfloat16 if bundle.manifest.serving.precision is Precision.BF16 else torch.float32
        if self._device.type == "cuda" and products is torch.float32:
            logger.warning(
                "%s computes in fp32, as the bundle says; for a GPU make a child in bf16: "
                "sluice bundle optimise --engine torch --precision bf16",
                self._device,
            )
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

    @property
    def n_positions(self) -> int | None:
        """Tokens of the widest pair that it reads; None where it has no limit."""
        return self._n_positions

    @torch.inference_mode()
    def logits(self, batch: PaddedBatch) -> NDArray[np.float32]:
        """Score pairs of one width; blocks until the logits are on the host.

        Args:
            batch: Pairs, n of them, on the host.

        Returns:
            Severity, float32 `[n]`; as the encoder gave it, finite or not.

        Raises:
            OutOfMemory: The device has no room for so many tokens at once.
        """
        try:
            types = None if batch.type_ids is None else self._send(batch.type_ids).long()
            logits: Tensor = self._classify(self._send(batch.ids).long(), types, self._send(batch.mask))
            return np.asarray(logits.float().cpu().numpy())
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(self.device, batch.ids.size) from error

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

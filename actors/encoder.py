"""The model on its device: tokens in, logits out.

`Backend` is all that a scorer asks of an encoder, and `open_backend` gives the one that a bundle names. The torch
one is here; it computes in the bundle's precision wherever it runs, from what a checked bundle holds and never
from the network. On a GPU it is compiled, leaves padding out where `varlen` can, and copies while it computes.
Importing this module imports torch, two seconds; whoever only prepares or decides need not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from actors import bert, varlen
from actors.batching import PAIR_STEP, lay_packed, pad
from actors.bundle import WEIGHTS_FILE, Bundle, read_config
from actors.errors import BundleProblem, DeviceMissing, OutOfMemory
from actors.serving import Engine, Precision
from actors.tokens import Tokens

logger = logging.getLogger(__name__)

Classify = Callable[..., Tensor]
"""The columns of a batch, on one device, to a logit for each of its pairs."""
Pending = Callable[[], NDArray[np.float32]]
"""Waits for the logits of a piece, float32 `[n]`."""


class Backend(Protocol):
    """An encoder that is ready to score."""

    @property
    def device(self) -> str:
        """Where it runs, such as `cpu` or `cuda`."""

    @property
    def n_positions(self) -> int | None:
        """Tokens of the widest pair that it reads; None where it has no limit."""

    @property
    def pads(self) -> bool:
        """Whether the pairs of a piece must have one width; else they lie back to back."""

    @property
    def pair_step(self) -> int:
        """Where it pads: the pairs of a piece come in multiples of it, idle ones among them."""

    def launch(self, tokens: Tokens, *, width: int) -> Pending:
        """Begin to score a piece, of at most `width` tokens a pair. Raises OutOfMemory."""


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
        self._pad_id = int(config.get("pad_token_id") or 0)
        self._longest = bundle.manifest.max_tokens
        self._classify, self._pads = _load(bundle, config, self._device, products)
        self._copying = None
        if self._device.type == "cuda":
            self._copying = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            self._classify = torch.compile(self._classify, dynamic=True)

    @property
    def device(self) -> str:
        """Where it runs, such as `cpu` or `cuda`."""
        return str(self._device)

    @property
    def n_positions(self) -> int | None:
        """Tokens of the widest pair that it reads; None where it has no limit."""
        return self._n_positions

    @property
    def pads(self) -> bool:
        """Whether the pairs of a piece must have one width; else they lie back to back."""
        return self._pads

    @property
    def pair_step(self) -> int:
        """Where it pads: the pairs of a piece come in multiples of it, idle ones among them."""
        return 1 if self._copying is None else PAIR_STEP

    @torch.inference_mode()
    def launch(self, tokens: Tokens, *, width: int) -> Pending:
        """Begin to score a piece: on a GPU it is on its way when this returns, on a CPU it is done.

        Args:
            tokens: Pairs, n of them.
            width: Tokens of each, with padding; where nothing is padded, ignored.

        Returns:
            What waits for the logits, as the encoder gave them, finite or not.

        Raises:
            OutOfMemory: The device has no room for so many tokens at once.
        """
        batch: tuple[NDArray[Any] | None, ...]
        if self._pads:
            batch = pad(tokens, width=width, pad_id=self._pad_id, step=self.pair_step)
        else:
            batch = lay_packed(tokens, longest=self._longest, pad_id=self._pad_id)
        try:
            return self._fetch(self._classify(*map(self._send, batch))[: len(tokens)])
        except torch.OutOfMemoryError as error:
            raise OutOfMemory(self.device, batch.ids.size) from error

    def _send(self, column: NDArray[Any] | None) -> Tensor | None:
        """To the device; a GPU copies while it computes what was sent before."""
        if column is None:
            return None
        here = torch.from_numpy(column)
        if self._copying is None:
            return here
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copying):
            sent = here.pin_memory().to(self._device, non_blocking=True)
        computing.wait_stream(self._copying)
        sent.record_stream(computing)
        return sent

    def _fetch(self, logits: Tensor) -> Pending:
        if self._copying is None:
            found: NDArray[np.float32] = logits.float().numpy()
            return lambda: found
        host = torch.empty(len(logits), pin_memory=True)
        host.copy_(logits, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self._device))

        def wait() -> NDArray[np.float32]:
            done.synchronize()
            arrived: NDArray[np.float32] = host.numpy()
            return arrived

        return wait


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


def _load(
    bundle: Bundle, config: dict[str, Any], device: torch.device, products: torch.dtype
) -> tuple[Classify, bool]:
    """The classifier, written out here if it can be, else by transformers; and whether it needs padding."""
    packs = varlen.fits(config, device=device, products=products)
    classifier: Any
    if bert.supports(config):
        classifier = read_bert(bundle, config, device, products)
        if device.type == "cuda":
            _keep_shapes(classifier)
    elif packs and config.get("model_type") == "modernbert":
        # By name, because importing transformers' model code takes longer than all else together.
        modernbert = import_module("actors.modernbert")
        classifier = modernbert.PackedModernBert(bundle.path, device=device, products=products)
    else:
        automodel = import_module("actors.automodel")
        return automodel.AutoClassifier(bundle.path, device=device, products=products), True
    if not packs:
        return classifier, True
    attend = varlen.attention(longest=bundle.manifest.max_tokens)
    return partial(classifier.packed, attend=attend), False


def _keep_shapes(part: object) -> None:
    """Tell torch's compiler that these weights keep their shapes, as it knows of a module's.

    Otherwise a size of theirs that a batch happens to have is taken for the batch's, and the next batch compiled
    for anew.
    """
    if isinstance(part, Tensor):
        torch._dynamo.mark_static(part)  # noqa: SLF001 - documented under this name
    elif isinstance(part, tuple):
        for one in part:
            _keep_shapes(one)
    elif is_dataclass(part):
        for field in fields(part):
            _keep_shapes(getattr(part, field.name))


def read_bert(
    bundle: Bundle, config: dict[str, Any], device: torch.device, products: torch.dtype
) -> bert.BertClassifier:
    """A bundle's encoder, where it is a BERT.

    Args:
        bundle: A checked bundle.
        config: Its `config.json`, one that `bert.supports`.
        device: Where the weights go.
        products: The dtype of the layers' matrix products.

    Returns:
        The classifier.

    Raises:
        BundleProblem: The weights are not those of such a classifier of one output.
    """
    try:
        weights = safetensors.torch.load_file(bundle.path / WEIGHTS_FILE)
        exact = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}
        return bert.read_classifier(exact, config, products=products)
    except (KeyError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise BundleProblem(str(bundle.path), f"{WEIGHTS_FILE} does not fill the encoder: {error}") from error

"""A bundle's exported encoder on a CPU, in OpenVINO: two to four times as fast as the same weights in torch.

Computes in the precision that the bundle says, which OpenVINO would otherwise choose for itself, and holds
oneDNN to the bundle's instruction set, so that a newer processor computes what the older one did. Importing
it imports OpenVINO: `encoder.open_backend` does so only for a bundle that needs it.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.batching import pad
from actors.bundle import EXPORT_FILES, Bundle, read_config
from actors.encoder import Pending, read_positions
from actors.errors import BundleProblem, DeviceMissing, ExtraMissing
from actors.serving import Precision, Serving, instructions_here
from actors.tokens import Tokens

_HELD_BY = "ONEDNN_MAX_CPU_ISA"
"""Read once by oneDNN, at its first product in a process."""


class OpenVinoBackend:
    """A bundle's encoder, compiled.

    Args:
        bundle: A checked bundle that holds an export.
        device: `cpu` or `auto`.
        threads: CPU threads; None leaves OpenVINO's own choice.

    Raises:
        BundleProblem: The export is malformed or missing, this processor lacks the bundle's instructions, or
            another bundle has held this process to others.
        DeviceMissing: Another device was asked for.
        ExtraMissing: OpenVINO is not installed.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> None:
        if device not in {"auto", "cpu"}:
            raise DeviceMissing(device, ("cpu",))
        serving = bundle.manifest.serving
        hold(bundle, serving)
        config = read_config(bundle.path)
        self._n_positions = read_positions(bundle, config)
        self._pad_id = int(config.get("pad_token_id") or 0)
        self._compiled = _compiled(bundle, serving, threads)
        self._request = self._compiled.create_infer_request()
        self._names = {port.any_name for port in self._compiled.inputs}

    @property
    def device(self) -> str:
        """Where it runs."""
        return "cpu"

    @property
    def n_positions(self) -> int | None:
        """Tokens of the widest pair that it reads; None where it has no limit."""
        return self._n_positions

    @property
    def pads(self) -> bool:
        """The pairs of a piece must have one width."""
        return True

    @property
    def pair_step(self) -> int:
        """A piece may have any number of pairs."""
        return 1

    def launch(self, tokens: Tokens, *, width: int) -> Pending:
        """Score a piece; it is done when this returns.

        Args:
            tokens: Pairs, n of them.
            width: Tokens of each, with padding.

        Returns:
            What gives the logits, as the encoder gave them, finite or not.
        """
        batch = pad(tokens, width=width, pad_id=self._pad_id)
        columns = {
            "input_ids": batch.ids,
            "attention_mask": batch.mask,
            "token_type_ids": np.zeros_like(batch.ids) if batch.type_ids is None else batch.type_ids,
        }
        read = {name: column.astype(np.int64) for name, column in columns.items() if name in self._names}
        found = self._request.infer(read, share_inputs=True)[self._compiled.output(0)]
        logits: NDArray[np.float32] = np.array(found[:, 0], np.float32)
        return lambda: logits


def hold(bundle: Bundle, serving: Serving) -> None:
    """Hold this process to a bundle's instruction set, before the first product in it.

    Args:
        bundle: For an error.
        serving: How it is computed.

    Raises:
        BundleProblem: This processor has not that set, or the process is held to another.
    """
    wanted, here = serving.instructions, instructions_here()
    if wanted is None or wanted not in here:
        has = ", ".join(sorted(here)) or "none that is known"
        problem = (
            f"it is computed with {wanted}, this processor has {has}; make a child: sluice bundle optimise"
        )
        raise BundleProblem(str(bundle.path), problem)
    held = os.environ.setdefault(_HELD_BY, wanted.value)
    if held != wanted.value:
        problem = f"it is computed with {wanted}, and this process is held to {held} ({_HELD_BY})"
        raise BundleProblem(str(bundle.path), problem)


def import_openvino() -> Any:  # noqa: ANN401 - OpenVINO is untyped
    """OpenVINO, which calls nobody from here: it, and NNCF, would tell their makers of each conversion.

    Returns:
        The module.

    Raises:
        ExtraMissing: It is not installed.
    """
    absent: Any = None  # in the place of a module: whoever imports it goes on without
    sys.modules.setdefault("openvino_telemetry", absent)
    try:
        import openvino  # noqa: PLC0415 - not everybody has it
    except ModuleNotFoundError as error:
        raise ExtraMissing("openvino", str(error.name)) from error
    return openvino


def _hint(serving: Serving) -> str:
    """Of all products, or of those that an int8 graph leaves out: in bf16 where there are such products."""
    held = serving.instructions
    if serving.precision is Precision.INT8:
        return "bf16" if held is not None and held.multiplies_bf16 else "f32"
    return {Precision.FP32: "f32", Precision.BF16: "bf16"}[serving.precision]


@functools.cache
def _core() -> Any:  # noqa: ANN401
    """The only one of this process, for as long as that lives.

    Each puts a signal stack of its own in the place of the one before it, and when two end in the order in which
    they came, the first one's is put back, which is gone: the next signal ends the process (OpenVINO 2026.4).
    """
    return import_openvino().Core()


def _compiled(bundle: Bundle, serving: Serving, threads: int | None) -> Any:  # noqa: ANN401
    core = _core()
    wanted: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _hint(serving),
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # no scale may follow from what is scored
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    if threads is not None:
        wanted["INFERENCE_NUM_THREADS"] = threads
    graph = bundle.path / EXPORT_FILES[0]
    if not graph.is_file():
        raise BundleProblem(str(bundle.path), f"it is computed as {serving}, and holds no {graph.name}")
    try:
        return core.compile_model(str(graph), "CPU", wanted)
    except RuntimeError as error:  # OpenVINO raises nothing narrower
        said = str(error).strip().rpartition("\n")[2]
        raise BundleProblem(str(bundle.path), f"{graph.name} cannot be used: {said}") from error

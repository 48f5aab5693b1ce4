"""Turns a bundle's weights into what another engine computes; nothing of it decides what a pair is worth.

Promises the files of an export, in the precision that was asked for. In int8 the scales are settled here, once, on
pairs that are given: none is ever computed while serving, where it would follow from a pair's company. Needs the
`train` extra; importing it imports transformers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

from actors.batching import WIDTH_STEP, pad, padded_widths
from actors.bundle import EXPORT_FILES, Bundle, read_config
from actors.errors import BundleProblem
from actors.learn.quiet import quiet
from actors.openvino_backend import import_openvino
from actors.serving import Precision, Serving
from actors.tokens import Tokens, has_types

_MOST_ROWS = 1 << 16
"""Pairs at once; the exporter asks for a bound."""


def export(bundle: Bundle, serving: Serving, pairs: Tokens) -> dict[str, bytes]:
    """Export an encoder to OpenVINO.

    Args:
        bundle: A checked bundle, whose weights are exported.
        serving: With OpenVINO as its engine.
        pairs: What int8 settles its scales on, of the role `train`; some hundred do.

    Returns:
        Contents by name, of `EXPORT_FILES`.

    Raises:
        BundleProblem: The encoder cannot be exported.
    """
    openvino = import_openvino()
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        graph = _converted(bundle)
        if serving.precision is Precision.INT8:
            exact = serving.instructions is not None and serving.instructions.multiplies_int8
            graph = _quantised(graph, list(_samples(graph, pairs)), exact=exact)
        openvino.save_model(graph, Path(scratch) / EXPORT_FILES[0], compress_to_fp16=False)
        return {name: (Path(scratch) / name).read_bytes() for name in EXPORT_FILES}


def _converted(bundle: Bundle) -> Any:  # noqa: ANN401 - OpenVINO is untyped
    """The graph in float32, for any number of pairs of any width."""
    from transformers.exporters.exporter_openvino import (  # noqa: PLC0415
        OpenVINOConfig,
        OpenVINOExporter,
    )

    config = read_config(bundle.path)
    model = AutoModelForSequenceClassification.from_pretrained(
        bundle.path,
        num_labels=1,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    ).eval()
    # Each input a tensor of its own, and a mask that masks: what is traced must not look the same by chance.
    ids = torch.ones(2, 2 * WIDTH_STEP, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, WIDTH_STEP:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if has_types(config):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    shape = {0: Dim("rows", min=1, max=_MOST_ROWS), 1: Dim("width", max=_longest(bundle, config))}
    wanted = OpenVINOConfig(dynamic=True, dynamic_shapes=dict.fromkeys(inputs, shape), stateful=False)
    try:
        return OpenVINOExporter().export(model, inputs, config=wanted).program
    except Exception as error:  # tracing somebody's architecture can raise anything
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BundleProblem(str(bundle.path), f"OpenVINO cannot take its encoder: {said}") from error


def _longest(bundle: Bundle, config: Mapping[str, Any]) -> int:
    """The widest rectangle that a scorer may make of this bundle's pairs."""
    (width,) = padded_widths([bundle.manifest.max_tokens], n_positions=config.get("max_position_embeddings"))
    return int(width)


def _quantised(graph: Any, samples: list[dict[str, Any]], *, exact: bool) -> Any:  # noqa: ANN401
    """The graph with weights and activations in int8, but for what a few products more precise are worth."""
    import nncf  # noqa: PLC0415 - seconds

    return nncf.quantize(
        graph,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
        fast_bias_correction=True,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            # Without VNNI a product of int8 saturates in 16 bits; then in half its range.
            overflow_fix=nncf.OverflowFix.DISABLE if exact else nncf.OverflowFix.ENABLE
        ),
    )


def _samples(graph: Any, pairs: Tokens) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Pairs as the graph reads them, one by one and unpadded: padding has no say in a scale."""
    names = {port.any_name for port in graph.inputs}
    for at in range(len(pairs)):
        batch = pad(pairs.slice(at, at + 1), width=int(pairs.lengths[at]), pad_id=0)
        types = np.zeros_like(batch.ids) if batch.type_ids is None else batch.type_ids
        columns = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": types}
        yield {name: column.astype(np.int64) for name, column in columns.items() if name in names}

"""Turns a bundle's weights into what another engine computes; nothing of it decides what a pair is worth.

Promises the files of an export, in the precision that was asked for. In int8 the scales are settled here, once, on
pairs that are given: none is ever computed while serving, where it would follow from a pair's company. Needs the
`train` extra; importing it imports transformers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

from actors import bert
from actors.batching import WIDTH_STEP, pad, padded_widths
from actors.bundle import EXPORT_FILES, Bundle, read_config
from actors.encoder import read_bert
from actors.errors import BundleProblem
from actors.learn.quiet import quiet
from actors.openvino_backend import import_openvino
from actors.serving import Precision, Serving
from actors.tokens import Tokens, has_types

_MOST_ROWS = 1 << 16
"""Pairs at once; the exporter asks for a bound."""

Inputs = dict[str, Tensor]
"""A batch to trace with, by the names of its columns."""
Shapes = dict[str, dict[int, Dim]]
"""Which of their dimensions vary, and between what."""
Convert = Callable[[Inputs, Shapes], Any]
"""Turns an encoder into OpenVINO's graph."""


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
    config = read_config(bundle.path)
    # Each input a tensor of its own, and a mask that masks: what is traced must not look the same by chance.
    ids = torch.ones(2, 2 * WIDTH_STEP, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, WIDTH_STEP:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if has_types(config):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    most = max(_longest(bundle, config), ids.shape[1])  # what is traced must be within it
    shape = {0: Dim("rows", min=1, max=_MOST_ROWS), 1: Dim("width", min=WIDTH_STEP, max=most)}
    convert = _of_bert(bundle, config) if bert.supports(config) else _of_transformers(bundle)
    try:
        return convert(inputs, dict.fromkeys(inputs, shape))
    except Exception as error:  # tracing somebody's architecture can raise anything
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BundleProblem(str(bundle.path), f"OpenVINO cannot take its encoder: {said}") from error


def _of_bert(bundle: Bundle, config: dict[str, Any]) -> Convert:
    """What `bert` computes, so that of the last layer there is the first tokens' alone."""
    classifier = read_bert(bundle, config, torch.device("cpu"), torch.float32)

    def convert(inputs: Inputs, shapes: Shapes) -> Any:  # noqa: ANN401
        program = torch.export.export(_Named(classifier), (), inputs, dynamic_shapes=shapes, strict=False)
        return import_openvino().convert_model(program)

    return convert


class _Named(torch.nn.Module):
    """Takes a BERT's columns by the names that inputs of an export have."""

    def __init__(self, classifier: bert.BertClassifier) -> None:
        super().__init__()
        self._classifier = classifier

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Logits `[n, 1]`, as transformers gives them."""
        return self._classifier(input_ids, token_type_ids, attention_mask.bool())[:, None]


def _of_transformers(bundle: Bundle) -> Convert:
    """By transformers' own exporter: a plain conversion gives NaN where a local window holds padding alone."""
    from transformers.exporters.exporter_openvino import (  # noqa: PLC0415
        OpenVINOConfig,
        OpenVINOExporter,
    )

    model = AutoModelForSequenceClassification.from_pretrained(
        bundle.path,
        num_labels=1,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    ).eval()

    def convert(inputs: Inputs, shapes: Shapes) -> Any:  # noqa: ANN401
        wanted = OpenVINOConfig(dynamic=True, dynamic_shapes=shapes, stateful=False)
        return OpenVINOExporter().export(model, inputs, config=wanted).program

    return convert


def _longest(bundle: Bundle, config: Mapping[str, Any]) -> int:
    """The widest rectangle that a scorer may make of this bundle's pairs."""
    (width,) = padded_widths([bundle.manifest.max_tokens], n_positions=config.get("max_position_embeddings"))
    return int(width)


def _quantised(graph: Any, samples: list[dict[str, Any]], *, exact: bool) -> Any:  # noqa: ANN401
    """The graph with weights and activations in int8, but for what a few products more precise are worth."""
    import nncf  # noqa: PLC0415 - seconds

    with quiet():  # once more: it sets how much it tells while it is imported
        return nncf.quantize(
            graph,
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(samples),
            ignored_scope=nncf.IgnoredScope(names=_after_activation(graph), validate=False),
            fast_bias_correction=True,
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                # Without VNNI a product of int8 saturates in 16 bits; then in half its range.
                overflow_fix=nncf.OverflowFix.DISABLE if exact else nncf.OverflowFix.ENABLE
            ),
        )


def _after_activation(graph: Any) -> list[str]:  # noqa: ANN401
    """The products that read what an activation function gives: in int8 its outliers make half of the error."""
    return [
        node.get_friendly_name()
        for node in graph.get_ordered_ops()
        if node.get_type_name() == "MatMul" and node.input_value(0).get_node().get_type_name() == "Gelu"
    ]


def _samples(graph: Any, pairs: Tokens) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Pairs as the graph reads them, one by one and padded no more than it asks: padding has no say in a scale."""
    names = {port.any_name for port in graph.inputs}
    for at in range(len(pairs)):
        width = max(int(pairs.lengths[at]), WIDTH_STEP)
        batch = pad(pairs.slice(at, at + 1), width=width, pad_id=0)
        types = np.zeros_like(batch.ids) if batch.type_ids is None else batch.type_ids
        columns = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": types}
        yield {name: column.astype(np.int64) for name, column in columns.items() if name in names}

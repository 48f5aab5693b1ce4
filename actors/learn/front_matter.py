"""The YAML at the top of a bundle's README: what the Hugging Face hub lists a model by.

Promises figures of the manifest alone, and a base model only where somebody named it. Pure but for reading a card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from actors.bundle import CARD_FILE
from actors.manifest import Manifest

_FENCE = "---\n"


def front_matter(manifest: Manifest, base_model: str | None) -> str:
    """Say what the hub asks of a model.

    Args:
        manifest: The bundle's.
        base_model: Hub id of the encoder that was fine-tuned, where it is known.

    Returns:
        YAML between its fences, without a last newline.
    """
    metrics = _hub_metrics(manifest.metrics)
    front: dict[str, Any] = {
        "library_name": "transformers",
        # Not text-ranking: there the higher score is the better document, here it is the worse.
        "pipeline_tag": "text-classification",
        "tags": ["cross-encoder", "sluice"],
    }
    if base_model is not None:
        front["base_model"] = base_model
    if metrics:
        front["metrics"] = [metric["type"] for metric in metrics]
        result = {
            "task": {"type": "text-classification", "name": "severe or not"},
            "dataset": {"type": "labels", "name": "the role test of its labels"},
            "metrics": metrics,
        }
        front["model-index"] = [{"name": manifest.name, "results": [result]}]
    return f"{_FENCE}{yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=1000)}{_FENCE.strip()}"


def _hub_metrics(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "figures" not in metrics:
        return []
    found = {
        "roc_auc": metrics["figures"]["auc"]["value"],
        "average_precision": metrics["figures"]["average_precision"]["value"],
        "brier_score": metrics["calibration"]["brier"]["value"],
    }
    return [{"type": name, "value": round(value, 4)} for name, value in found.items() if value is not None]


def base_model_of(bundle: Path) -> str | None:
    """The base model that a bundle's card names; None where it names none, or where there is no such card.

    Args:
        bundle: The bundle's folder.

    Returns:
        A hub id or another name.
    """
    try:
        text = (bundle / CARD_FILE).read_text(encoding="utf-8")
        front = yaml.safe_load(text.removeprefix(_FENCE).partition(_FENCE)[0])
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    found = front.get("base_model") if isinstance(front, dict) else None
    return found if isinstance(found, str) else None

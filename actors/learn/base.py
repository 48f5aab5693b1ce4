"""Looks at the encoder that is to be fine-tuned before any work is done for it.

Promises that one which passes can be trained, written and served: an encoder with weights for all but the head, a
tokenizer that a bundle can hold, no code of its own, and positions for the longest pair. Needs the `train` extra.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from actors.errors import DataRefused
from actors.learn.quiet import quiet

_MOST_CHARS = 300
"""Of what transformers says, which may be paragraphs."""
_FOLDER = "config.json, model.safetensors, tokenizer.json"
_HEADS = ("pooler", "classifier", "score", "pre_classifier", "head")
"""Parts of a name that tell a weight which fine-tuning learns anew."""


def check_base(base: str, *, max_tokens: int) -> None:
    """Refuse an encoder that cannot be fine-tuned.

    Args:
        base: Folder or hub id.
        max_tokens: Ceiling on the tokens of a pair.

    Raises:
        DataRefused: It is not there, is no encoder, lacks weights or a tokenizer, asks for code of its own, or has
            fewer positions than `max_tokens`.
    """
    if base.startswith(("/", ".", "~")) and not Path(base).is_dir():
        raise DataRefused(base, "no such folder")
    with quiet():
        try:
            config = AutoConfig.from_pretrained(base)
            _check_kind(base, config)
            tokenizer = AutoTokenizer.from_pretrained(base)
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                base, num_labels=1, ignore_mismatched_sizes=True, output_loading_info=True
            )
        except DataRefused:
            raise
        except Exception as error:  # a folder can make it raise anything
            said = " ".join(str(error).split())[:_MOST_CHARS] or type(error).__name__
            where = (
                ""
                if Path(base).is_dir()
                else f", and no folder here, which would need no network ({_FOLDER})"
            )
            raise DataRefused(base, f"no encoder that can be opened{where}: {said}") from error
    _check_tokenizer(base, tokenizer, max_tokens)
    # transformers fills what is missing with random numbers, and its note on that is silenced.
    missing = [name for name in loading["missing_keys"] if not any(part in name for part in _HEADS)]
    unfit = sorted([*missing, *(name for name, *_ in loading["mismatched_keys"])])
    if unfit:
        problem = f"its weights do not fill an encoder with one output: {', '.join(unfit[:3])}"
        raise DataRefused(base, problem)
    positions = _positions(model)
    if positions is not None and positions < max_tokens:
        raise DataRefused(base, f"it has {positions} positions, and recipe.max_tokens is {max_tokens}")


def _check_kind(base: str, config: Any) -> None:  # noqa: ANN401 - transformers is untyped here
    if getattr(config, "auto_map", None):
        problem = (
            "config.json asks for code of its own (auto_map), which is never run; use a model without it"
        )
        raise DataRefused(base, problem)
    classifies = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    encodes = type(config) in MODEL_FOR_MASKED_LM_MAPPING and not config.is_encoder_decoder
    if not (classifies and encodes):
        others = "BERT, DeBERTa-v3, ModernBERT or XLM-RoBERTa"
        raise DataRefused(base, f"{config.model_type} is no text encoder; use one such as {others}")


def _check_tokenizer(base: str, tokenizer: Any, max_tokens: int) -> None:  # noqa: ANN401
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise DataRefused(base, "no tokenizer that a bundle can hold (tokenizer.json)")
    fewest = tokenizer.num_special_tokens_to_add(pair=True) + 2
    if max_tokens < fewest:
        problem = f"recipe.max_tokens is {max_tokens}; one token of each text takes {fewest}"
        raise DataRefused(base, problem)


def _positions(model: Any) -> int | None:  # noqa: ANN401
    """Tokens that it has places for; those below a padding index are never used."""
    found = [getattr(model.config, "max_position_embeddings", None)]
    for name, part in model.named_modules():
        if name.rpartition(".")[2] == "position_embeddings" and hasattr(part, "num_embeddings"):
            before = 0 if part.padding_idx is None else part.padding_idx + 1
            found.append(part.num_embeddings - before)
    return min((one for one in found if one is not None and one > 0), default=None)

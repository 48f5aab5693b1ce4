"""Turns a pretrained encoder into a classifier of severity, with sentence-transformers.

Promises the same weights for the same arguments on the same machine and versions, one pass over the pairs
in the order given, and silence. Mutates the global random states. It knows neither bundles nor where the
labels come from. Needs the `train` extra: import it only where training is wanted.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from datasets import Dataset
from datasets.utils import logging as datasets_logging
from sentence_transformers.cross_encoder import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

Pair = tuple[str, str]
OnStep = Callable[[int, int], None]
"""Called after each step with pairs learned from so far, and pairs in all."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to learn. The defaults suit MiniLM and a few thousand pairs of some 26 tokens.

    They were found on a generated catalogue: with larger batches or at twice the rate, the encoder had
    learned nothing after 5,000 pairs.
    """

    max_tokens: int = 48
    """Longer pairs are cut."""
    batch_size: int = 8
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    """Of the classifier and the pooler before it, which start from random or unused weights."""
    warmup_share: float = 0.1
    """Share of the steps in which the rates rise from zero; then they fall to zero."""
    seed: int = 0


def fine_tune(
    base: Path | str,
    folder: Path,
    *,
    pairs: Sequence[Pair],
    severe: Sequence[bool],
    recipe: Recipe,
    on_step: OnStep | None = None,
) -> None:
    """Write a model folder (weights, configuration, tokenizer) whose one logit rises with severity.

    Word embeddings stay as they are: words that no pair holds must keep their place among the others.

    Args:
        base: Folder or hub id of an encoder.
        folder: Where the model goes; made if absent.
        pairs: Query text and document text, n of them, in the order to learn them in.
        severe: Their labels.
        recipe: How to learn.
        on_step: Told how far it is.
    """
    torch.manual_seed(recipe.seed)
    with _silence(), tempfile.TemporaryDirectory() as scratch:
        model = CrossEncoder(
            str(base),
            num_labels=1,
            max_length=recipe.max_tokens,
            config_kwargs={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        )
        model.model.get_input_embeddings().requires_grad_(False)
        texts = {"query": [query for query, _ in pairs], "document": [document for _, document in pairs]}
        trainer = CrossEncoderTrainer(
            model=model,
            args=_arguments(recipe, n_pairs=len(pairs), scratch=scratch, on_cpu=model.device.type == "cpu"),
            train_dataset=Dataset.from_dict({**texts, "label": [float(label) for label in severe]}),
            loss=BinaryCrossEntropyLoss(model),
            callbacks=[_Progress(len(pairs), on_step)] if on_step else [],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        model.model.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)


def _arguments(recipe: Recipe, *, n_pairs: int, scratch: str, on_cpu: bool) -> CrossEncoderTrainingArguments:
    n_steps = -(-n_pairs // recipe.batch_size)
    return CrossEncoderTrainingArguments(
        output_dir=scratch,
        num_train_epochs=1,
        per_device_train_batch_size=recipe.batch_size,
        train_sampling_strategy="sequential",
        learning_rate=recipe.learning_rate,
        learning_rate_mapping={"classifier|pooler": recipe.head_learning_rate},
        warmup_steps=round(recipe.warmup_share * n_steps),
        bf16=not on_cpu or _cpu_multiplies_bf16(),
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        seed=recipe.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _cpu_multiplies_bf16() -> bool:
    """Whether bf16 is faster than float32 here (2.6 times, on two cores that can); else it is emulated."""
    # Not in the oldest torch that we allow.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


class _Progress(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Passes on how far the trainer is."""

    def __init__(self, n_pairs: int, on_step: OnStep) -> None:
        self._n_pairs = n_pairs
        self._on_step = on_step

    def on_step_end(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **_: object,
    ) -> None:
        """Called by the trainer."""
        done = min(state.global_step * args.train_batch_size, self._n_pairs)
        self._on_step(done, self._n_pairs)


@contextmanager
def _silence() -> Iterator[None]:
    """No progress bars and no notes from the libraries; warnings and errors of Python's own still show."""
    noisy = [logging.getLogger(name) for name in ("sentence_transformers", "transformers", "datasets")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    datasets_logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
        transformers.utils.logging.enable_progress_bar()
        datasets_logging.enable_progress_bar()

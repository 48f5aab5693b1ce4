"""Turns a pretrained encoder into a scorer of severity, with sentence-transformers.

Promises the same weights for the same arguments on the same machine, threads and versions; that a run which was
interrupted goes on from its last whole checkpoint to those weights; that the state which was best on the held-out
rows is the one that is kept; and silence. Mutates the global random states. It knows neither bundles nor where the
rows come from. Needs the `train` extra: import it only where training is wanted.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers.cross_encoder import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)

from actors.errors import TrainingStopped
from actors.learn.batches import Batches
from actors.learn.callbacks import Finite, OnStep, Patience, Progress
from actors.learn.loss import Goal, RowLoss
from actors.learn.precision import bf16_pays, device
from actors.learn.quiet import quiet
from actors.learn.recipe import Recipe

_STATE_FILE = "trainer_state.json"
"""The last file of a checkpoint: with it, the checkpoint is whole."""
_LEAST_FREE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What is learned from: columns of equal length, at least one row."""

    query: Sequence[str]
    document: Sequence[str]
    target: NDArray[np.float64]
    """A probability or a logit, float64 `[n]`, finite."""
    weight: NDArray[np.float64]
    """How much a row counts, float64 `[n]`, not below 0."""
    prior: NDArray[np.float64]
    """What is added to the encoder's logit, float64 `[n]`, finite."""
    goal: Goal = Goal.PROBABILITY
    """What the targets are."""

    def __post_init__(self) -> None:
        columns = (self.document, self.target, self.weight, self.prior)
        numbers = np.concatenate([self.target, self.weight, self.prior])
        if not len(self.query) or any(len(column) != len(self.query) for column in columns):
            raise ValueError("needs columns of one length, at least one row")
        if not np.isfinite(numbers).all() or self.weight.min() < 0:
            raise ValueError("targets, weights and priors must be finite, and weights not below 0")

    def __len__(self) -> int:
        return len(self.query)

    @property
    def n_chars(self) -> NDArray[np.int64]:
        """Characters of each pair, int64 `[n]`: near enough to its tokens to find pairs of like length."""
        return np.array([len(q) + len(d) for q, d in zip(self.query, self.document, strict=True)], np.int64)

    @classmethod
    def of(
        cls,
        pairs: Sequence[tuple[str, str]],
        target: Sequence[float],
        *,
        weight: Sequence[float] | None = None,
        prior: Sequence[float] | None = None,
        goal: Goal = Goal.PROBABILITY,
    ) -> Rows:
        """Rows of pairs of texts.

        Args:
            pairs: Query text and document text, n of them.
            target: See `Rows`, n of them.
            weight: None counts every row once.
            prior: None adds nothing.
            goal: What the targets are.

        Returns:
            The rows.
        """
        return cls(
            [query for query, _ in pairs],
            [document for _, document in pairs],
            np.asarray(target, np.float64),
            np.ones(len(pairs)) if weight is None else np.asarray(weight, np.float64),
            np.zeros(len(pairs)) if prior is None else np.asarray(prior, np.float64),
            goal,
        )


def fine_tune(
    base: Path | str,
    folder: Path,
    rows: Rows,
    recipe: Recipe,
    *,
    held_out: Rows | None = None,
    checkpoints: Path | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Write a model folder (weights, configuration, tokenizer) whose one logit rises with severity.

    Word embeddings stay as they are: words that no pair holds must keep their place among the others.

    Args:
        base: Folder or hub id of an encoder.
        folder: Where the model goes; made if absent.
        rows: What to learn from.
        recipe: How to learn.
        held_out: Rows whose loss decides which state is kept, the beginning among them, and when to stop; None
            keeps the last.
        checkpoints: Folder for the states of this run, so that it can go on after it was interrupted: what is
            there of such a run is gone on from, and a run to the end removes it. None keeps none.
        on_step: Told how far it is.

    Raises:
        TrainingStopped: A state cannot be written, as on a full disk, or the loss is not finite.
    """
    with quiet(), _kept(checkpoints) as states:
        model = _opened(base, recipe)
        model.model.get_input_embeddings().requires_grad_(False)
        callbacks: list[transformers.TrainerCallback] = [Finite()]
        if on_step:
            callbacks.append(Progress(len(rows) * recipe.epochs, on_step))
        if held_out is not None:
            callbacks.append(Patience(early_stopping_patience=recipe.patience))
        trainer = _Trainer(
            lengths=None if recipe.in_order else rows.n_chars,
            model=model,
            args=_arguments(
                count_updates(len(rows), recipe),
                recipe,
                states=states,
                held_out=held_out is not None,
                resumable=checkpoints is not None,
            ),
            train_dataset=_dataset(rows),
            eval_dataset=None if held_out is None else _dataset(held_out),
            loss=RowLoss(model, rows.goal),
            callbacks=callbacks,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        with _failures(states):
            before = trainer.evaluate()["eval_loss"] if held_out is not None else math.inf
            trainer.train(resume_from_checkpoint=_last_whole(states))
        best = trainer.state.best_metric
        if best is not None and before <= best:
            model = _opened(base, recipe)
        with _failures(folder):
            model.model.save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)


def count_updates(n_rows: int, recipe: Recipe) -> int:
    """How many updates a run takes, unless it ends early: as the trainer counts them.

    Args:
        n_rows: How many there are to learn from.
        recipe: How they are learned from.

    Returns:
        Updates in all epochs; the last of each may be of fewer batches, and the last batch of fewer rows.
    """
    n_batches = math.ceil(n_rows / recipe.batch_size)
    return math.ceil(n_batches / recipe.accumulate) * recipe.epochs


class _Trainer(CrossEncoderTrainer):  # type: ignore[misc]  # untyped here
    """Learns from batches of like length, and looks at what is held out in its order."""

    def __init__(self, *, lengths: NDArray[np.int64] | None, **given: Any) -> None:
        self._lengths = lengths
        super().__init__(**given)

    def get_batch_sampler(self, dataset: Dataset, batch_size: int, **given: Any) -> Batches:
        """Called by the trainer, for the rows to learn from and for those held out."""
        lengths = self._lengths if dataset is self.train_dataset else None
        return Batches(lengths, len(dataset), batch_size, given["seed"])


def _opened(base: Path | str, recipe: Recipe) -> CrossEncoder:
    torch.manual_seed(recipe.seed)  # draws the head, where the encoder has none
    return CrossEncoder(
        str(base),
        num_labels=1,
        max_length=recipe.max_tokens,
        config_kwargs={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    )


def _dataset(rows: Rows) -> Dataset:
    label = np.stack([rows.target, rows.weight, rows.prior], axis=1).tolist()
    return Dataset.from_dict({"query": list(rows.query), "document": list(rows.document), "label": label})


def _arguments(
    n_updates: int, recipe: Recipe, *, states: Path, held_out: bool, resumable: bool
) -> CrossEncoderTrainingArguments:
    on_cpu = device() == "cpu"
    look = max(1, n_updates // recipe.looks)
    return CrossEncoderTrainingArguments(
        output_dir=str(states),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=recipe.learning_rate,
        learning_rate_mapping={"classifier|pooler": recipe.head_learning_rate},
        warmup_steps=round(recipe.warmup_share * n_updates),
        bf16=bf16_pays(),
        use_cpu=on_cpu,
        dataloader_pin_memory=not on_cpu,
        seed=recipe.seed,
        eval_strategy="steps" if held_out else "no",
        eval_steps=look,
        save_strategy="steps" if held_out or resumable else "no",
        save_steps=look,
        save_total_limit=1,  # and the best one
        load_best_model_at_end=held_out,
        metric_for_best_model="eval_loss" if held_out else None,
        greater_is_better=False if held_out else None,
        restore_callback_states_from_checkpoint=True,  # how many looks have found nothing better
        logging_strategy="steps",  # for `Finite`, which is told the loss
        logging_steps=look,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )


@contextmanager
def _kept(checkpoints: Path | None) -> Iterator[Path]:
    """Where states go; a folder of the caller's is emptied once the run is at its end."""
    if checkpoints is None:
        with tempfile.TemporaryDirectory() as scratch:
            yield Path(scratch)
        return
    checkpoints.mkdir(parents=True, exist_ok=True)
    yield checkpoints
    shutil.rmtree(checkpoints)


def _last_whole(states: Path) -> str | None:
    """The latest checkpoint that was written to its end; those that were not are removed."""
    whole: list[tuple[int, str]] = []
    for folder in states.glob("checkpoint-*"):
        try:
            step = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))["global_step"]
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder)
        else:
            whole.append((step, str(folder)))
    return max(whole)[1] if whole else None


@contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """What the libraries raise when a file cannot be written, each in its own way, as one error of ours."""
    try:
        yield
    except OSError as error:
        raise TrainingStopped(str(folder), f"{error.strerror or error}") from error
    except SafetensorError as error:  # of so large a file that there is room for less when it has failed
        raise TrainingStopped(str(folder), str(error)) from error
    except RuntimeError as error:
        if shutil.disk_usage(_existing(folder)).free > _LEAST_FREE_BYTES:
            raise
        raise TrainingStopped(str(folder), os.strerror(errno.ENOSPC)) from error


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)

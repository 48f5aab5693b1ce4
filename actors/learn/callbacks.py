"""What is looked at while an encoder learns: that the loss is a number, how far it is, and whether to go on.

Knows the trainer's state alone, neither rows nor models. Needs the `train` extra.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import transformers

from actors.errors import TrainingStopped

OnStep = Callable[[int, int], None]
"""Called after each update with pairs learned from so far, and pairs in all."""


class Finite(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Ends a run whose loss is no number, on what it learns from or on what is held out."""

    def on_log(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        logs: Mapping[str, float],
        **_: object,
    ) -> None:
        """Called by the trainer, before the state is saved."""
        for name in ("loss", "eval_loss", "train_loss"):
            loss = logs.get(name, 0.0)
            if not math.isfinite(loss):
                problem = f"the loss is {loss} after {state.global_step} updates; lower the recipe's rates"
                raise TrainingStopped(args.output_dir, problem)


class Progress(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Passes on how far the trainer is."""

    def __init__(self, total: int, on_step: OnStep) -> None:
        self._total = total
        self._on_step = on_step

    def on_step_end(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **_: object,
    ) -> None:
        """Called by the trainer."""
        self._on_step(round(self._total * state.global_step / state.max_steps), self._total)


class Patience(transformers.EarlyStoppingCallback):  # type: ignore[misc]  # transformers is untyped here
    """Ends a run that no longer gets better, also one that was interrupted after it had come to that."""

    def on_train_begin(
        self,
        args: transformers.TrainingArguments,
        state: transformers.TrainerState,
        control: transformers.TrainerControl,
        **given: object,
    ) -> None:
        """Called by the trainer."""
        super().on_train_begin(args, state, control, **given)
        control.should_training_stop = self.early_stopping_patience_counter >= self.early_stopping_patience

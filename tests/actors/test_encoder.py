from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch

from actors import batching, bert
from actors import encoder as encoders
from actors.batching import lay_packed
from actors.bundle import read_config, write_bundle
from actors.encoder import TorchBackend
from actors.errors import BundleProblem, DeviceMissing
from actors.tokens import Tokens
from tests.model_folders import model_stand_in

PAIRS = Tokens.from_rows([[101, 5_000, 102, 6_000, 102]] * 2, [[0, 0, 0, 1, 1]] * 2)


@pytest.fixture(scope="module")
def encoder(base_bundle):
    return TorchBackend(base_bundle, device="cpu")


def test_logits_are_float32_on_the_host_one_for_each_pair(encoder):
    logits = encoder.launch(PAIRS, width=16)()
    assert (logits.dtype, logits.shape) == (np.float32, (2,))
    assert logits[0] == pytest.approx(logits[1], abs=5e-5)


def test_threads_bound_torch(base_bundle):
    before = torch.get_num_threads()
    try:
        TorchBackend(base_bundle, device="cpu", threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_auto_finds_a_device_and_names_it(base_bundle):
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert TorchBackend(base_bundle, device="auto").device == expected


@pytest.mark.parametrize("device", ["cuda:63", "abacus"])
def test_a_device_that_is_not_here_is_named_with_those_that_are(base_bundle, device):
    with pytest.raises(DeviceMissing) as caught:
        TorchBackend(base_bundle, device=device)
    assert caught.value.device == device
    assert "cpu" in caught.value.present


def test_more_tokens_than_the_encoder_has_positions_are_refused(base_bundle):
    stretched = replace(base_bundle, manifest=replace(base_bundle.manifest, max_tokens=513))
    with pytest.raises(BundleProblem, match="max_tokens is 513, the encoder has 512 positions"):
        TorchBackend(stretched, device="cpu")


def test_a_configuration_that_is_none_is_refused(base_bundle, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    broken = write_bundle(
        tmp_path / "broken",
        model_folder=model_stand_in(model),
        manifest=replace(base_bundle.manifest, files={}),
    )
    with pytest.raises(BundleProblem, match=r"config\.json is malformed"):
        TorchBackend(broken, device="cpu")


def test_weights_that_are_none_are_refused(base_bundle, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    model_stand_in(model)
    (model / "config.json").write_bytes((base_bundle.path / "config.json").read_bytes())
    broken = write_bundle(
        tmp_path / "broken", model_folder=model, manifest=replace(base_bundle.manifest, files={})
    )
    with pytest.raises(BundleProblem, match=r"model\.safetensors does not fill the encoder"):
        TorchBackend(broken, device="cpu")


@pytest.mark.slow  # imports torch's compiler
def test_one_compilation_serves_batches_of_any_size(base_bundle, monkeypatch):
    """Also where a batch has as many rows as the encoder has hidden units."""
    monkeypatch.setattr(batching, "ROW_STEP", 384)
    compiled = []

    def count(graph, _inputs):
        compiled.append(graph)
        return graph.forward

    config = read_config(base_bundle.path)
    weights = safetensors.torch.load_file(base_bundle.path / "model.safetensors")
    sent = {name: weight.clone() for name, weight in weights.items()}  # as what went to a GPU is
    classifier = bert.read_classifier(sent, config, products=torch.bfloat16)
    encoders._keep_shapes(classifier)
    classify = torch.compile(partial(classifier.packed, attend=anything), dynamic=True, backend=count)
    with torch.inference_mode():
        for n in (3, 40, 400):
            pairs = Tokens.from_rows([[101, 5_000, 102, 6_000, 102]] * n, [[0, 0, 0, 1, 1]] * n)
            classify(*map(torch.from_numpy, lay_packed(pairs, longest=64, pad_id=0)))
    assert len(compiled) == 1


def anything(places, query, key, value, *, reach=None):
    del reach
    return query + key.mean(0) + value.mean(0) + places.keys.sum() * 1e-9

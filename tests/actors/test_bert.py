import json

import numpy as np
import pytest
import safetensors.torch
import torch

from actors import bert
from actors.batching import lay_packed, pad
from actors.tokens import Tokens
from tests.packed_attention import attend

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 50,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 16,
    "intermediate_size": 24,
    "layer_norm_eps": 1e-12,
}


def tiny_weights(config=CONFIG):
    """Random tensors under the names and in the shapes that transformers saves."""
    draw = torch.Generator().manual_seed(5)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "bert.embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
    }
    linears = {"bert.pooler.dense": (hidden, hidden), "classifier": (1, hidden)}
    norms = ["bert.embeddings.LayerNorm"]
    for i in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linears[f"{layer}.attention.{part}"] = (hidden, hidden)
        linears |= {f"{layer}.intermediate.dense": (inner, hidden), f"{layer}.output.dense": (hidden, inner)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, (n_out, n_in) in linears.items():
        shapes |= {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def read(weights, config, products=torch.float32):
    return bert.read_classifier(weights, config, products=products)


def tiny_batch():
    draw = torch.Generator().manual_seed(6)
    ids = torch.randint(0, 50, (5, 16), generator=draw)
    types = (torch.arange(16) > 6).long().expand(5, 16)
    mask = torch.arange(16) < torch.tensor([16, 9, 3, 12, 1])[:, None]
    return ids, types, mask


def real_encoder(bundle):
    config = json.loads((bundle.path / "config.json").read_text())
    return config, safetensors.torch.load_file(bundle.path / "model.safetensors")


def real_batch():
    draw = torch.Generator().manual_seed(8)
    ids = torch.randint(1_000, 30_000, (12, 32), generator=draw)
    types = (torch.arange(32) > 10).long().expand(12, 32)
    mask = torch.arange(32) < torch.tensor([32, 31, 12, 20, 2, 17] * 2)[:, None]
    return ids, types, mask


@torch.inference_mode()
def test_what_is_behind_the_mask_does_not_matter():
    classify = read(tiny_weights(), CONFIG)
    ids, types, mask = tiny_batch()
    scrambled = torch.where(mask, ids, 49 - ids)
    assert torch.equal(classify(ids, types, mask), classify(scrambled, types, mask))


@torch.inference_mode()
def test_every_visible_token_and_its_type_and_its_place_matter():
    classify = read(tiny_weights(), CONFIG)
    ids, types, mask = (part[:1] for part in tiny_batch())
    before = classify(ids, types, mask)
    assert not torch.allclose(before, classify(ids.index_fill(1, torch.tensor(15), 49), types, mask))
    assert not torch.allclose(before, classify(ids, 1 - types, mask))
    assert not torch.allclose(before, classify(ids[:, [0, 2, 1, *range(3, 16)]], types, mask))


@torch.inference_mode()
def test_no_types_means_type_0():
    classify = read(tiny_weights(), CONFIG)
    ids, types, mask = tiny_batch()
    assert torch.equal(classify(ids, None, mask), classify(ids, torch.zeros_like(types), mask))


@torch.inference_mode()
def test_pairs_back_to_back_score_as_padded_ones():
    classify = read(tiny_weights(), CONFIG)
    draw = np.random.default_rng(6)
    rows = [draw.integers(0, 50, n).tolist() for n in (16, 9, 3, 12, 1)]
    pairs = Tokens.from_rows(rows, [[int(at > 6) for at in range(len(row))] for row in rows])
    padded = classify(*tensors(pad(pairs, width=16, pad_id=0)))
    packed = classify.packed(*tensors(lay_packed(pairs, longest=20, pad_id=0)), attend=attend)
    torch.testing.assert_close(packed[: len(pairs)], padded, rtol=0, atol=1e-5)
    assert padded.std() > 0.01


def tensors(batch):
    return (torch.from_numpy(column) for column in batch)


@torch.inference_mode()
def test_bf16_products_keep_the_logits_close_and_float32(base_bundle):
    """Measured: RMS difference 1.0% of the spread; with everything in bf16 it was 1.7%."""
    config, weights = real_encoder(base_bundle)
    exact = read(weights, config)(*real_batch())
    rough = read(weights, config, torch.bfloat16)(*real_batch())
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).square().mean().sqrt() < 0.02 * exact.std()


def test_weights_and_configuration_must_belong_together():
    with pytest.raises(ValueError, match=r"no place for bert\.encoder\.layer\.1"):
        read(tiny_weights(), CONFIG | {"num_hidden_layers": 1})
    with pytest.raises(KeyError, match=r"bert\.encoder\.layer\.2"):
        read(tiny_weights(), CONFIG | {"num_hidden_layers": 3})
    with pytest.raises(ValueError, match=r"shape \(24, 16\), the configuration says \(32, 16\)"):
        read(tiny_weights(), CONFIG | {"intermediate_size": 32})


def test_a_head_of_several_outputs_is_refused():
    weights = tiny_weights() | {"classifier.weight": torch.zeros(3, 16)}
    with pytest.raises(ValueError, match=r"classifier\.weight"):
        read(weights, CONFIG)


@pytest.mark.parametrize(
    "change",
    [{"model_type": "deberta-v2"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}],
    ids=lambda change: next(iter(change)),
)
def test_what_it_does_not_compute_it_does_not_claim(change):
    assert bert.supports(CONFIG)
    assert not bert.supports(CONFIG | change)


@pytest.mark.slow  # importing transformers
@torch.inference_mode()
def test_a_real_model_gives_transformers_logits(base_bundle):
    """Tolerance 5e-5 on logits that spread over several units: summation order, nothing else."""
    from transformers import AutoModelForSequenceClassification

    config, weights = real_encoder(base_bundle)
    ids, types, mask = real_batch()
    reference = AutoModelForSequenceClassification.from_pretrained(base_bundle.path, num_labels=1).eval()
    theirs = reference(input_ids=ids, token_type_ids=types, attention_mask=mask.long()).logits[:, 0]
    ours = read(weights, config)(ids, types, mask)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-5)
    assert theirs.std() > 0.5

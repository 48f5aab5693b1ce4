import json
import shutil

import pytest
import torch

pytestmark = pytest.mark.slow  # importing transformers


@pytest.fixture(scope="module")
def distilbert_folder(tmp_path_factory):
    """A tiny encoder of another family, which knows no token types."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    folder = tmp_path_factory.mktemp("distilbert")
    torch.manual_seed(9)
    config = DistilBertConfig(vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=24, num_labels=1)
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    return folder


def load(folder):
    from actors.automodel import AutoClassifier

    return AutoClassifier(folder, device=torch.device("cpu"), products=torch.float32)


@torch.inference_mode()
def test_another_family_scores_and_ignores_what_is_masked(distilbert_folder):
    classify = load(distilbert_folder)
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    logits = classify(ids, None, mask)
    assert logits.shape == (2,)
    torch.testing.assert_close(logits[:1], classify(ids[:1, :3], None, mask[:1, :3]), rtol=0, atol=1e-6)


def other_family(name):
    """Random weights, of a size whose products a processor splits."""
    import transformers as t

    common = {"vocab_size": 60, "num_labels": 1, "initializer_range": 0.2, "pad_token_id": 0}
    sized = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    torch.manual_seed(9)
    if name == "distilbert":
        sizes = {"dim": 64, "n_layers": 3, "n_heads": 4, "hidden_dim": 128}
        return t.DistilBertForSequenceClassification(t.DistilBertConfig(**common, **sizes))
    if name == "deberta-v2":
        apart = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
        return t.DebertaV2ForSequenceClassification(t.DebertaV2Config(**common, **sized, **apart))
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
    apart = {"local_attention": 16, "global_attn_every_n_layers": 3, **special}
    return t.ModernBertForSequenceClassification(t.ModernBertConfig(**common, **sized, **apart))


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["distilbert", "deberta-v2", "modernbert"])
@torch.inference_mode()
def test_alone_in_company_and_in_any_order_are_the_same_to_the_bit(tmp_path, one_thread, name, products):
    from actors.automodel import AutoClassifier

    other_family(name).save_pretrained(tmp_path)
    classify = AutoClassifier(tmp_path, device=torch.device("cpu"), products=products)
    draw = torch.Generator().manual_seed(3)
    for width in (16, 48):
        ids = torch.randint(1, 60, (33, width), generator=draw)
        mask = torch.arange(width) < torch.randint(width - 15, width + 1, (33, 1), generator=draw)
        logits = classify(ids, None, mask)
        assert logits.std() > 0
        for n in (1, 2, 3, 7, 8, 17, 33):
            some = torch.randperm(33, generator=draw)[:n]
            assert torch.equal(classify(ids[some], None, mask[some]), logits[some]), (width, n)


def test_a_head_is_never_made_up(distilbert_folder, tmp_path):
    from transformers import DistilBertModel

    from actors.errors import BundleProblem

    DistilBertModel.from_pretrained(distilbert_folder).save_pretrained(tmp_path)
    with pytest.raises(BundleProblem, match="does not fill the encoder"):
        load(tmp_path)


def test_a_head_of_several_outputs_is_refused(distilbert_folder, tmp_path):
    from transformers import DistilBertForSequenceClassification

    from actors.errors import BundleProblem

    wide = DistilBertForSequenceClassification.from_pretrained(
        distilbert_folder, num_labels=3, ignore_mismatched_sizes=True
    )
    wide.save_pretrained(tmp_path)
    with pytest.raises(BundleProblem):
        load(tmp_path)


def test_a_folder_that_transformers_cannot_read_is_refused(tmp_path):
    from actors.errors import BundleProblem

    (tmp_path / "config.json").write_text('{"model_type": "no such model"}')
    with pytest.raises(BundleProblem, match="transformers cannot read it"):
        load(tmp_path)


def test_code_that_a_folder_brings_is_not_run(distilbert_folder, tmp_path):
    from actors.errors import BundleProblem

    folder = shutil.copytree(distilbert_folder, tmp_path / "model")
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    named = {"AutoConfig": "modeling.Own", "AutoModelForSequenceClassification": "modeling.Own"}
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": named}
    (folder / "config.json").write_text(json.dumps(config))
    load(folder)  # of a family that transformers knows: its own code reads it
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own"}))
    with pytest.raises(BundleProblem) as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_pickled_are_not_read(distilbert_folder, tmp_path):
    from transformers import DistilBertForSequenceClassification

    from actors.errors import BundleProblem

    shutil.copyfile(distilbert_folder / "config.json", tmp_path / "config.json")
    model = DistilBertForSequenceClassification.from_pretrained(distilbert_folder)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BundleProblem, match="transformers cannot read it"):
        load(tmp_path)


@pytest.mark.parametrize(
    "also", [{"quantization_config": {"quant_method": "gptq", "bits": 4}}, {"dim": "x"}, {"dim": None}]
)
def test_a_configuration_that_makes_no_sense_is_refused_in_one_line(distilbert_folder, tmp_path, also):
    from actors.errors import BundleProblem

    folder = shutil.copytree(distilbert_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | also
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleProblem) as refused:
        load(folder)
    assert "\n" not in str(refused.value)

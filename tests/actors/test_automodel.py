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

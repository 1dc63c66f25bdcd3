"""Measures a blend of `item_knn` and `sequence` against each of them, user by user, on a file of sequences.

An item's score is its share of the scores of `item_knn`, plus its probability by `sequence`. Their weights are chosen
on the validation. Run as `python -m benchmarks.accuracy.blend --path beauty.txt.gz`; it needs the extra `sequence`.
"""

import argparse
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.accuracy.readers import read
from benchmarks.accuracy.splits import SEED, Split, leave_one_out, sample
from benchmarks.accuracy.tuning import USERS, has_long_histories, starts
from models import catalog
from models.evaluation.metrics.bootstrap import interval
from models.evaluation.metrics.ranking import accuracy
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.scored_users import lists_of_scores
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender

_K: Final = 10
_CHUNK: Final = 256
Scores = NDArray[np.float32]


class Blend(NamedTuple):
    """The weights of a blend."""

    share: float
    """Of the sequence model: 0 is `item_knn` alone, 1 the sequence model."""
    temperature: float = 1.0
    """Above 1 the probabilities of the sequence model are more alike."""

    def scores(self, knn: Scores, sequence: Scores) -> Scores:
        """Return [m, n_items]; -inf for items that neither model scores."""
        similar = np.maximum(np.nan_to_num(knn, neginf=0), 0)
        similar /= np.maximum(similar.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        likely = np.exp((sequence - sequence.max(axis=1, keepdims=True)) / self.temperature)
        likely /= likely.sum(axis=1, keepdims=True)
        blended: Scores = (1 - self.share) * similar + self.share * likely
        return np.where(blended > 0, blended, np.float32(-np.inf))


KNN: Final = Blend(0.0)
SEQUENCE: Final = Blend(1.0)
GRID: Final = [Blend(*weights) for weights in product((0.2, 0.4, 0.6, 0.8), (0.7, 1.0, 1.5))]


def ndcg(split: Split, blends: Iterable[Blend]) -> dict[Blend, NDArray[np.float64]]:
    """Fit both models, and return NDCG@10 of each user with targets, by blend."""
    knn, sequence = (_fitted(kind, split) for kind in ("item_knn", "sequence"))
    users = np.flatnonzero(np.diff(split.targets.indptr)).astype(np.int32)
    history, popular = split.data.history(), popularity(split.data)
    rules = CompiledRules.unrestricted(_K, len(popular))
    figures: dict[Blend, list[NDArray[np.float64]]] = {blend: [] for blend in blends}
    for chunk in np.array_split(users, -(-len(users) // _CHUNK)):
        scores = knn.scores(chunk), sequence.scores(chunk)
        for blend, values in figures.items():
            ranked = lists_of_scores(blend.scores(*scores), rules, popular, history[chunk]).items
            values.append(accuracy(ranked, split.targets[chunk])["ndcg"])
    return {blend: np.concatenate(values) for blend, values in figures.items()}


def _fitted(kind: str, split: Split) -> Recommender:
    settings = starts(kind, "sequences", has_long_histories(split))[0]
    return catalog.model_type(kind).fit(split.data, catalog.config(kind, settings), SEED)


def main() -> None:
    """Choose the weights on the validation, and print the test with the interval of the gain over `item_knn`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, required=True, help="a file with lines `user item`, in order")
    rows, console = read(parser.parse_args().path), Console()
    split = leave_one_out(rows, "validation")
    chosen = ndcg(Split(split.data, sample(split.targets, USERS)), GRID)
    best = max(chosen, key=lambda blend: chosen[blend].mean())
    console.print(f"chosen on the validation: {best}, NDCG@10 {chosen[best].mean():.4f}")
    test = ndcg(leave_one_out(rows, "test"), (KNN, SEQUENCE, best))
    gain = test[best] - test[KNN]
    low, high = interval(gain, SEED)
    console.print(
        f"item_knn {test[KNN].mean():.4f}, sequence {test[SEQUENCE].mean():.4f}, blend {test[best].mean():.4f}"
    )
    console.print(f"gain of the blend over item_knn: {gain.mean():+.4f} ({low:+.4f} to {high:+.4f})")


if __name__ == "__main__":
    main()

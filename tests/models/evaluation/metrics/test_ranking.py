import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from models.evaluation.metrics.ranking import METRICS, ScoreAUC, accuracy


def naive(ranked: list[int], targets: set[int]) -> dict[str, float]:
    """Compute the definitions once more, in loops, for one user."""
    if not targets:
        return dict.fromkeys(METRICS, math.nan)
    k = len(ranked)
    gains = [1 if item in targets else 0 for item in ranked]
    dcg = sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(targets))))
    precisions = [sum(gains[: place + 1]) / (place + 1) for place, gain in enumerate(gains) if gain]
    return {
        "ndcg": dcg / ideal,
        "recall": sum(gains) / len(targets),
        "precision": sum(gains) / k,
        "map": sum(precisions) / min(k, len(targets)),
        "hit_rate": float(any(gains)),
        "mrr": 1 / (gains.index(1) + 1) if any(gains) else 0.0,
    }


@st.composite
def cases(draw):
    m, n = draw(st.integers(1, 5)), draw(st.integers(1, 15))
    k = draw(st.integers(1, 10))
    lists = [draw(st.permutations(range(n)))[:k] for _ in range(m)]
    ranked = np.array([[*items, *[-1] * (k - len(items))] for items in lists], dtype=np.int32)
    return ranked, draw(hnp.arrays(bool, (m, n)))


@given(cases())
def test_every_metric_equals_its_definition_in_loops(case) -> None:
    ranked, targets = case
    measured = accuracy(ranked, sparse.csr_array(targets))
    assert tuple(measured) == METRICS
    for row in range(len(ranked)):
        expected = naive(ranked[row].tolist(), set(np.flatnonzero(targets[row]).tolist()))
        assert {name: values[row] for name, values in measured.items()} == pytest.approx(expected, nan_ok=True)


def test_ndcg_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores, targets = random.permuted(np.tile(np.arange(30.0), (50, 1)), axis=1), random.random((50, 30)) < 0.2
    ranked = np.argsort(-scores, axis=1)[:, :10].astype(np.int32)
    some = targets.any(axis=1)
    measured = accuracy(ranked[some], sparse.csr_array(targets[some]))["ndcg"]
    assert measured.mean() == pytest.approx(ndcg_score(targets[some], scores[some], k=10))


SCORES = (-np.inf, np.nan, -1.0, 0.0, 0.25, 0.5, 3.0)


@st.composite
def scored_cases(draw):
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 12)))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(SCORES)))
    return scores, draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


@given(scored_cases())
def test_both_areas_are_those_of_scikit_learn(case) -> None:
    scores, bought, hidden = case
    targets = bought & ~hidden
    values = ScoreAUC.of(scores).per_user(sparse.csr_array(targets), sparse.csr_array(hidden))
    finite = np.where(np.isfinite(scores), scores, -99)
    for row in range(len(scores)):
        remaining = ~hidden[row]
        labels, answer = targets[row, remaining], finite[row, remaining]
        roc = roc_auc_score(labels, answer) if 0 < labels.sum() < len(labels) else np.nan
        precision = average_precision_score(labels, answer) if labels.any() else np.nan
        assert values["roc_auc"][row] == pytest.approx(roc, nan_ok=True)
        assert values["pr_auc"][row] == pytest.approx(precision, nan_ok=True)

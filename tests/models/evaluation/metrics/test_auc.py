import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from sklearn.metrics import average_precision_score, roc_auc_score

from models.evaluation.metrics.auc import ScoreAUC

SCORES = (-np.inf, np.nan, -1.0, 0.0, 0.25, 0.5, 3.0)


@st.composite
def cases(draw):
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 12)))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(SCORES)))
    return scores, draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


@given(cases())
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


def test_a_model_without_scores_is_at_chance() -> None:
    unscored = np.full((1, 4), -np.inf, dtype=np.float32)
    values = ScoreAUC.of(unscored).per_user(sparse.csr_array(np.array([[True, False, False, False]])))
    assert (values["roc_auc"][0], values["pr_auc"][0]) == (0.5, 0.25)


def test_by_hand() -> None:
    scores = np.array([[4, 3, 2, 1]], dtype=np.float32)
    values = ScoreAUC.of(scores).per_user(sparse.csr_array(np.array([[False, True, False, True]])))
    assert values["roc_auc"][0] == 1 / 4  # of the four pairs only 3 > 2 stands right
    assert values["pr_auc"][0] == (1 / 2 + 2 / 4) / 2

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
    wanted = bought & ~hidden
    told = ScoreAUC.of(scores).per_user(sparse.csr_array(wanted), sparse.csr_array(hidden))
    finite = np.where(np.isfinite(scores), scores, -99)
    for row in range(len(scores)):
        left = ~hidden[row]
        labels, said = wanted[row, left], finite[row, left]
        roc = roc_auc_score(labels, said) if 0 < labels.sum() < len(labels) else np.nan
        precision = average_precision_score(labels, said) if labels.any() else np.nan
        assert told["roc_auc"][row] == pytest.approx(roc, nan_ok=True)
        assert told["pr_auc"][row] == pytest.approx(precision, nan_ok=True)


def test_a_model_that_says_nothing_is_at_chance() -> None:
    silent = np.full((1, 4), -np.inf, dtype=np.float32)
    told = ScoreAUC.of(silent).per_user(sparse.csr_array(np.array([[True, False, False, False]])))
    assert (told["roc_auc"][0], told["pr_auc"][0]) == (0.5, 0.25)


def test_by_hand() -> None:
    scores = np.array([[4, 3, 2, 1]], dtype=np.float32)
    told = ScoreAUC.of(scores).per_user(sparse.csr_array(np.array([[False, True, False, True]])))
    assert told["roc_auc"][0] == 1 / 4  # of the four pairs only 3 > 2 stands right
    assert told["pr_auc"][0] == (1 / 2 + 2 / 4) / 2

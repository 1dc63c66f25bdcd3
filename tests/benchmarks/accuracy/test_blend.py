"""A blend contains both models, and each alone at its ends."""

import numpy as np

from benchmarks.accuracy.blend import KNN, SEQUENCE, Blend

SIMILAR = np.array([[3.0, 1.0, -np.inf]], dtype=np.float32)
LIKELY = np.log(np.array([[0.2, 0.3, 0.5]], dtype=np.float32))


def test_the_ends_are_the_models_alone() -> None:
    np.testing.assert_allclose(KNN.scores(SIMILAR, LIKELY), [[0.75, 0.25, -np.inf]])
    np.testing.assert_allclose(SEQUENCE.scores(SIMILAR, LIKELY), [[0.2, 0.3, 0.5]], rtol=1e-6)


def test_a_blend_adds_shares_and_probabilities() -> None:
    np.testing.assert_allclose(Blend(0.6).scores(SIMILAR, LIKELY), [[0.42, 0.28, 0.3]], rtol=1e-6)


def test_a_high_temperature_makes_probabilities_alike() -> None:
    flat = Blend(1.0, temperature=1e6).scores(SIMILAR, LIKELY)
    np.testing.assert_allclose(flat, np.full((1, 3), 1 / 3), rtol=1e-4)


def test_a_user_without_similar_items_is_ranked_by_the_sequence_model() -> None:
    nothing = np.full((1, 3), -np.inf, dtype=np.float32)
    assert Blend(0.2).scores(nothing, LIKELY)[0].argmax() == 2

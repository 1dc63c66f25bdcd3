from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from models.features.encoding.embeddings import CoOccurrence, Embedding, co_occurrence, learned
from models.features.encoding.encoder import Config, Encoder

EVERY_VALUE = Config(min_rows=1)
HEAVY = np.expm1([0.0, 1, 2, 3, 3, 4, 5, 14]).tolist()
"""With the logarithms 0, 1, 2, 3, 3, 4, 5 and 14."""
MANY = [f"brand {i:04}" for i in range(500)]


def encoded(encoder: Encoder, table: pa.Table) -> dict[str, list[float]]:
    matrix, names = encoder.transform(table)
    assert matrix.dtype == np.float32
    return dict(zip(names.tolist(), matrix.toarray().T.round(6).tolist(), strict=True))


def fitted(values: list[Any], kind: pa.DataType | None = None, config: Config = EVERY_VALUE, **given: Any) -> Encoder:
    return Encoder.fit(pa.table({"x": pa.array(values, kind)}), ["x"], config, seed=1, **given)


def test_a_number_is_filled_with_the_median_and_scaled_by_the_filled_column() -> None:
    # Median of 1, 2, 9 is 2; of 1, 2, 9, 2 the mean is 3.5 and the variance (6.25 + 2.25 + 30.25 + 2.25) / 4 = 10.25.
    encoder = fitted([1.0, 2.0, 9.0, None])
    deviation = 10.25**0.5
    assert encoded(encoder, pa.table({"x": pa.array([1.0, None, 30.0])})) == {
        "x": pytest.approx([-2.5 / deviation, -1.5 / deviation, 26.5 / deviation], abs=1e-5),
        "x=missing": [0, 1, 0],
    }


@pytest.mark.parametrize("imputation", ["median", "mean"])
def test_numbers_come_out_as_from_scikit_learn(imputation: str) -> None:
    random = np.random.default_rng(2)
    numbers = np.where(random.random(300) < 0.2, np.nan, random.normal(5, 3, 300))
    filled = SimpleImputer(strategy=imputation).fit_transform(numbers[:, None])
    table = pa.table({"x": pa.array(numbers, from_pandas=True)})
    matrix, _ = Encoder.fit(table, ["x"], Config(imputation=imputation), 1).transform(table)
    np.testing.assert_allclose(matrix.toarray()[:, :1], StandardScaler().fit_transform(filled), rtol=1e-5, atol=1e-6)


def test_a_heavy_tail_is_drawn_in_by_the_logarithm() -> None:
    # Their mean is 4 and their variance (16 + 9 + 4 + 1 + 1 + 0 + 1 + 100) / 8 = 16.5.
    assert encoded(fitted(HEAVY), pa.table({"x": [0.0, float(np.expm1(6.0))]})) == {
        "x": pytest.approx([-4 / 16.5**0.5, 2 / 16.5**0.5], abs=1e-5)
    }


def test_no_logarithm_is_taken_where_it_does_not_help() -> None:
    for values in ([-1.0, *HEAVY], [0.0] * 9 + [1e4], [1.0, 2.0, 3.0, 4.0]):
        (encoding,) = fitted(values).encodings
        assert encoding.kind == "scaled"
        assert not encoding.logged


def test_a_negative_number_that_comes_later_counts_as_nothing_where_the_logarithm_is_taken() -> None:
    encoder = fitted(HEAVY)
    assert encoded(encoder, pa.table({"x": [-5.0]})) == encoded(encoder, pa.table({"x": [0.0]}))


@pytest.mark.parametrize("values", [[0.1] * 7, [3] * 4, [True, True]])
def test_a_constant_is_nothing_to_learn_from_even_when_it_changes(values: list[Any]) -> None:
    assert encoded(fitted(values), pa.table({"x": [7.0, -7.0]})) == {"x": [0, 0]}


def test_numbers_that_were_never_known_become_a_flag() -> None:
    encoder = fitted([None, None], pa.float64())
    assert encoded(encoder, pa.table({"x": [None, 5.0]})) == {"x": [0, 0], "x=missing": [1, 0]}


def test_nan_and_infinity_are_missing_numbers() -> None:
    encoder = fitted([1.0, 3.0, float("nan"), float("inf"), None])
    assert encoded(encoder, pa.table({"x": [float("-inf"), float("nan"), 2.0]})) == {
        "x": [0, 0, 0],
        "x=missing": [1, 1, 0],
    }


def test_missing_numbers_are_filled_without_a_flag_where_none_were_missing_in_the_fit() -> None:
    encoder = fitted([1, 3], pa.int64())
    assert encoded(encoder, pa.table({"x": pa.array([None, 3], pa.int64())})) == {"x": [0, 1]}


def test_true_and_false_are_numbers() -> None:
    assert encoded(fitted([True, False]), pa.table({"x": [True, False]})) == {"x": [1, -1]}


def test_each_frequent_word_has_a_column_and_the_rare_ones_share_one() -> None:
    encoder = fitted(["b"] * 3 + ["a"] * 2 + ["c", None], config=Config(min_rows=2))
    assert encoded(encoder, pa.table({"x": ["a", "b", "c", "unseen", None]})) == {
        "x=a": [1, 0, 0, 0, 0],
        "x=b": [0, 1, 0, 0, 0],
        "x~other": [0, 0, 1, 1, 0],
    }


def test_an_unseen_word_is_like_a_missing_one_where_no_word_was_rare() -> None:
    assert encoded(fitted(["a", "b"]), pa.table({"x": ["unseen", None]})) == {"x=a": [0, 0], "x=b": [0, 0]}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_words_are_words_in_every_arrow_type(kind: pa.DataType) -> None:
    values = pa.array(["a", None, "b"]).cast(kind)
    encoder = Encoder.fit(pa.table({"x": values}), ["x"], EVERY_VALUE, 1)
    assert encoded(encoder, pa.table({"x": values})) == {"x=a": [1, 0, 0], "x=b": [0, 0, 1]}


@pytest.mark.parametrize("kind", [pa.string(), pa.null()])
def test_words_that_were_never_known_have_no_column(kind: pa.DataType) -> None:
    encoder = fitted([None, None], kind)
    matrix, names = encoder.transform(pa.table({"x": ["a", None]}))
    assert matrix.shape == (2, 0)
    assert len(names) == 0


def test_the_threshold_decides_between_columns_and_buckets() -> None:
    kinds = [fitted([f"v{i}" for i in range(n)]).encodings[0].kind for n in (32, 33)]
    assert kinds == ["one_hot", "hashed"]


def test_words_of_many_values_get_vectors_learned_from_what_they_occur_with() -> None:
    # Brands of one half are bought by the users of one half: two tastes, and so two directions.
    random = np.random.default_rng(4)
    brand = random.integers(0, 500, 20_000)
    user = 2 * random.integers(0, 200, 20_000) + brand % 2
    seen = co_occurrence(pa.array([MANY[b] for b in brand]), pa.array([f"u{u}" for u in user]))
    encoder = fitted(MANY, config=Config(embedding_size=4), related={"x": seen})
    matrix, names = encoder.transform(pa.table({"x": [*MANY, "unseen", None]}))
    assert names.tolist() == ["x~0", "x~1", "x~2", "x~3", "x~unknown"]
    vectors = matrix.toarray()[:500, :4]
    likeness = vectors @ vectors.T
    assert likeness[::2, ::2].mean() > 10 * abs(likeness[::2, 1::2].mean())
    assert np.mean(vectors**2) == pytest.approx(1, rel=1e-3)
    assert matrix.toarray()[500:].tolist() == [[0, 0, 0, 0, 1]] * 2


def test_vectors_are_no_longer_than_there_are_directions() -> None:
    half = np.kron(np.eye(2), np.ones((250, 3)))
    result = learned(CoOccurrence(np.array(MANY), sparse.csr_array(half)), 5, seed=1)
    assert result is not None
    assert result.vectors.shape == (500, 2)
    likeness = result.vectors @ result.vectors.T
    np.testing.assert_allclose(likeness, np.kron(np.eye(2), np.full((250, 250), likeness[0, 0])), atol=1e-5)


def test_vectors_of_a_model_are_used_as_they_are_but_for_their_scale() -> None:
    factors = np.arange(1, 1001, dtype=np.float32).reshape(500, 2)
    encoder = fitted(MANY, related={"x": Embedding(np.array(MANY), factors)})
    matrix, _ = encoder.transform(pa.table({"x": MANY}))
    scale = float(np.sqrt((factors**2).mean()))
    np.testing.assert_allclose(matrix.toarray()[:, :2], factors / scale, rtol=1e-5)


def test_pairs_are_counted_in_any_order_of_the_rows() -> None:
    brands, users = ["b", "a", "b", None, "a"], ["u2", "u1", "u2", "u1", None]
    seen = co_occurrence(pa.array(brands), pa.array(users))
    again = co_occurrence(pa.array(brands[::-1]), pa.array(users[::-1]))
    assert seen.values.tolist() == again.values.tolist() == ["a", "b"]
    assert seen.counts.toarray().tolist() == again.counts.toarray().tolist() == [[1, 0], [0, 2]]


@pytest.mark.parametrize(
    "counts",
    [np.zeros((500, 3)), np.zeros((500, 0)), np.ones((500, 1)), np.ones((500, 4))],
    ids=["nothing seen", "no context", "one context", "no difference"],
)
def test_buckets_are_the_fallback_when_there_is_nothing_to_learn(counts: np.ndarray[Any, Any]) -> None:
    seen = CoOccurrence(np.array(MANY), sparse.csr_array(counts))
    assert learned(seen, 8, seed=1) is None
    assert fitted(MANY, related={"x": seen}).encodings[0].kind == "hashed"


def test_vectors_of_other_values_are_no_help() -> None:
    others = Embedding(np.array(["p", "q"]), np.ones((2, 2), dtype=np.float32))
    assert fitted(MANY, related={"x": others}).encodings[0].kind == "hashed"


def test_buckets_are_the_same_on_every_machine_and_hold_unseen_words_too() -> None:
    encoder = fitted(MANY)
    matrix, names = encoder.transform(pa.table({"x": [*MANY, "unseen", None]}))
    assert len(names) == 64
    assert np.diff(matrix.indptr).tolist() == [1] * 501 + [0]
    assert matrix.indices[[0, 1, 500]].tolist() == [58, 56, 7]


def test_transforming_looks_at_one_row_at_a_time() -> None:
    table, encoder = mixed()
    whole = encoder.transform(table)[0].toarray()
    single = [encoder.transform(table.slice(row, 1))[0].toarray()[0] for row in range(0, 200, 7)]
    np.testing.assert_array_equal(whole[::7], np.array(single))


def test_rows_after_the_training_part_change_nothing() -> None:
    table, _ = mixed()
    spoiled = pa.concat_tables([table.slice(0, 100), table.slice(100).set_column(0, "spend", pa.array([1e9] * 100))])
    first = Encoder.fit(table.slice(0, 100), table.column_names, Config(), 1)
    second = Encoder.fit(spoiled.slice(0, 100), table.column_names, Config(), 1)
    assert same(first.state(), second.state())


def test_an_encoder_comes_back_from_a_file_without_pickle(tmp_path: Path) -> None:
    table, encoder = mixed()
    assert {encoding.kind for encoding in encoder.encodings} == {"scaled", "one_hot", "embedded", "hashed"}
    np.savez(tmp_path / "encoder.npz", **encoder.state())
    with np.load(tmp_path / "encoder.npz", allow_pickle=False) as stored:
        again = Encoder.from_state(dict(stored))
    assert again.columns == encoder.columns
    assert again.names.tolist() == encoder.names.tolist()
    assert same(again.state(), encoder.state())
    np.testing.assert_array_equal(again.transform(table)[0].toarray(), encoder.transform(table)[0].toarray())


def test_the_seed_decides_and_nothing_else() -> None:
    assert same(mixed()[1].state(), mixed()[1].state())
    assert not same(mixed(seed=1)[1].state(), mixed(seed=2)[1].state())


def test_no_columns_and_no_rows_are_no_trouble() -> None:
    table, encoder = mixed()
    assert encoder.transform(table.slice(0, 0))[0].shape == (0, len(encoder.names))
    assert Encoder.fit(table, [], Config(), 1).transform(table)[0].shape == (200, 0)


def mixed(seed: int = 1) -> tuple[pa.Table, Encoder]:
    """A table with a column of each kind, and its encoder."""
    random = np.random.default_rng(5)
    table = pa.table(
        {
            "spend": pa.array(
                np.where(random.random(200) < 0.1, np.nan, random.lognormal(3, 2, 200)), from_pandas=True
            ),
            "age": [["young", "old", None][i % 3] for i in range(200)],
            "brand": [MANY[i] for i in random.integers(0, 60, 200)],
            "city": [MANY[i] for i in random.integers(0, 60, 200)],
        }
    )
    seen = co_occurrence(table["brand"], pa.array([f"u{i}" for i in random.integers(0, 30, 200)]))
    return table, Encoder.fit(table, table.column_names, Config(), seed, {"brand": seen})


def same(first: dict[str, object], second: dict[str, object]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)

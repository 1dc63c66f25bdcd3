from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from models.features.encoding.encoder import Encoder, Tags, one_hot

HEAVY = np.expm1([0.0, 1, 2, 3, 3, 4, 5, 14]).tolist()
"""With the logarithms 0, 1, 2, 3, 3, 4, 5 and 14."""


def encoded(encoder: Encoder, table: pa.Table) -> dict[str, list[float]]:
    matrix, names = encoder.transform(table)
    assert matrix.dtype == np.float32
    return dict(zip(names.tolist(), matrix.toarray().T.round(6).tolist(), strict=True))


def fitted(values: list[Any], kind: pa.DataType | None = None, min_rows: int = 1) -> Encoder:
    return Encoder.fit(pa.table({"x": pa.array(values, kind)}), ["x"], min_rows)


def test_a_number_is_filled_with_the_median_and_scaled_by_the_filled_column() -> None:
    # Median of 1, 2, 9 is 2; of 1, 2, 9, 2 the mean is 3.5 and the variance (6.25 + 2.25 + 30.25 + 2.25) / 4 = 10.25.
    encoder = fitted([1.0, 2.0, 9.0, None])
    deviation = 10.25**0.5
    assert encoded(encoder, pa.table({"x": pa.array([1.0, None, 30.0])})) == {
        "x": pytest.approx([-2.5 / deviation, -1.5 / deviation, 26.5 / deviation], abs=1e-5),
        "x=missing": [0, 1, 0],
    }


def test_numbers_come_out_as_from_scikit_learn() -> None:
    random = np.random.default_rng(2)
    numbers = np.where(random.random(300) < 0.2, np.nan, random.normal(5, 3, 300))
    filled = SimpleImputer(strategy="median").fit_transform(numbers[:, None])
    table = pa.table({"x": pa.array(numbers, from_pandas=True)})
    matrix, _ = Encoder.fit(table, ["x"]).transform(table)
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


@pytest.mark.parametrize("values", [[0.1] * 7, [3] * 4, [True, True]])
def test_a_constant_is_nothing_to_learn_from_even_when_it_changes(values: list[Any]) -> None:
    assert encoded(fitted(values), pa.table({"x": [7.0, -7.0]})) == {"x": [0, 0]}


def test_nan_and_infinity_are_missing_numbers() -> None:
    encoder = fitted([1.0, 3.0, float("nan"), float("inf"), None])
    assert encoded(encoder, pa.table({"x": [float("-inf"), float("nan"), 2.0]})) == {
        "x": [0, 0, 0],
        "x=missing": [1, 1, 0],
    }


def test_each_frequent_word_has_a_column_and_the_rare_ones_share_one() -> None:
    encoder = fitted(["b"] * 3 + ["a"] * 2 + ["c", None], min_rows=2)
    assert encoded(encoder, pa.table({"x": ["a", "b", "c", "unseen", None]})) == {
        "x=a": [1, 0, 0, 0, 0],
        "x=b": [0, 1, 0, 0, 0],
        "x~other": [0, 0, 1, 1, 0],
    }


def test_an_unseen_word_is_like_a_missing_one_where_no_word_was_rare() -> None:
    assert encoded(fitted(["a", "b"]), pa.table({"x": ["unseen", None]})) == {"x=a": [0, 0], "x=b": [0, 0]}


def test_transforming_looks_at_one_row_at_a_time() -> None:
    table, encoder = mixed()
    whole = encoder.transform(table)[0].toarray()
    single = [encoder.transform(table.slice(row, 1))[0].toarray()[0] for row in range(0, 200, 7)]
    np.testing.assert_array_equal(whole[::7], np.array(single))


def test_an_encoder_comes_back_from_a_file_without_pickle(tmp_path: Path) -> None:
    table, encoder = mixed()
    assert {encoding.kind for encoding in encoder.encodings} == {"scaled", "one_hot"}
    np.savez(tmp_path / "encoder.npz", **encoder.state())
    with np.load(tmp_path / "encoder.npz", allow_pickle=False) as stored:
        again = Encoder.from_state(dict(stored))
    assert again.columns == encoder.columns
    assert again.names.tolist() == encoder.names.tolist()
    assert same(again.state(), encoder.state())
    np.testing.assert_array_equal(again.transform(table)[0].toarray(), encoder.transform(table)[0].toarray())


def test_no_columns_and_no_rows_are_no_trouble() -> None:
    table, encoder = mixed()
    assert encoder.transform(table.slice(0, 0))[0].shape == (0, len(encoder.names))
    assert Encoder.fit(table, []).transform(table)[0].shape == (200, 0)


def mixed() -> tuple[pa.Table, Encoder]:
    """A table with a column of each kind, and its encoder."""
    random = np.random.default_rng(5)
    table = pa.table(
        {
            "spend": pa.array(
                np.where(random.random(200) < 0.1, np.nan, random.lognormal(3, 2, 200)), from_pandas=True
            ),
            "age": [["young", "old", None][i % 3] for i in range(200)],
            "city": [f"city {i}" for i in random.integers(0, 60, 200)],
        }
    )
    return table, Encoder.fit(table, table.column_names)


def same(first: dict[str, object], second: dict[str, object]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def tagged(column: str, values: list[object], kind: pa.DataType | None = None) -> list[list[str]]:
    matrix, names = one_hot(pa.table({column: pa.array(values, kind)}), [column])
    return [sorted(names[row.indices].tolist()) for row in (matrix[[i]] for i in range(len(values)))]


def test_words_become_one_tag_and_a_missing_word_none() -> None:
    assert tagged("age", ["65+", None]) == [["age=65+"], []]


def test_a_category_path_becomes_one_tag_a_level() -> None:
    paths = ["DAIRY|MILK|WHOLE", "DAIRY", None, "DAIRY||WHOLE", ""]
    assert tagged("category", paths) == [
        ["category=DAIRY", "category=DAIRY|MILK", "category=DAIRY|MILK|WHOLE"],
        ["category=DAIRY"],
        [],
        ["category=DAIRY", "category=DAIRY||WHOLE"],
        [],
    ]


def test_numbers_become_five_buckets_of_equal_size() -> None:
    tags = tagged("visits", [*range(100), None], pa.int64())
    assert [tags[i] for i in (0, 20, 99, 100)] == [["visits=1of5"], ["visits=2of5"], ["visits=5of5"], []]
    assert sum(tag == ["visits=3of5"] for tag in tags) == 20


def test_equal_numbers_share_a_bucket_and_all_missing_numbers_give_no_tag() -> None:
    assert len({tuple(tag) for tag in tagged("spend", [4.0] * 9)}) == 1
    assert tagged("spend", [None, None], pa.float64()) == [[], []]


def later(column: str, values: list[object], rows: pa.Table) -> list[list[str]]:
    """The tags of `rows`, by the rules learned from a column of `values`."""
    tags = Tags.fit(pa.table({column: values}), [column])
    return [sorted(tags.names[row.indices].tolist()) for row in (tags.encode(rows)[[i]] for i in range(rows.num_rows))]


def test_later_rows_get_the_tags_of_the_fit_and_none_for_what_it_has_not_seen() -> None:
    assert later("age", ["65+", "young"], pa.table({"age": ["young", "old", None]})) == [["age=young"], [], []]
    paths = pa.table({"category": ["DAIRY|MILK|OAT", "TOYS"]})
    assert later("category", ["DAIRY|MILK", "DAIRY"], paths) == [["category=DAIRY", "category=DAIRY|MILK"], []]


def test_later_numbers_go_by_the_bounds_of_the_fit() -> None:
    assert later("visits", list(range(100)), pa.table({"visits": [-5, 50, 1000]})) == [
        ["visits=1of5"],
        ["visits=3of5"],
        ["visits=5of5"],
    ]


def test_a_column_that_has_become_numbers_is_read_as_the_words_it_was() -> None:
    assert later("size", ["1", "2"], pa.table({"size": [2, 3]})) == [["size=2"], []]

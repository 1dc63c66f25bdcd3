import pyarrow as pa

from models.tags import category_level, one_hot


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


def test_equal_names_under_different_parents_stay_different() -> None:
    levels = category_level(pa.array(["A|OTHER", "B|OTHER"]), 1).to_pylist()
    assert levels == ["A|OTHER", "B|OTHER"]


def test_numbers_become_five_buckets_of_equal_size() -> None:
    tags = tagged("visits", [*range(100), None], pa.int64())
    assert [tags[i] for i in (0, 20, 99, 100)] == [["visits=1of5"], ["visits=2of5"], ["visits=5of5"], []]
    assert sum(tag == ["visits=3of5"] for tag in tags) == 20


def test_equal_numbers_share_a_bucket_and_all_missing_numbers_give_no_tag() -> None:
    assert len({tuple(tag) for tag in tagged("spend", [4.0] * 9)}) == 1
    assert tagged("spend", [None, None], pa.float64()) == [[], []]


def test_no_columns_give_no_tags() -> None:
    matrix, names = one_hot(pa.table({"x": [1, 2]}), [])
    assert matrix.shape == (2, 0)
    assert len(names) == 0

import pyarrow as pa

from models.features.encoding.encoder import Tags, one_hot


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

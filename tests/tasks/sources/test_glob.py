import pytest

from tasks.sources.glob import begin, names, segments, step, takes


def taken(pattern: str, path: str) -> bool:
    state = begin(segments(pattern))
    for name in path.split("/"):
        state = step(state, name)
    return takes(state, path.rpartition("/")[2], (".csv", ".gz"))


@pytest.mark.parametrize(
    ("pattern", "matched", "not_meant"),
    [
        ("", ["a.csv", "x/y/A.CSV"], ["a.txt"]),
        (".", ["a.csv", "x/a.csv"], ["x/a.txt"]),
        ("**", ["a.csv", "x/y/a.csv"], ["a.txt", "x/a.txt"]),
        ("*.csv", ["a.csv"], ["x/a.csv", "a.csv2"]),
        ("**/*.csv", ["a.csv", "x/y/a.csv"], ["a.gz"]),
        ("*.log", ["a.log"], ["a.csv"]),
        ("2024-*", ["2024-01", "2024-01/x/a.csv"], ["2025-01/a.csv", "2024-01/a.txt"]),
        ("2024-*/", ["2024-01/a.csv"], ["2025-01/a.csv"]),
        ("*/day=?/*.gz", ["x/day=1/a.gz"], ["x/day=10/a.gz", "day=1/a.gz"]),
        ("**/[ab].csv", ["a.csv", "x/b.csv"], ["c.csv"]),
        ("a/**/b/**/c.csv", ["a/b/c.csv", "a/x/y/b/z/c.csv"], ["a/c.csv", "b/c.csv"]),
        ("events[1].csv", ["events[1].csv", "events1.csv"], ["events2.csv"]),
    ],
)
def test_a_pattern_means_files_and_all_that_is_below_the_folders_it_means(
    pattern: str, matched: list[str], not_meant: list[str]
) -> None:
    assert [path for path in matched if not taken(pattern, path)] == []
    assert [path for path in not_meant if taken(pattern, path)] == []


def test_a_path_that_cannot_match_any_more_is_known_at_once() -> None:
    assert step(begin(segments("2024-*/a.csv")), "2025-01") == frozenset()


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("users.csv", "/data/users.csv", True),
        ("users.csv", "/data/old-users.csv", False),
        ("events*.csv", "s3://shop/2024/events-1.csv", True),
        ("events", "/data/events/2024/part-1.parquet", True),
        ("events/*.csv", "/data/events/a.csv", True),
        ("events/*.csv", "/data/a.csv", False),
        (".", "/data/a.csv", True),
    ],
)
def test_a_pattern_names_a_file_by_the_end_of_its_path(pattern: str, path: str, fits: bool) -> None:
    assert names(pattern, path) == fits

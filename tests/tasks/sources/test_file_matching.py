from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import TailorbirdError
from models.ingest.tabular.table_mapping import Mapping
from tasks.sources.file_matching import files_of
from tasks.sources.glob import begin, names, segments, step, takes
from tasks.sources.mapping_files import read

EVENTS = {"user_id": "u", "item_id": "i", "occurred_at": "t", "constants": {"event_type": "view"}}
ITEMS = {"item_id": "i", "title": "t"}
USERS = {"user_id": "u", "attributes": []}


def mapping_of(**values: object) -> Mapping:
    return Mapping.parse({"consent": "given", "consent_note": "a test", **values}, "mine")


@pytest.fixture
def mapping() -> Mapping:
    parts = {
        "events": ("events*.csv", EVENTS),
        "items": (["items.csv", "more/*.csv"], ITEMS),
        "users": ("people", USERS),
    }
    return mapping_of(**{name: {"file": file, **part} for name, (file, part) in parts.items()})


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., str]:
    def make(*names: str) -> str:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return str(tmp_path)

    return make


def relative(result: dict[str, list[str]], folder: str) -> dict[str, list[str]]:
    return {part: [Path(file).relative_to(folder).as_posix() for file in files] for part, files in result.items()}


ALL = (
    "events-2.csv",
    "events-1.csv",
    "items.csv",
    "more/a.csv",
    "people/2024/p.parquet",
    "people/_SUCCESS",
    "readme.csv",
)
EVERYTHING = {
    "items": ["items.csv", "more/a.csv"],
    "users": ["people/2024/p.parquet"],
    "events": ["events-1.csv", "events-2.csv"],
}


def test_below_a_folder_every_part_has_what_its_patterns_mean_and_events_come_last(
    mapping: Mapping, make: Callable[..., str]
) -> None:
    folder = make(*ALL)
    result = relative(files_of(mapping, [folder]), folder)
    assert result == EVERYTHING
    assert list(result) == ["items", "users", "events"]


def test_without_paths_the_files_are_where_the_mapping_states(mapping: Mapping, make: Callable[..., str]) -> None:
    folder = make(*ALL)
    assert relative(files_of(mapping.model_copy(update={"location": folder})), folder) == EVERYTHING


def test_without_paths_every_pattern_needs_a_file(mapping: Mapping, make: Callable[..., str]) -> None:
    folder = make("events-1.csv", "items.csv")
    with pytest.raises(TailorbirdError, match=r"no file /.*/more/\*.csv for items. Check the mapping's `location`"):
        files_of(mapping.model_copy(update={"location": folder}))
    with pytest.raises(TailorbirdError, match=r"states no location. Give the files: tailorbird ingest mine PATH"):
        files_of(mapping)
    with pytest.raises(TailorbirdError, match=r"Give the files: tailorbird check my.toml PATH"):
        files_of(mapping, command="tailorbird check my.toml")
    nameless = mapping_of(location=folder, events={"file": [], **EVENTS})
    with pytest.raises(TailorbirdError, match="names no file for events"):
        files_of(nameless)


def test_a_part_in_a_database_has_no_files(make: Callable[..., str]) -> None:
    folder = make("items.csv")
    events = {"sql": {"table": "orders"}, **EVENTS}
    mapping = mapping_of(location=folder, events=events, items={"file": "items.csv", **ITEMS})
    assert relative(files_of(mapping), folder) == {"items": ["items.csv"]}
    with pytest.raises(TailorbirdError, match="names no files, only tables of a database"):
        files_of(mapping_of(events=events), [folder])


def test_files_and_patterns_go_to_the_part_that_their_name_fits(mapping: Mapping, make: Callable[..., str]) -> None:
    folder = make(*ALL)
    paths = [f"{folder}/{path}" for path in ("events-1.csv", "more/*.csv", "people/2024/p.parquet")]
    assert relative(files_of(mapping, paths), folder) == {
        "items": ["more/a.csv"],
        "users": ["people/2024/p.parquet"],
        "events": ["events-1.csv"],
    }
    assert relative(files_of(mapping, [f"{folder}/items.csv"]), folder) == {
        "items": ["items.csv"],
        "users": [],
        "events": [],
    }


def test_a_file_that_fits_several_parts_is_read_by_each(mapping: Mapping, make: Callable[..., str]) -> None:
    folder = make("people/events-9.csv")
    expected = {"items": [], "users": ["people/events-9.csv"], "events": ["people/events-9.csv"]}
    assert relative(files_of(mapping, [f"{folder}/people/events-9.csv"]), folder) == expected


@pytest.mark.parametrize("name", ["orders.parquet", "export-2.csv"])
def test_a_mapping_of_one_table_takes_a_file_of_any_name_for_all_its_parts(make: Callable[..., str], name: str) -> None:
    folder, file = make(name), "orders.parquet"
    mapping = mapping_of(
        **{part: {"file": file, **values} for part, values in {"events": EVENTS, "items": ITEMS}.items()}
    )
    assert relative(files_of(mapping, [f"{folder}/{name}"]), folder) == {"items": [name], "events": [name]}


def test_a_file_that_fits_no_part_is_reported_with_the_patterns(mapping: Mapping, make: Callable[..., str]) -> None:
    folder = make(*ALL)
    patterns = r"items: items.csv, more/\*.csv; users: people; events: events\*.csv"
    with pytest.raises(TailorbirdError, match=rf"readme.csv fits no part of the mapping 'mine': {patterns}"):
        files_of(mapping, [f"{folder}/*.csv"])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("elsewhere", r"There is no file /.*/elsewhere"),
        ("empty", r"No file in /.*/empty is one that the mapping 'mine' .*such as file = \"orders_\*\.csv\""),
    ],
)
def test_a_path_without_a_file_is_reported_even_beside_others(
    mapping: Mapping, make: Callable[..., str], path: str, message: str
) -> None:
    folder = make(*ALL, "empty/notes.txt")
    with pytest.raises(TailorbirdError, match=message):
        files_of(mapping, [folder, f"{folder}/{path}"])


def test_a_segment_export_is_all_files_of_lines(make: Callable[..., str]) -> None:
    folder = make("2024/a.jsonl", "2024/b.json.gz", "notes.txt")
    assert relative(files_of(read("segment"), [folder]), folder) == {"segment": ["2024/a.jsonl", "2024/b.json.gz"]}
    with pytest.raises(TailorbirdError, match=r"Say which files to read: tailorbird ingest segment PATH"):
        files_of(read("segment"))


def test_tables_in_a_bucket_are_found_like_those_in_a_folder(mapping: Mapping, s3: Callable[..., str]) -> None:
    for name in ALL:
        s3(f"data/{name}")
    expected = {part: [f"s3://shop/data/{name}" for name in names] for part, names in EVERYTHING.items()}
    assert files_of(mapping, ["s3://shop/data/"]) == expected
    assert files_of(mapping.model_copy(update={"location": "s3://shop/data"})) == expected


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

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import TailorbirdError
from tasks.sources import locations
from tasks.sources.locations import LINES, TABLES, below, fetched, find, skipped


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., list[str]]:
    """Create files, and return the files at places, relative to their folder."""

    def make(*names: str) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"{}\n")

    def result(*where: str) -> list[str]:
        return [Path(path).relative_to(tmp_path).as_posix() for path in find([f"{tmp_path}/{w}" for w in where], LINES)]

    make("2024/06/a.jsonl", "2024/06/b.jsonl.GZ", "2024/07/c.json", "2024/notes.txt", "z.ndjson")
    make("2024/_SUCCESS", "2024/06/.a.jsonl.crc", "_temporary/0/d.jsonl", ".snapshot/e.jsonl")
    return result


def test_a_folder_is_looked_through_to_the_bottom_without_markers_and_leftovers(
    export: Callable[..., list[str]],
) -> None:
    assert export("") == ["2024/06/a.jsonl", "2024/06/b.jsonl.GZ", "2024/07/c.json", "z.ndjson"]


def test_files_are_found_by_name_and_pattern_in_name_order_each_once(export: Callable[..., list[str]]) -> None:
    assert export("2024/notes.txt") == ["2024/notes.txt"]
    assert export("**/*.json", "2024/06/a.jsonl", "2024/06/") == [
        "2024/06/a.jsonl",
        "2024/06/b.jsonl.GZ",
        "2024/07/c.json",
    ]
    assert export("2024/*/a*", "2024/**") == ["2024/06/a.jsonl", "2024/06/b.jsonl.GZ", "2024/07/c.json"]
    assert export("*/06") == ["2024/06/a.jsonl", "2024/06/b.jsonl.GZ"]
    assert export("_temporary/0/d.jsonl") == ["_temporary/0/d.jsonl"]


def test_a_place_from_where_one_stands_is_named_as_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert find(["a.jsonl"], LINES) == find(["."], LINES) == find(["*.jsonl"], LINES) == [f"{tmp_path}/a.jsonl"]
    assert locations.absolute("export/*.gz") == f"{tmp_path}/export/*.gz"
    assert locations.absolute("~/a") == str(Path.home() / "a")
    assert locations.absolute("s3://shop/a b/*.gz") == "s3://shop/a b/*.gz"


def test_a_folder_whose_name_looks_like_a_pattern_is_taken_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "data[1]").mkdir()
    (tmp_path / "data[1]" / "a*b.csv").touch()
    path = f"{tmp_path}/data[1]/a*b.csv"
    assert find([f"{tmp_path}/data[1]"], TABLES) == find([path], TABLES) == [path]
    assert below(f"{tmp_path}/data[1]", "*.csv", TABLES) == [path]


def test_links_to_themselves_and_to_nothing_are_skipped_and_can_be_named(tmp_path: Path) -> None:
    for name, target in (("self.jsonl", "self.jsonl"), ("gone.jsonl", "nowhere"), ("ring", "ring"), ("up", ".")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "a.jsonl").touch()
    assert find([str(tmp_path)], LINES) == [f"{tmp_path}/a.jsonl"]
    assert [path for path, _ in skipped(str(tmp_path), LINES)] == [f"{tmp_path}/gone.jsonl", f"{tmp_path}/self.jsonl"]
    assert not list(skipped("s3://bucket/a", LINES))


def test_pipes_and_devices_are_named_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert find([str(tmp_path)], LINES) == [f"{tmp_path}/a.jsonl"]
    kind = "a pipe, socket or device, and no file"
    assert list(skipped(str(tmp_path), LINES)) == [(f"{tmp_path}/pipe.jsonl", kind)]
    with pytest.raises(TailorbirdError, match=f"pipe.jsonl is {kind}. Copy what comes from it"):
        find([f"{tmp_path}/pipe.jsonl"], LINES)


def test_a_file_whose_name_is_no_text_is_refused_by_an_escaped_name(tmp_path: Path) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    file.touch()
    [result] = find([str(tmp_path)], LINES)
    with pytest.raises(TailorbirdError, match=r"caf\\udce9.jsonl is not UTF-8") as refusal, fetched(result, tmp_path):
        pass
    str(refusal.value).encode()


def test_links_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "export" / "2024").mkdir(parents=True)
    (tmp_path / "real" / "a.jsonl").touch()
    (tmp_path / "real" / "back").symlink_to(tmp_path / "export")
    (tmp_path / "export" / "2024" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "export" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert find([f"{tmp_path}/export"], LINES) == [f"{tmp_path}/export/2024/linked/a.jsonl"]


def test_a_package_is_a_place() -> None:
    assert [Path(path).name for path in find(["package:numpy/random/__init__.py"], TABLES)] == ["__init__.py"]
    with pytest.raises(TailorbirdError, match=r"not installed here. Install Tailorbird with its demo data"):
        find(["package:no_such_package/data"], TABLES)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", r"There is no file /.*/nowhere. Give a file, a folder, or a pattern"),
        ("*.tsv", r"There is no file /.*/\*.tsv"),
        ("empty", r"There is no file in /.*/empty or below it that ends with .jsonl, "),
    ],
)
def test_a_place_without_files_is_reported_with_what_was_looked_for(tmp_path: Path, place: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TailorbirdError, match=message):
        find([f"{tmp_path}/{place}"], LINES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(TailorbirdError, match=r"shut cannot be looked through: Permission denied"):
        find([str(tmp_path)], LINES)


def test_a_file_of_this_machine_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with fetched(str(tmp_path / "a.csv"), tmp_path / "var") as path:
        assert path == tmp_path / "a.csv"
    assert not (tmp_path / "var").exists()
    with pytest.raises(TailorbirdError, match="There is no file"), fetched(str(tmp_path / "b.csv"), tmp_path):
        pass

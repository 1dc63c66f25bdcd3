import os
from pathlib import Path

import pytest

from infra.services.data_docs import About, folder_name, list_pages, page_address, pages_folder, prune, replace_page
from infra.services.endpoints import Endpoints


def endpoints(page: str = "") -> Endpoints:
    return Endpoints("", "", "", "", "", {}, docs_page=page)


def publish(var: Path, batch_id: str, minute: int = 0, text: str = "page") -> None:
    with replace_page(var, About(batch_id, "events", True, f"2024-05-01T10:{minute:02}:00+00:00")) as folder:
        (folder / "index.html").write_text(text)


def names(var: Path) -> list[str]:
    return [about.batch_id for _, about in list_pages(pages_folder(var))]


def test_a_batch_keeps_its_name_and_its_old_page_if_a_new_one_could_not_be_written(tmp_path: Path) -> None:
    publish(tmp_path, "b1", text="first")
    publish(tmp_path, "b1", text="second")
    with pytest.raises(TypeError):
        publish(tmp_path, "b1", text=None)  # type: ignore[arg-type]
    assert (pages_folder(tmp_path) / "b1" / "index.html").read_text() == "second"
    assert [path.name for path in pages_folder(tmp_path).iterdir()] == ["b1"]


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for minute in (3, 1, 2, 0):
        publish(tmp_path, f"b{minute}", minute)
    prune(tmp_path, limit=2)
    assert names(tmp_path) == ["b3", "b2"]


def test_files_that_a_killed_run_left_behind_go_with_the_next_page_and_are_never_shown(tmp_path: Path) -> None:
    publish(tmp_path, "b1")
    leftover = pages_folder(tmp_path) / ".incoming-left" / "new"
    leftover.mkdir(parents=True)
    (leftover / "about.json").write_text('{"batch_id": "x", "dataset": "x", "passed": true, "judged_at": ""}')
    assert names(tmp_path) == ["b1"]
    publish(tmp_path, "b2")
    assert sorted(path.name for path in pages_folder(tmp_path).iterdir()) == ["b1", "b2"]


@pytest.mark.parametrize("days", [-2, 2])
def test_a_page_that_another_run_writes_stays_though_the_clock_was_set_meanwhile(tmp_path: Path, days: int) -> None:
    with replace_page(tmp_path, About("b1", "events", True, "2024-05-01T10:00:00+00:00")) as folder:
        moment = folder.stat().st_mtime + days * 86_400
        for path in (folder, folder.parent):
            os.utime(path, (moment, moment))
        publish(tmp_path, "b2")
        prune(tmp_path)
        (folder / "index.html").write_text("page")
    assert sorted(names(tmp_path)) == ["b1", "b2"]


def test_a_page_that_does_not_describe_itself_is_left_out(tmp_path: Path) -> None:
    for folder, text in (("a", "{"), ("b", "{}"), ("c", '["x"]')):
        (pages_folder(tmp_path) / folder).mkdir(parents=True)
        (pages_folder(tmp_path) / folder / "about.json").write_text(text)
    assert names(tmp_path) == []


@pytest.mark.parametrize("batch_id", ["../../etc", "a/b", "..", "é shop", "<b>", "x" * 300])
def test_no_name_of_a_batch_leads_out_of_the_folder(tmp_path: Path, batch_id: str) -> None:
    publish(tmp_path, batch_id)
    assert names(tmp_path) == [batch_id]
    assert (pages_folder(tmp_path) / folder_name(batch_id)).parent == pages_folder(tmp_path)


def test_the_address_is_a_page_where_it_is_served_else_a_file_and_nothing_without_pages(tmp_path: Path) -> None:
    assert page_address(tmp_path, endpoints("http://127.0.0.1:4210"), "b1") is None
    publish(tmp_path, "b1")
    assert page_address(tmp_path, endpoints("http://127.0.0.1:4210"), "b1") == "http://127.0.0.1:4210/b1/"
    assert page_address(tmp_path, endpoints(), "b1") == (pages_folder(tmp_path) / "b1" / "index.html").as_uri()

"""The command line ingests sources, also broken files and hostile names, with running services."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from models.primitives.json_types import JsonObject
from tests.flows.test_demo import dumps, readable
from tests.mixpanel_server import PROJECT, MixpanelServer, event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Shop
    from playwright.sync_api import BrowserContext, Page

AGREED = {"consent": {"categoryPreferences": {"Personalization": True, "Advertising": True}}}
MAPPING = """
consent = "given"
consent_note = "a test"
unknown_items = "accept"

[events]
file = "visits*.csv"
user_id = "who"
item_id = "what"
occurred_at = "at"
constants = { event_type = "view" }

[items]
file = "things.csv"
item_id = "what"
title = "title"
category = ["kind"]
"""
SIGN = "kanarie"
HOSTILE_MAPPING = """
consent = "given"
consent_note = "a test"
unknown_items = "accept"

[events]
file = "*.csv"
user_id = "who"
item_id = "what"
occurred_at = "at"
value = "worth"
constants = { event_type = "view" }
"""
NAME = "<img src=x onerror='window.owned=1'> ![](x.png) [x](javascript:alert(1)) `a` | {{ 7 * 7 }}\x1b[2J.csv"


def viewed(first: int, number: int = 40) -> bytes:
    calls = [
        {"type": "track", "messageId": f"m{n}", "userId": f"user{n % 9}", "timestamp": f"2024-06-01T10:{n % 60:02}:00Z"}
        | {"event": "Product Viewed", "properties": {"product_id": f"p{n % 7}", "name": "Cup"}, "context": AGREED}
        for n in range(first, first + number)
    ]
    return b"".join(json.dumps(call).encode() + b"\n" for call in calls)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / "2024").mkdir()
    for name, first in (("a.jsonl", 0), ("c.jsonl", 100)):
        (tmp_path / "2024" / name).write_bytes(viewed(first))
    return tmp_path


def test_a_file_that_is_refused_does_not_stop_the_others_and_is_named(shop: Shop, export: Path) -> None:
    (export / "2024" / "b.jsonl.gz").write_bytes(gzip.compress(viewed(50))[:200])
    output = shop.run("ingest", "refusing", str(export), "--mapping", "segment", code=1)
    assert "1 of 3 files were not ingested" in output
    assert f"{export}/2024/b.jsonl.gz: " in output
    assert "cannot be read to its end" in output
    assert "The other 2 were ingested" in output
    batches = shop.json("ledger", "--source", "refusing")
    assert [batch["accepted"] for batch in batches if batch["status"] == "committed"] == [40, 40]


def tables(folder: Path) -> str:
    (folder / "mine.toml").write_text(MAPPING)
    (folder / "things.csv").write_text("what,title,kind\n" + "".join(f"t{n},Thing {n},Cups\n" for n in range(30)))
    for month in (1, 2):
        visits = "".join(f"v{n},t{n},2024-{month:02}-03 10:00:00\n" for n in range(30))
        (folder / f"visits-{month}.csv").write_text("who,what,at\n" + visits)
    return str(folder / "mine.toml")


def test_several_files_of_a_part_are_several_batches_in_the_window_that_is_asked_for(
    shop: Shop, tmp_path: Path
) -> None:
    window = ("--from", "2024-01-15", "--to", "2024-02-28")
    lines = shop.json("ingest", "visits", str(tmp_path), "--mapping", tables(tmp_path), *window)
    assert [Path(line["file"]).name for line in lines] == ["things.csv", "visits-1.csv", "visits-2.csv"]
    assert [(line["read"], line["accepted"]) for line in lines[1:]] == [(30, 0), (30, 30)]
    assert {line["source"] for line in lines} == {"visits"}


def test_a_part_without_a_file_is_skipped_and_reported(shop: Shop, tmp_path: Path) -> None:
    mapping = tables(tmp_path)
    with shop.begin("ingest", mapping, f"{tmp_path}/visits-1.csv", "--json") as command:
        code, out, err = command.ended()
    assert code == 0, err
    assert [line["dataset"] for line in json.loads(out)] == ["events"]
    assert "no file for items is there; that part is skipped" in err
    assert "There is no file" in shop.run("ingest", mapping, f"{tmp_path}/nowhere", code=1)


def test_a_schedule_keeps_what_was_asked_for(shop: Shop, export: Path) -> None:
    arguments = ("--consent", "opt-out", "--from", "2024-01-01", "--cron", "0 3 * * *", "--zone", "Europe/Berlin")
    shop.run("ingest", "Web Shop", str(export), "--mapping", "segment", *arguments)
    scheduled: list[JsonObject] = [row for row in shop.json("schedules", "list") if row["slug"] == "ingest-web-shop"]
    assert [(row["deployment"], row["cron"], row["zone"]) for row in scheduled] == [
        ("ingest", "0 3 * * *", "Europe/Berlin")
    ]
    assert scheduled[0]["parameters"] == {
        "mapping": "segment",
        "paths": [str(export)],
        "source": "Web Shop",
        "consent": "opt-out",
        "begin": "2024-01-01",
    }
    shop.run("schedules", "remove", "ingest-web-shop")


def test_a_database_is_read_and_its_login_reaches_no_page(shop: Shop, tmp_path: Path) -> None:
    database = tmp_path / "orders.duckdb"
    with duckdb.connect(database) as connection:
        connection.execute(
            "CREATE TABLE visits AS SELECT 'v' || n AS who, 't' || n AS what, now() AS at FROM range(30) s(n)"
        )
    (tmp_path / "visits.toml").write_text(MAPPING.partition("[items]")[0].replace('file = "visits*.csv"\n', ""))
    secret = f"duckdb:///{database}?threads=1"  # options may be secrets
    arguments = ("ingest", "sql", "--mapping", f"{tmp_path}/visits.toml", "--table", "visits", "--cursor", "at")
    [line] = shop.json(*arguments, "--url", secret)
    assert (line["accepted"], line["source"]) == (30, "visits")
    assert "threads" not in json.dumps([line, shop.json("ledger", "--source", "visits")])
    assert "may hold a secret" in shop.run(*arguments, "--url", secret, "--cron", "0 3 * * *", code=1)
    shop.run(*arguments, "--url", "env:TAILORBIRD_SECRET_VISITS_URL", "--cron", "0 3 * * *", code=1)
    shop.run(*arguments, "--url", f"duckdb:///{database}", "--cron", "0 3 * * *")
    [scheduled] = [row for row in shop.json("schedules", "list") if row["slug"] == "ingest-sql-visits"]
    assert (scheduled["deployment"], scheduled["parameters"]["cursor"]) == ("ingest_sql", "at")
    shop.run("schedules", "remove", "ingest-sql-visits")


def test_a_mixpanel_project_comes_in_and_is_scheduled_by_the_command_line(shop: Shop) -> None:
    given = ("--project", str(PROJECT), "--consent", "given", "--consent-note", "a test", "--from", "2026-11-01")
    with MixpanelServer() as server:
        server.events = [event(n) for n in range(20)]
        output = shop.run("ingest", "mixpanel", *given, "--to", "2026-11-03", "--json", **server.environment)
    assert [(line["status"], line["accepted"]) for line in json.loads(output)][:2] == [
        ("committed", 20),
        ("committed", 0),
    ]
    shop.run("ingest", "mixpanel", *given, "--cron", "30 1 * * *")
    (row,) = [row for row in shop.json("schedules", "list") if row["slug"] == "ingest-mixpanel"]
    assert {"project": str(PROJECT), "begin": "2026-11-01"}.items() <= row["parameters"].items()
    shop.run("schedules", "remove", "ingest-mixpanel")


def rows(last: str = "1.5") -> str:
    return "".join(f"{SIGN}-{n}@mail.example,t{n},2024-01-03 10:00:00,{last}\n" for n in range(30))


@pytest.fixture
def mapping(tmp_path: Path) -> str:
    (tmp_path / "hostile.toml").write_text(HOSTILE_MAPPING)
    return str(tmp_path / "hostile.toml")


HEADERS = {"none": "", "own": "who,what,at,worth\n", "shifted": "what,who,worth,at\n"}


def test_broken_files_leave_no_id_in_prefect_logs_pages_or_tables(shop: Shop, tmp_path: Path, mapping: str) -> None:
    everything = []
    for name, header in HEADERS.items():
        (tmp_path / f"{name}.csv").write_text(header + rows(f"{SIGN}-worth"))
        printed = shop.run("ingest", mapping, str(tmp_path / f"{name}.csv"), code=1)
        assert f"{name}.csv" in printed
        everything.append((f"the terminal for {name}.csv", printed))
    paths = [path for path in shop.var.rglob("*") if path.is_file() and "postgres" not in path.parts]
    everything += [("databases", dumps(shop)), *((str(path), readable(path)) for path in paths)]
    for name in HEADERS:
        assert any(f"{name}.csv" in text for place, text in everything if place == "databases"), "the search is blind"
    assert [place for place, text in everything if SIGN in text] == []


@pytest.fixture
def browser_page(signed_in_browser: BrowserContext) -> Iterator[Page]:
    """Return a window of a browser that has signed in to Prefect."""
    page = signed_in_browser.new_page()
    yield page
    page.close()


def test_prefect_shows_the_name_of_a_file_as_text(shop: Shop, tmp_path: Path, mapping: str, browser_page: Page) -> None:
    (tmp_path / NAME).write_text("who,what,at,worth\n" + rows())
    printed = shop.run("ingest", mapping, str(tmp_path / NAME))
    assert "\x1b[2J" not in printed
    query: JsonObject = {"artifacts": {"key": {"any_": ["ledger"]}}, "sort": "CREATED_DESC", "limit": 1}
    [artifact] = shop.prefect("POST", "/artifacts/filter", query)
    requests: list[str] = []
    browser_page.on("request", lambda request: requests.append(request.url))
    browser_page.goto(f"{shop.services.prefect_page}/artifacts/artifact/{artifact['id']}")
    browser_page.get_by_text("javascript:alert(1)").first.wait_for()
    shown = str(browser_page.evaluate("document.body.innerText"))
    browser_page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert NAME.replace("\x1b", r"\x1b") in " ".join(shown.split())
    assert browser_page.locator("img[src='x'], img[src='x.png'], a[href^='javascript:']").count() == 0
    assert browser_page.evaluate("window.owned") is None
    assert not [url for url in requests if url.endswith(("/x", "x.png"))]

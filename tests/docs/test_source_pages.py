"""Tests that the commands and the mapping of docs/mixpanel.md work, against a server in place of Mixpanel."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from flows.__main__ import app
from infra.installation import Installation
from models.ingest.mixpanel import PLACEHOLDERS, MixpanelMapping
from models.ingest.tabular.table_mapping import Mapping
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.list_files import list_files
from tasks.ingest.mixpanel import client
from tasks.ingest.mixpanel.client import PER_HOUR, PER_SECOND
from tasks.ingest.mixpanel.ingest_mixpanel import ingest_mixpanel
from tasks.ingest.sql.ingest_stream import ingest_stream
from tasks.ingest.sql.stream_run import sql_ingest, streams_of
from tasks.sources.mapping_files import mapping_overrides, read, shipped, table_mapping
from tasks.sources.sql.source_database import source_database
from tests.docs.shown import commands_of
from tests.mixpanel_server import PROJECT, MixpanelServer, event

PAGE = Path(__file__).parents[2] / "docs" / "mixpanel.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [words for words in map(shlex.split, commands_of(PAGE)) if words[0] == "ingest"]
SQL_PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
SQL_TEXT = SQL_PAGE.read_text(encoding="utf-8")
[MAPPING] = re.findall(r"^```toml\n(.*?)^```$", SQL_TEXT, re.MULTILINE | re.DOTALL)
TABLES = """
    CREATE TABLE orders (order_id int, customer_id text, ordered_at timestamptz);
    CREATE TABLE order_lines (line_id int, order_id int, product_id text, quantity int, unit_price numeric(8, 2),
        updated_at timestamptz);
    CREATE TABLE products (product_id text, name text, category text, unit_price numeric(8, 2));
    INSERT INTO orders SELECT n, 'c' || n, timestamptz '2026-03-01 12:00+00' FROM generate_series(1, 20) AS numbers(n);
    INSERT INTO order_lines SELECT n, n, 'p' || n % 5, 2, 1.25, '2026-03-01 12:00+00'
        FROM generate_series(1, 20) AS numbers(n);
    INSERT INTO products SELECT 'p' || n, 'Cup ' || n, 'Cups', 1.25 FROM generate_series(0, 4) AS numbers(n)"""


@pytest.fixture
def mixpanel(monkeypatch: pytest.MonkeyPatch) -> Any:
    with MixpanelServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(client, "_LIMIT", client.RateLimit(sleep=lambda _: None, clock=lambda: 0.0))
        server.events = [event(n) for n in range(10)]
        yield server


def parameters(words: list[str]) -> dict[str, Any]:
    """Return the parameters of an ingest as it is shown."""
    group: Any = typer.main.get_command(app)
    ingest = group.commands["ingest"]
    ingest = getattr(ingest, "commands", {}).get("files", ingest)
    return dict(ingest.make_context("ingest", words[1:]).params)


def overrides(words: list[str]) -> dict[str, str]:
    """Return the keys of the mapping that an ingest as it is shown replaces."""
    given = parameters(words)
    names = ("consent", "consent_note", "begin", "end", "project", "region")
    return mapping_overrides(**{name: given[name] for name in names})


@pytest.mark.usefixtures("installation")
def test_the_first_command_reads_the_days_of_a_project(mixpanel: MixpanelServer) -> None:
    given = overrides(COMMANDS[0]) | {"to": "2026-11-03"}
    parts = [address for _, address in list_files.fn("mixpanel", None, given)]
    assert parts[0] == f"mixpanel://eu/{PROJECT}-2026-11-01"
    entries = [ingest_mixpanel.fn("mixpanel", part, given) for part in parts]
    assert [entry["accepted"] for entry in entries] == [10, 0, 0]
    assert mixpanel.days == ["2026-11-01", "2026-11-02"]


def test_the_nightly_command_reads_the_same_project() -> None:
    assert overrides(COMMANDS[1]) == overrides(COMMANDS[0])
    assert parameters(COMMANDS[1])["cron"] == "30 1 * * *"


@pytest.mark.usefixtures("installation")
def test_files_are_checked_and_ingested_as_shown(tmp_path: Path) -> None:
    export = tmp_path / parameters(COMMANDS[2])["paths"][0]
    unknown = event(50, what="Recipe Cooked")
    export.write_text("".join(json.dumps(one) + "\n" for one in [*(event(n) for n in range(30)), unknown]))
    found = check_mapping("mixpanel", [str(export)])
    assert "Recipe Cooked" in json.dumps(found, default=str)
    assert ingest_mixpanel.fn("mixpanel", str(export), overrides(COMMANDS[2]))["accepted"] == 30


@pytest.mark.usefixtures("installation")
def test_the_mapping_of_the_page_reads_own_names(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "mine.toml").write_text(block)
    mapping = read(str(tmp_path / "mine.toml"))
    assert isinstance(mapping, MixpanelMapping)
    basket = [{"Article Number": "a-1"}, {"Article Number": "a-2"}]
    cooked = event(1, what="Recipe Cooked", product_id=None, personalization=True, Basket=basket)
    (tmp_path / "own.jsonl").write_text(json.dumps(cooked) + "\n")
    assert ingest_mixpanel.fn(str(tmp_path / "mine.toml"), str(tmp_path / "own.jsonl"))["accepted"] == 2


def test_the_limits_and_placeholders_of_the_page_are_those_of_the_code() -> None:
    assert f"{PER_HOUR} queries per hour and {PER_SECOND} per second" in TEXT
    named = re.search(r"that Mixpanel refuses \(([^)]*)\)", TEXT)
    assert named
    assert set(re.findall("`([^`]+)`", named[1])) <= set(PLACEHOLDERS)
    assert set(re.findall(r"`--region` is (\w+) .*?, (\w+) or (\w+)", TEXT)[0]) == {"us", "eu", "in"}


def test_the_mapping_of_the_page_ingests_the_tables_that_it_names(
    installation: Installation, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_SHOP_URL", empty_database)
    engine = create_engine(empty_database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(TABLES))
    (tmp_path / "shop.toml").write_text(MAPPING)
    request = sql_ingest(str(tmp_path / "shop.toml"), "env:TAILORBIRD_SECRET_SHOP_URL", {})
    mapping = table_mapping(request.mapping, {})
    lines: list[LedgerEntry] = []
    with source_database(request.url) as database:
        for stream in streams_of(mapping, request.options):
            ingest_stream(installation, request, mapping, stream, database, lines)
    assert [(line["dataset"], line["read"], line["status"]) for line in lines] == [
        ("items", 5, "committed"),
        ("events", 20, "committed"),
    ]
    assert lines[1]["accepted"] == 20


def test_every_mapping_that_the_page_names_exists() -> None:
    Mapping.parse(tomllib.loads(MAPPING), "page")
    named = {
        words[words.index("--mapping") + 1] for words in map(shlex.split, commands_of(SQL_PAGE)) if "--mapping" in words
    }
    assert named - {"shop.toml"} <= set(shipped())
    assert set(re.findall(r"\(\.\./tasks/sources/mappings/(\w+)\.toml\)", SQL_TEXT)) <= set(shipped())

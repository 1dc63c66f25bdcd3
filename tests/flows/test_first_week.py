"""A shop's first week: a folder with dirty exports, and the commands of docs/first_week.md as they stand there.

The tests are the days of the week in order; each goes on where the one before stopped. The first two type the commands
of the README for files without a shipped mapping.
"""

from __future__ import annotations

import csv
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import boto3
import numpy as np
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer

from benchmarks.foreign_shop.export import SERVICES, export
from infra.services.http_client import request_json
from tests.docs.shown import commands_of
from tests.flows.conftest import WEEK_PORTS, NewShop
from tests.waiting import until

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "first_week.md"
ANNA: Final = "anna@shop.example"
"""The customer whose list the page shows."""
SHORTER: Final = {"search": ["--model", "als", "--trials", "1", "--folds", "1"]}
"""Options added to the README's commands, so that the week takes minutes."""
NIGHT: Final = """placements = "placements.toml"
lake = "s3://shop/lake"
schedules.score-nightly = "0 2 * * *"
"""
PLACEMENTS: Final = """
[home]
k = 10
rules.exclude = {{ items = ["{unwanted}"] }}

[evening]
k = 5
rules.pin = [{{ item = "no-such-item", place = 1 }}]

[alike]
subject = "item"
method = "similarity"
k = 4
"""
_REGION: Final = "eu-west-1"
_LOGIN: Final = {"ACCESS_KEY_ID": "somebody", "SECRET_ACCESS_KEY": "s3cret-word", "REGION": _REGION}
_ORDER_COLUMNS: Final = ["Bestellnummer", "Bestelldatum", "Kundennummer", "Artikelnummer", "Menge", "Einzelpreis"]
_MOMENT: Final = "%d.%m.%Y %H:%M"


@dataclass(frozen=True)
class Week:
    """The shop's folder, its files, and the commands that a person types there."""

    shop: NewShop
    folder: Path
    files: CsvShop

    def type_readme(self, *names: str) -> str:
        """Type the README's commands of these names for data of one's own; returns what they print."""
        shown = [shlex.split(line) for line in commands_of(ROOT / "README.md", "## Your own data")]
        return self._type(words for words in shown if words[0] in names)

    def type_day(self, day: str) -> str:
        """Type the page's commands of a day; returns what they print."""
        return self._type(words for words in _commands(day) if words != ["init"])

    def _type(self, commands: Iterable[list[str]]) -> str:
        return "".join(self.shop.run(*words, *SHORTER.get(words[0], [])) for words in commands)

    def planned(self, slug: str) -> dict[str, Any]:
        """Return a schedule as soon as Prefect has planned its next run, which takes seconds after a change."""

        def rows() -> list[dict[str, Any]]:
            return [row for row in self.shop.json("schedules", "list") if row["slug"] == slug and row["next_run"]]

        return until(rows)[0]

    def nightly(self, deployment: str) -> str:
        """Start a deployment as its schedule does, and wait for its end; return the run."""
        target = self.shop.prefect("GET", f"/deployments/name/{deployment}/{deployment}")["id"]
        body = {"state": {"type": "SCHEDULED"}}
        run = str(self.shop.prefect("POST", f"/deployments/{target}/create_flow_run", body)["id"])

        def state() -> str:
            return str(self.shop.prefect("GET", f"/flow_runs/{run}")["state"]["type"])

        until(lambda: state() not in {"SCHEDULED", "PENDING", "RUNNING"}, 300)
        assert state() == "COMPLETED"
        return run

    def logged(self, run: str, message: str) -> bool:
        """Return whether a run's log has a message; its last lines reach Prefect after its end."""
        of_run = {"logs": {"flow_run_id": {"any_": [run]}}}
        return until(lambda: message in [line["message"] for line in self.shop.prefect("POST", "/logs/filter", of_run)])

    def items_of(self, user: str) -> list[str]:
        """Return the items of a user's list on the home page."""
        return [row["item_id"] for row in self.shop.json("recommend", user)]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    """Return an empty folder with the first months of the shop's export beside it; end everything at the end."""
    folder = tmp_path_factory.mktemp("first-week")
    files = made(120, 140, seed=2027)
    files.write(folder, files.months[6])
    with pytest.MonkeyPatch.context() as patch, bucket() as address:
        patch.chdir(folder)
        for name, value in address.items():
            patch.setenv(name, value)
        week = Week(NewShop(folder / "var", folder, WEEK_PORTS), folder, files)
        yield week
        week.shop.end()


def test_a_first_mapping_and_a_settings_file_are_written_from_the_files(week: Week) -> None:
    week.type_readme("init")
    with (week.folder / "tailorbird.toml").open("a") as settings:
        settings.write(week.shop.port_settings())
    assert (week.folder / "my_shop.toml").exists()


def test_the_check_reads_the_files_and_stores_nothing(week: Week) -> None:
    printed = week.type_readme("check")
    assert "tailorbird ingest my_shop.toml" in printed
    assert not (week.folder / "var").exists()


def test_the_exports_come_in_on_monday_and_every_row_is_accounted_for(week: Week) -> None:
    week.files.export(week.folder / "exports")
    printed = week.type_day("Monday: the data come in")
    counts = week.shop.ledger()
    assert counts["accepted"] > 5_000
    assert min(counts["quarantined"], counts["routed"]) > 0
    assert "item_not_in_catalogue" in printed


def test_the_best_model_is_trained_on_tuesday_and_promoted_on_wednesday(week: Week) -> None:
    week.type_day("Tuesday: the first model")
    [decide, score, *look] = _commands("Wednesday: a person decides")
    week.shop.run(*decide)
    week.shop.run(*score)
    assert week.shop.json("status")["champion"]
    handle = week.items_of(ANNA)[0]
    recommend, explain = [[handle if word == "HANDLE" else word for word in words] for words in look]
    assert handle in week.shop.run(*recommend)
    assert "Place 1 of 20" in week.shop.run(*explain)


def test_the_nights_are_planned_on_thursday(week: Week) -> None:
    printed = week.type_day("Thursday: the nights run by themselves")
    assert "0 1 * * *" in printed
    assert "storefront" in printed


def test_changed_rules_times_and_places_hold_in_the_run_of_the_night(week: Week) -> None:
    user = ANNA
    unwanted = week.items_of(user)[0]
    (week.folder / "placements.toml").write_text(PLACEMENTS.format(unwanted=unwanted))
    upload(week.folder / "var" / "lake", os.environ["AWS_ENDPOINT_URL"])
    settings = week.folder / "tailorbird.toml"
    settings.write_text(NIGHT + settings.read_text())
    week.shop.run("up")
    nightly = week.planned("score-nightly")
    assert (nightly["cron"], nightly["set_by"]) == ("0 2 * * *", "tailorbird.toml:3")
    assert datetime.fromisoformat(nightly["next_run"]).hour == 2
    run = week.nightly("score")
    shown = week.items_of(user)
    assert unwanted not in shown
    assert len(shown) == 10
    pin = "rules.pin.0.item: 'no-such-item' is not in the catalogue, or newer than the champion; the pin is ignored"
    assert week.logged(run, f"evening: {pin}")
    of_run = {"artifacts": {"key": {"any_": ["ignored-rules"]}, "flow_run_id": {"any_": [run]}}}
    assert "no-such-item" in str(week.shop.prefect("POST", "/artifacts/filter", of_run))
    live = "SELECT placement, k FROM placements JOIN recommendation_batches USING (batch_id, placement)"
    rows = week.shop.sql(f"{live} WHERE placement IN ('evening', 'alike') ORDER BY 1")
    assert rows == [["alike", "4"], ["evening", "5"]]


def test_a_rollback_on_friday_shows_earlier_lists_and_an_undo_takes_out_what_came_in(week: Week) -> None:
    [rollback, undo, ingest, status] = _commands("Friday: something goes wrong")
    week.shop.run(*rollback)
    assert len(week.items_of(ANNA)) == 20
    before = week.shop.ledger()["accepted"]
    assert "Next: tailorbird ingest" in week.shop.run(*undo)
    assert week.shop.ledger()["accepted"] == 0
    week.shop.run(*ingest)
    assert week.shop.ledger()["accepted"] == before
    assert "champion" in week.shop.run(*status)


def _commands(day: str) -> list[list[str]]:
    """Return the words of the page's commands of a day."""
    return [shlex.split(line) for line in commands_of(PAGE, f"## {day}")]


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """Serve the bucket `shop`; yield the variables of its address and login."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    where = {"ENDPOINT_URL": address, "ALLOW_HTTP": "true", "EC2_METADATA_DISABLED": "true"}
    _client(address).create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": _REGION})
    yield {f"AWS_{name}": value for name, value in (_LOGIN | where).items()}
    request_json("POST", f"{address}/moto-api/reset", {})  # all servers of a process share their buckets
    server.stop()


def upload(lake: Path, address: str) -> None:
    """Copy a lake to s3://shop/lake."""
    client = _client(address)
    for path in lake.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "shop", f"lake/{path.relative_to(lake)}")


def _client(address: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=_LOGIN["ACCESS_KEY_ID"],
        aws_secret_access_key=_LOGIN["SECRET_ACCESS_KEY"],
        region_name=_REGION,
    )


@dataclass(frozen=True)
class CsvShop:
    """The order lines of such a shop, and its files."""

    lines: pd.DataFrame

    @property
    def months(self) -> list[pd.Timestamp]:
        """Return the first moment of each month with orders."""
        return sorted(self.lines["InvoiceDate"].dt.to_period("M").dt.start_time.unique())

    @property
    def emails(self) -> pd.Series:
        """Return the address of each line; the customer with the most orders is Anna."""
        orders = self.lines.drop_duplicates("InvoiceNo")["CustomerID"].value_counts()
        own = "c" + self.lines["CustomerID"].str.removesuffix(".0") + "@shop.example"
        return own.mask(self.lines["CustomerID"] == orders.index[0], ANNA).fillna("")

    def export(self, folder: Path) -> None:
        """Write the exports of Shopify, with two sizes of each product."""
        folder.mkdir()
        code, emails = self.lines["StockCode"], self.emails
        size = pd.Series(np.where(np.arange(len(code)) % 3, "S", "L"), code.index)
        is_first = ~self.lines["InvoiceNo"].duplicated()
        status = np.where(self.lines["InvoiceNo"].str[-1] == "7", "voided", "paid")
        orders = {
            "Name": "#" + self.lines["InvoiceNo"],
            "Email": emails,
            "Financial Status": pd.Series(status, code.index).where(is_first, ""),
            "Currency": "EUR",
            "Created at": self.lines["InvoiceDate"].dt.strftime("%Y-%m-%d %H:%M:%S +0100"),
            "Cancelled at": "",
            "Lineitem quantity": self.lines["Quantity"],
            "Lineitem name": code,
            "Lineitem price": self.lines["UnitPrice"].map("{:.2f}".format),
            "Lineitem sku": (code + "-" + size).mask(np.arange(len(code)) % 900 == 400, "TIP"),
            "Lineitem discount": "0.00",
        }
        table = pd.DataFrame(orders).sort_values("Name", kind="stable")
        table.to_csv(folder / "orders_export_1.csv", index=False)
        catalogue = _products(self.lines)
        handle = catalogue["sku"].str.lower()
        titles = {"Handle": handle, "Title": catalogue["name"], "Vendor": "", "Type": catalogue["category"].str[:5]}
        rows = pd.concat([pd.DataFrame(titles), pd.DataFrame({"Handle": handle})], keys=["S", "L"]).fillna("")
        sizes = rows.index.get_level_values(0)
        stated = {"Option1 Value": sizes, "Variant SKU": rows["Handle"].str.upper() + "-" + sizes, "Variant Price": "5"}
        rows.assign(**stated).sort_values("Handle", kind="stable").to_csv(folder / "products_export_1.csv", index=False)
        users = {"Email": emails[emails != ""].unique(), "Default Address Country Code": "DE"}
        pd.DataFrame(users).to_csv(folder / "customers_export.csv", index=False)

    def write(self, folder: Path, until: pd.Timestamp | None = None) -> Path:
        """Write orders.csv up to a moment, products.csv and customers.csv; returns the folder."""
        folder.mkdir(exist_ok=True)
        lines = self.lines if until is None else self.lines[self.lines["InvoiceDate"] < until]
        _orders(lines).to_csv(folder / "orders.csv", sep=";", index=False, encoding="latin-1", lineterminator="\r\n")
        _products(self.lines).to_csv(folder / "products.csv", index=False, encoding="utf-8-sig", quoting=csv.QUOTE_ALL)
        _customers(self.lines).to_csv(folder / "customers.csv", sep="\t", index=False, encoding="utf-16")
        return folder


def made(n_items: int, n_customers: int, seed: int) -> CsvShop:
    """Make a shop of that size: goods alone, of customers and of guests, with cancellations and repeats."""
    rows = export(n_items, n_customers, seed).rows
    code = rows["StockCode"].str.strip().str.upper()
    goods = ~code.isin(SERVICES) & (rows["UnitPrice"] > 0) & (rows["Quantity"] > 0)
    return CsvShop(rows.assign(StockCode=code)[goods].reset_index(drop=True))


def _orders(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the order lines with a decimal comma and German days, and in one of 400 an unreadable cell."""
    price = lines["UnitPrice"].map("{:.2f}".format).str.replace(".", ",")
    moment = lines["InvoiceDate"].dt.strftime(_MOMENT)
    place = np.arange(len(lines))
    table = pd.DataFrame(
        {
            "Bestellnummer": lines["InvoiceNo"],
            "Bestelldatum": moment.mask(place % 1_200 == 400, "31.02.2025 10:00"),
            "Kundennummer": lines["CustomerID"].str.removesuffix(".0").fillna("Gast"),
            "Artikelnummer": lines["StockCode"],
            "Menge": lines["Quantity"].astype(str).mask(place % 1_200 == 800, "zwölf"),
            "Einzelpreis": price.mask(place % 1_200 == 0, "k. A."),
        }
    )
    return table[_ORDER_COLUMNS]


def _products(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a row a product: some titles go over two lines, the category is a path, the stock a number."""
    last = lines.dropna(subset=["Description"]).drop_duplicates("StockCode", keep="last").sort_values("StockCode")
    title = last["Description"].str.strip().str.upper()
    words = title.str.split()
    place = np.arange(len(last))
    return pd.DataFrame(
        {
            "sku": last["StockCode"],
            "name": title.mask(place % 20 == 3, title + "\nlimited edition"),
            "price": last["UnitPrice"].round(2),
            "category": words.str[0] + " > " + words.str[1],
            "stock": np.where(place % 15 == 7, 0, 5 + place % 40),
            "url": "https://shop.example/p/" + last["StockCode"],
        }
    )


def _customers(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a row a customer."""
    first = lines.dropna(subset=["CustomerID"]).drop_duplicates("CustomerID").sort_values("CustomerID")
    return pd.DataFrame(
        {
            "id": first["CustomerID"].str.removesuffix(".0"),
            "email": "customer-" + first["CustomerID"].str.removesuffix(".0") + "@shop.example",
            "country": first["Country"],
            "since": first["InvoiceDate"].dt.strftime("%Y-%m-%d"),
        }
    )

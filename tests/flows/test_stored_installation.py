"""An installation of an earlier version goes on after `tailorbird up`: same champion, lists, ledger and files.

`stored/installation.tar.xz` was made by 98a35cc6 from a made-up shop of 60 items, with `init`, `up`, `ingest`,
`features`, `train`, `review`, `decide` and `score`. It holds the shop's folder, `pg_dumpall`, and the answers of then.

Then its monitor is tested with other data: from drifted weeks to a new champion, and from a click to the next model.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from sqlalchemy import make_url, text

from infra.database.engine import engine
from infra.registry.client import Registry
from infra.registry.connection import NAME
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.endpoints import database_url
from infra.services.postgres_user import binaries
from models.primitives.json_types import JsonObject
from tests.flows.conftest import STORED_PORTS, WEEK_PORTS, NewShop, cut_shop
from tests.memory import postgres_in_memory
from tests.small_prefect import WITHOUT_BLOCKS
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import Shop

_USER_LISTS: Final = (
    "SELECT placement, user_id, rank, item_id, title, score, reason FROM recommendations_by_user_id ORDER BY 1, 2, 3"
)
_ITEM_LISTS: Final = (
    "SELECT placement, for_item_id, rank, item_id, title, score, reason FROM current_item_recommendations "
    "ORDER BY 1, 2, 3"
)
_USER: Final = "12414"
CUT, WEEK = datetime(2017, 11, 6), timedelta(days=7)
QUICK = {"models": ["most_popular", "own_frequency"], "searched": []}
CHOSEN = [word for model in QUICK["models"] for word in ("--model", model)]
WITHOUT_THE_OLD_CHAMPION = "; ".join(
    f"DELETE FROM {table}" for table in ("drift_reports", "drift_calibrations", "reviews", "promotions")
)
ARCHIVE: Final = Path(__file__).parent / "stored" / "installation.tar.xz"
_STORED_FOLDER: Final = "/stored/shop"
"""The place of the shop's folder in every stored file; the test's own folder replaces it."""
_WITH_PATHS: Final = (
    *("databases.sql", "my_shop.toml", "var/settings-file", "var/.private.json"),
    "var/lake/installation/_delta_log/00000000000000000000.json",
)
_SETTINGS: Final = 'placements = "placements.toml"\nreview = "auto"\nmonitor.window_days = 7\n'
"""The last two are for the monitor, which other data come for."""
_FORGET_SCHEDULED: Final = "DELETE FROM flow_run WHERE state_type = 'SCHEDULED'"
"""The worker starts each run whose time has passed, and by now that is true of those that were scheduled then."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    with started(tmp_path_factory.mktemp("stored")) as installation, installation.inside():
        yield installation


def test_the_champion_the_ledger_and_the_lists_of_users_and_items_are_the_same(stored: Stored) -> None:
    for part in ("champion", "ledger"):
        assert stored.shop.json("status")[part] == stored.expected("status")[part]
    assert stored.shop.json("ledger", "show") == stored.expected("ledger")
    assert stored.shop.json("recommend", _USER) == stored.expected("home")
    assert stored.shop.sql(_USER_LISTS) == stored.rows_then("user_lists")
    assert stored.shop.sql(_ITEM_LISTS) == stored.rows_then("item_lists")


def test_a_backup_that_is_made_meanwhile_is_restored_elsewhere_with_the_same_lists(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists, place = [stored.shop.sql(query) for query in (_USER_LISTS, _ITEM_LISTS)], str(tmp_path / "backups")
    [made] = stored.shop.json("backup", place)
    assert [made] == stored.shop.json("backup", "list", place)
    assert stored.shop.json("backup", "verify", place) == []
    other = NewShop(tmp_path / "var", tmp_path, WEEK_PORTS, prefect_settings=WITHOUT_BLOCKS)
    (tmp_path / "tailorbird.toml").write_text(other.port_settings())
    monkeypatch.chdir(tmp_path)
    try:
        key = {"TAILORBIRD_SECRET_BACKUP_KEY": (stored.shop.var / "secrets" / "backup-key").read_text().strip()}
        restoring = other.start("restore", place, **key)
        assert (restoring.communicate(), restoring.returncode)[1] == 0
        assert [other.sql(query) for query in (_USER_LISTS, _ITEM_LISTS)] == lists
        for part in ("champion", "ledger"):
            assert other.json("status")[part] == stored.expected("status")[part]
        assert (
            other.prefect("POST", "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}) == []
        )
        assert (tmp_path / "var" / "restored-settings" / "tailorbird.toml").read_text().endswith(_SETTINGS)
    finally:
        other.end()


def test_the_same_files_come_in_by_the_old_mapping_and_change_nothing(stored: Stored) -> None:
    stored.shop.run("ingest", "my_shop.toml")
    assert stored.shop.json("status")["ledger"] == stored.expected("status")["ledger"]


def test_the_old_champion_makes_the_same_lists_again(stored: Stored) -> None:
    stored.shop.run("score", "home", "--k", "9")
    home = [row for row in stored.rows_then("user_lists") if row[0] == "home" and int(row[2]) <= 9]
    assert [row for row in stored.shop.sql(_USER_LISTS) if row[0] == "home"] == home


def test_the_old_champion_explains_its_list(stored: Stored) -> None:
    first = stored.expected("home")[0]
    assert first["title"] in stored.shop.run("explain", _USER, first["item_id"])


def test_a_new_data_set_and_a_new_model_are_made_beside_the_old_ones(stored: Stored) -> None:
    stored.shop.run("features")
    stored.shop.run("train", "--model", "most_popular")
    assert stored.shop.json("status")["champion"] == stored.expected("status")["champion"]


def test_an_undo_takes_out_what_the_old_version_brought(stored: Stored) -> None:
    stored.undo()
    assert stored.shop.json("status")["ledger"]["accepted"] == 0


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cut of the Complete Journey."""
    return cut_shop(tmp_path_factory.mktemp("journey") / "data", 1, 80)


@pytest.fixture(scope="module")
def whole(journey: Path) -> pa.Table:
    """Return the purchases of the whole year."""
    return pq.read_table(journey / "transactions.parquet")


@pytest.fixture(scope="module")
def base(stored: Stored, journey: Path, whole: pa.Table) -> Shop:
    """Fill the stored installation with the journey up to November, and let a champion learn from it.

    Retraining takes seconds, and the gate decides alone.
    """
    begun = whole.filter(pc.less(whole["transaction_timestamp"], CUT))
    pq.write_table(begun, journey / "transactions.parquet")
    shop = stored.shop
    if shop.json("status")["ledger"]["accepted"]:  # unless the tests of the old version have done that
        stored.undo()
    with engine(database_url(shop.settings)).begin() as connection:
        connection.execute(text(WITHOUT_THE_OLD_CHAMPION))
    shop.run("ingest", "complete_journey", str(journey))
    shop.run("features", "--as-of", f"{CUT:%Y-%m-%d}", "--validation-days", "14", "--test-days", "14")
    shop.run("review", *CHOSEN)  # it trains the models too
    shop.run("score")
    deployment = shop.prefect("GET", "/deployments/name/retrain/retrain")
    shop.prefect("PATCH", f"/deployments/{deployment['id']}", {"parameters": QUICK})
    return shop


def drifted(folder: Path, rows: pa.Table, weeks: int) -> Path:
    """Write the weeks after the cut, in which all users buy other goods, and the first row after them."""
    at = rows["transaction_timestamp"]
    weekly = rows.filter(pc.and_(pc.greater_equal(at, CUT), pc.less(at, CUT + weeks * WEEK)))
    price = prices(rows.filter(pc.less(at, CUT)))
    products = np.array(sorted(price))
    other = dict(zip(products.tolist(), np.random.default_rng(7).permutation(products).tolist(), strict=True))
    lines = weekly.to_pylist()
    for row in lines:
        bought = row["product_id"]
        if bought in other:
            paid = row["sales_value"] * price[other[bought]] / price[bought]
            row |= {"product_id": other[bought], "sales_value": round(paid, 2)}
    lines.append(lines[0] | {"basket_id": 1, "transaction_timestamp": CUT + weeks * WEEK})
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(lines, schema=weekly.schema), folder / "transactions.parquet")
    return folder / "transactions.parquet"


def prices(rows: pa.Table) -> dict[int, float]:
    """Return the price of one piece of each product."""
    sold = rows.filter(pc.and_(pc.greater(rows["quantity"], 0), pc.greater(rows["sales_value"], 0)))
    sold = sold.append_column("price", pc.divide(sold["sales_value"], pc.cast(sold["quantity"], "float64")))
    means = sold.group_by("product_id").aggregate([("price", "mean")])
    return dict(zip(means["product_id"].to_pylist(), means["price_mean"].to_pylist(), strict=True))


def over(shop: Shop, request: int) -> JsonObject | None:
    query = text("SELECT to_json(r) FROM retrain_requests r WHERE request_id = :request")
    with engine(database_url(shop.settings)).connect() as connection:
        state: JsonObject = connection.execute(query, {"request": request}).scalar_one()
    return state if state["status"] in ("done", "failed") else None


@pytest.fixture(scope="module")
def retrained(base: Shop, journey: Path, whole: pa.Table) -> JsonObject:
    """Ingest drifted weeks, run the monitor, and wait for the retraining that it requests."""
    base.run("ingest", "complete_journey", str(drifted(journey.parent / "drifted", whole, 3)))
    seen = json.loads(base.run("monitor", "--json"))
    newest = seen["windows"][0]
    assert newest["decision"] == "retrain", seen
    return {"seen": seen, "request": until(lambda: over(base, newest["request_id"]), 240)}


def test_drifted_weeks_lead_to_a_new_champion_by_themselves(base: Shop, retrained: JsonObject) -> None:
    seen, request = retrained["seen"], retrained["request"]
    assert (seen["usual"]["window_days"], seen["usual"]["reference_to"][:10]) == (7, f"{CUT:%Y-%m-%d}")
    assert [window["verdict"] for window in seen["windows"]] == ["drifted"] * 3
    assert [window["decision"] for window in seen["windows"]] == ["retrain", "none", "none"]
    assert {"popularity", "taste"} & set(seen["windows"][0]["drivers"])
    assert (request["origin"], request["status"], request["outcome"]) == ("drift", "done", "promoted")
    assert {"features", "train", "review", "score"} <= set(request["steps"])
    chosen = {"deployments": {"name": {"any_": ["retrain"]}}}
    runs = base.prefect("POST", "/flow_runs/filter", chosen)
    # The reconciler may have started one more, if the first was slow to claim the request.
    [run] = [run for run in runs if (run["created_by"] or {}).get("type") == "AUTOMATION"]
    requested, made, started = map(
        datetime.fromisoformat, (request["requested_at"], run["created"], request["started_at"])
    )
    assert made - requested < timedelta(seconds=15)
    assert started - requested < timedelta(seconds=90)  # its process starts beside other tests here
    assert run["parameters"]["request"] == request["request_id"]


@pytest.fixture
def signed_in(base: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give MLflow's client in this process the login."""
    for name, value in base.services.environment.items():
        if name.startswith("MLFLOW_"):
            monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("signed_in")
def test_each_window_can_be_read_of_in_mlflow_in_prefect_and_by_sql_and_the_next_look_finds_nothing_new(
    base: Shop, retrained: JsonObject, tmp_path: Path
) -> None:
    for window in retrained["seen"]["windows"]:
        run_id = window["page"].split("/runs/")[1].split("/")[0]
        page = Registry(base.services.mlflow_tracking_uri).download(run_id, "drift.html", tmp_path)
        assert "The signals have changed more than chance explains." in page.read_text(encoding="utf-8")
    artifacts = base.prefect("POST", "/artifacts/filter", {"artifacts": {"key": {"any_": ["drift-2017-11-27"]}}})
    assert "**The signals have changed more than chance explains.**" in artifacts[0]["data"]
    [[signals, windows]] = base.sql("SELECT count(*), count(DISTINCT window_to) FROM drift_signals")
    assert (int(signals) > 60, windows) == (True, "3")

    before = retrained["seen"]
    again = json.loads(base.run("monitor", "--json"))
    assert again["windows"] == before["windows"]
    assert again["usual"]["model_version"] != before["usual"]["model_version"]
    assert again["usual"]["calibration_id"] > before["usual"]["calibration_id"]
    assert base.sql("SELECT count(*) FROM retrain_requests") == [["1"]]


def test_a_feed_in_another_unit_blocks_and_alerts_and_retrains_nothing(
    base: Shop, whole: pa.Table, retrained: JsonObject, tmp_path: Path
) -> None:
    assert retrained["request"]["outcome"] == "promoted"
    at, begin = whole["transaction_timestamp"], CUT + 3 * WEEK
    week = whole.filter(pc.and_(pc.greater(at, begin), pc.less(at, begin + WEEK + timedelta(days=1))))
    value = pc.multiply(week["sales_value"], 100.0)
    cents = week.set_column(week.schema.get_field_index("sales_value"), "sales_value", value)
    pq.write_table(cents, tmp_path / "transactions.parquet")
    base.run("ingest", "complete_journey", str(tmp_path / "transactions.parquet"))
    newest = json.loads(base.run("monitor", "--json"))["windows"][0]
    assert (newest["verdict"], newest["decision"]) == ("invalid_feed", "blocked")
    assert any("odd prices" in reason for reason in newest["reasons"])
    about = {"event": {"name": ["tailorbird.feed.broken"]}}
    emitted = until(lambda: base.prefect("POST", "/events/filter", {"filter": about})["events"], 20)
    assert "odd prices" in emitted[0]["payload"]["reason"]
    assert base.sql("SELECT count(*) FROM retrain_requests WHERE origin = 'drift'") == [["1"]]


FEEDBACK = """
consent = "given"
consent_note = "a test"
location = "."
[events]
file = "shown.csv"
event_id = "id"
user_id = "who"
item_id = "item"
occurred_at = "at"
event_type = "what"
recommendation_id = "list"
position = "position"
placement = "placement"
"""


@pytest.mark.usefixtures("signed_in")
def test_a_click_on_what_was_served_is_a_positive_of_the_next_data_set_and_a_model_learns_from_it(
    base: Shop, retrained: JsonObject, tmp_path: Path
) -> None:
    assert retrained["request"]["status"] == "done"
    [[user, item, rank, shown]] = base.sql(
        "SELECT user_id, item_id, rank, batch_id FROM recommendations_by_user_id "
        "WHERE placement = 'home' AND user_id LIKE 'household-%' LIMIT 1"
    )
    (tmp_path / "feedback.toml").write_text(FEEDBACK)
    lines = ["id,who,item,at,what,list,position,placement"]
    for number, event_type in enumerate(("impression", "click")):
        at = f"2017-11-07T10:00:0{number}"
        lines.append(f"seen-{number},{user},{item},{at},{event_type},{shown},{rank},home")
    (tmp_path / "shown.csv").write_text("\n".join(lines) + "\n")
    base.run("ingest", str(tmp_path / "feedback.toml"), str(tmp_path / "shown.csv"))
    built = base.json(
        "features", "--validation-days", "7", "--test-days", "7", "--label", "click", "--horizon-days", "1"
    )
    files = sorted((base.var / "lake").rglob("*.parquet"))
    parts = [file for file in files if built["version"] in str(file) and "impressions" in str(file)]
    rows = pa.concat_tables([pq.read_table(file, partitioning=None) for file in parts]).to_pylist()
    [positive] = [row for row in rows if row["recommendation_id"] == shown]
    assert (positive["item_id"], str(positive["position"]), positive["label"]) == (item, rank, 1)
    client = MlflowClient(base.services.mlflow_tracking_uri)
    base.run("review", *CHOSEN)
    newest = max(client.search_model_versions(f"name = '{NAME}'"), key=lambda version: int(version.version))
    assert client.get_run(newest.run_id).data.tags["dataset_version"] == built["version"]


@dataclass(frozen=True)
class Stored:
    """The running installation, and what the version that made it answered."""

    shop: NewShop
    folder: Path

    def expected(self, name: str) -> Any:
        """Return what a command printed as JSON then."""
        return json.loads((self.folder / "expected" / f"{name}.json").read_text())

    def rows_then(self, name: str) -> list[list[str]]:
        """Return the rows of a view then."""
        lines = (self.folder / "expected" / f"{name}.tsv").read_text().splitlines()
        return [line.split("\t") for line in lines]

    def undo(self) -> None:
        """Take out what the old version brought."""
        self.shop.run("ledger", "undo", "--source", "my_shop", "--reason", "a trial", "--yes")

    @contextmanager
    def inside(self) -> Iterator[Stored]:
        """Enter the shop's folder: the commands find its settings there."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            yield self


@contextmanager
def started(folder: Path) -> Iterator[Stored]:
    """Unpack the stored installation, load its databases, and start it with the code of today."""
    shop = NewShop(folder / "var", folder, STORED_PORTS, prefect_settings=WITHOUT_BLOCKS)
    stored = Stored(shop, folder)
    with postgres_in_memory(shop.var):
        _unpack(folder)
        (folder / "tailorbird.toml").write_text(shop.port_settings() + _SETTINGS)
        _load_databases(shop.var, shop.ports, folder / "databases.sql")
        try:
            with stored.inside():
                shop.run("up")
                shop.fork_runs()
            yield stored
        finally:
            shop.end()


def _unpack(folder: Path) -> None:
    """Unpack the archive into a folder, and write that folder's path into its files."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for name in _WITH_PATHS:
        path = folder / name
        path.write_text(path.read_text().replace(_STORED_FOLDER, str(folder)))


def _load_databases(var: Path, port: int, dump: Path) -> None:
    """Create a PostgreSQL with the stored password, run the dump in it without scheduled runs, and stop it."""
    server = EmbeddedPostgres(var, port)
    server.start()
    address = make_url(server.url())
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGPASSWORD": str(address.password)}
    command = [str(binaries() / "psql"), "--quiet", "--file", str(dump)]
    command += ["--command", r"\connect prefect", "--command", _FORGET_SCHEDULED, "postgres"]
    loaded = subprocess.run(command, env=os.environ | login, capture_output=True, text=True, check=True)
    # Every cluster has its superuser.
    assert [line for line in loaded.stderr.splitlines() if 'role "postgres" already exists' not in line] == []
    server.stop()

from __future__ import annotations

import gzip
import io
import random
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from infra.configuration.settings import Settings
from infra.keys.credentials import TRUSTED, secret
from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.postgres_user import binaries
from tests.flows.conftest import cut_shop

if TYPE_CHECKING:
    from conftest import Shop


def test_every_row_of_the_files_is_in_the_ledger_and_each_event_in_the_lake_once(stocked: Shop) -> None:
    rows = sum(pq.read_metadata(path).num_rows for path in stocked.data.glob("*.parquet"))
    ledger = stocked.ledger()
    assert ledger["read"] == rows
    assert ledger["quarantined"] > 0
    check_lake(stocked, ledger)


def check_lake(shop: Shop, ledger: dict[str, int]) -> None:
    """Assert that each accepted event is in the lake once."""
    ids = DeltaTable(str(shop.var / "lake" / "events")).to_pyarrow_table()["event_id"]
    assert ledger["accepted"] == len(pc.unique(ids)) == len(ids)


def test_every_household_that_shopped_lately_has_twenty_distinct_products_of_a_stated_model_and_batch(
    stocked: Shop,
) -> None:
    shopping = pq.read_table(stocked.data / "transactions.parquet")
    lately = pc.greater(shopping["transaction_timestamp"], pa.scalar(np.datetime64("2017-10-03", "ns")))
    shoppers = set(shopping.filter(lately)["household_id"].to_pylist())
    lists = stocked.sql(
        "SELECT user_id, count(DISTINCT item_id), min(rank), max(rank), bool_and(title <> '' AND reason <> '') "
        "FROM recommendations_by_user_id WHERE placement = 'home' GROUP BY 1"
    )
    served = {user: figures for user, *figures in lists}
    assert shoppers <= served.keys()
    assert set(map(tuple, served.values())) == {("20", "1", "20", "t")}

    rows = stocked.json("recommend", "household-0001")
    status = stocked.json("status")
    assert [row["rank"] for row in rows] == list(range(1, 21))
    assert {row["model_version"] for row in rows} == {status["champion"]["version"]}
    assert {row["batch_id"] for row in rows} == {status["batch"]["id"]}
    shown = {"rank", "item_id", "title", "url", "image", "score", "reason", "model_version", "batch_id"}
    assert rows[0].keys() == shown


def test_the_champion_beat_the_best_sellers_and_its_reasons_are_written_down(stocked: Shop) -> None:
    champion = stocked.json("status")["champion"]
    popular = stocked.sql("SELECT gate FROM reviews WHERE passed AND decision = 'approved'")
    assert champion["metrics"]["ndcg_at_10"] > 0.2
    assert "not worse than most_popular" in popular[0][0]
    assert stocked.sql("SELECT actor FROM promotions") == [["demo --approve"]]


def test_a_second_demo_changes_nothing(stocked: Shop) -> None:
    tables = ("promotions", "reviews", "recommendation_batches", "datasets", "quarantine", "search_results")
    counted = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    before, counts = stocked.json("status"), stocked.sql(counted)
    shown_at_the_end = stocked.run(*stocked.demo)
    assert re.search(r"The API for household-\d+ \(source: (table|cache)\)", shown_at_the_end)
    assert re.search(r"The API for a visitor with: .* \(source: live\)", shown_at_the_end)
    after = stocked.json("status")
    for status in (before, after):
        del status["running"], status["sizes"]  # the reconciler may have started a calibration
    shown = [[row.pop("batch_id") for row in status.pop("placements")] for status in (before, after)]
    assert (shown[0], before) == (shown[1], after)
    assert stocked.sql(counted) == counts


def dumps(shop: Shop) -> str:
    """Return the contents of the three databases as text, without the one map of raw ids."""
    server, settings = EmbeddedPostgres(shop.var), Settings(var=shop.var)
    texts = []
    for name in ("tailorbird", "prefect", "mlflow"):
        url = server.url(name, name, secret(settings, name)).replace("+psycopg2", "")
        command = [str(binaries() / "pg_dump"), "--data-only", "--exclude-schema=identity", url]
        texts.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return "\n".join(texts)


def readable(path: Path) -> str:
    """Return a file as text, unpacked if its format packs it."""
    if path.suffix == ".parquet":
        rows = duckdb.sql(f"SELECT * FROM read_parquet('{path}')").to_arrow_table()
        return rows.to_string(show_metadata=True) + "\n".join(str(column.to_pylist()) for column in rows.columns)
    if path.suffix == ".npz":
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            return "\n".join(str(values.tolist()) for values in arrays.values() if values.dtype.kind == "U")
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes()).decode(errors="replace")
    with suppress(FileNotFoundError):  # the record of a command that has just ended
        return path.read_bytes().decode(errors="replace")
    return ""


def test_no_raw_id_and_no_password_is_anywhere_but_in_its_place(stocked: Shop) -> None:
    private = {"secrets", "postgres"}
    paths = [p for p in stocked.var.rglob("*") if p.is_file() and not private & set(p.relative_to(stocked.var).parts)]
    assert {"lake", "log", "mlflow", "bundles"} <= {p.relative_to(stocked.var).parts[0] for p in paths}
    secrets = [p for p in (stocked.var / "secrets").iterdir() if p.name != TRUSTED]  # public keys
    passwords = [p.read_text().strip() for p in secrets]
    everything = [(str(path), readable(path)) for path in paths] + [("databases", dumps(stocked))]
    some_key = stocked.sql("SELECT min(user_key) FROM users")[0][0]
    for room in ("/lake/events", "/lake/datasets", "/mlflow/", "/bundles/", "databases"):
        assert any(some_key in text for place, text in everything if room in place), f"the search is blind in {room}"
    for place, text in everything:
        assert "household-0" not in text, place
        assert not any(word in text for word in passwords), place


@pytest.mark.faults
def test_a_demo_killed_at_any_moment_ends_well_when_it_is_run_again(stocked: Shop, tmp_path: Path) -> None:
    data = cut_shop(tmp_path / "other", 121, 200)
    moments = random.Random(1)  # noqa: S311 - the same moments every time
    for _ in range(3):
        demo = stocked.start("demo", "--approve", "--location", str(data))
        time.sleep(moments.uniform(2, 14))
        demo.kill()
        demo.communicate()
    stocked.run("demo", "--approve", "--location", str(data))
    check_lake(stocked, stocked.ledger())
    assert len(stocked.json("recommend", "household-0150")) == 20

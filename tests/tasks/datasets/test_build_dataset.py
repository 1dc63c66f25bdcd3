from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import select, text, update

from infra.database.schema.schema import datasets, segment_descriptions, segments, users
from infra.installation import Installation, current
from infra.keys.identity import pseudonym
from models.datasets.acceptance import Acceptance
from models.datasets.dataset import feature_tables
from models.errors import TailorbirdError
from models.recommenders.sequence.histories import acts_of
from tasks.datasets.build_dataset import build_dataset, rebuild_dataset, split_by
from tasks.datasets.load_dataset import manifest_of, newest_version, open_dataset, stored_manifest
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.quality.suites import BatchRefusedError

BY_DAYS = split_by(validation_days=30, test_days=31)
TABLES = ("interactions", "users", "items")
SHARES = split_by()


def day(year: int, month: int, number: int) -> int:
    return int(datetime(year, month, number, tzinfo=UTC).timestamp())


def test_a_data_set_ends_before_the_day_of_its_newest_event_and_holds_all_before(stage: Any) -> None:
    newest = max(stage.shop.transactions["transaction_timestamp"].to_pylist())
    manifest = stage.manifest
    assert manifest["as_of"] == day(newest.year, newest.month, newest.day)
    assert manifest["as_of"] - manifest["test_from"] == 31 * 86_400
    assert manifest["test_from"] - manifest["validation_from"] == 30 * 86_400
    rows = stage.manifest["rows"]
    assert (rows["interactions"], rows["items"], rows["users"]) == (stage.shop.counts["accepted"], 62, 30)
    dataset = open_dataset(stage.manifest["version"])
    assert {name: len(getattr(dataset, name)) for name in TABLES} == {name: rows[name] for name in TABLES}
    assert dataset.users.column_names[1:] == sorted(stage.shop.demographics.column_names[1:])


def test_features_between_the_cuts_are_worked_out_as_those_at_the_cuts_were(stage: Any) -> None:
    dataset = open_dataset(stage.manifest["version"])
    cut = dataset.cuts.test_from
    worked_out = feature_tables(dataset.interactions, dataset.items, cut)
    for stored, again in zip(dataset.features(cut), worked_out, strict=True):
        keys = [(name, "ascending") for name in ("user_key", "item_id") if name in stored.column_names]
        for one, other in zip(stored.sort_by(keys).to_pylist(), again.sort_by(keys).to_pylist(), strict=True):
            assert other == pytest.approx(one, nan_ok=True)


def test_the_latest_events_of_each_user_are_known_at_the_cuts_with_their_types(stage: Any) -> None:
    dataset = open_dataset(stage.manifest["version"])
    cut = dataset.cuts.test_from
    acts = dataset.acts(cut)
    assert acts is not None
    assert pc.max(acts["occurred_at"]).as_py() < cut
    assert set(acts["event_type"].to_pylist()) == {"purchase"}
    assert acts_of(dataset.training_data(cut)).kind.tolist() == []
    assert dataset.acts(cut - 1) is None


def test_the_same_events_make_the_same_data_set_once(stage: Any) -> None:
    assert build_dataset.fn(BY_DAYS) == stage.manifest
    other = build_dataset.fn(split_by(date(2017, 11, 1), 30, 31))
    assert other["version"] != stage.manifest["version"]
    assert other["content_hash"]["interactions"] == stage.manifest["content_hash"]["interactions"]
    assert newest_version() == other["version"]


def test_a_batch_is_not_seen_before_it_is_committed_and_then_makes_a_new_data_set(stage: Any) -> None:
    extra = stage.shop.transactions.slice(0, 300)
    extra = extra.set_column(1, "basket_id", pa.array(range(33_000_000_000, 33_000_000_300)))
    stage.shop.write(transactions=extra)
    with stage.here.engine.begin() as connection:
        held = "ALTER TABLE ingest_batches ADD CONSTRAINT held CHECK (accepted <> 300)"
        connection.execute(text(held))
    with pytest.raises(Exception, match="held"):
        ingest_events.fn("complete_journey", stage.shop.events_file)
    while_pending = build_dataset.fn(BY_DAYS)
    assert while_pending["rows"]["interactions"] == stage.manifest["rows"]["interactions"]
    with stage.here.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ingest_batches DROP CONSTRAINT held"))
    assert ingest_events.fn("complete_journey", stage.shop.events_file)["status"] == ledger.COMMITTED
    committed = build_dataset.fn(BY_DAYS)
    assert committed["events_version"] == while_pending["events_version"]
    assert committed["rows"]["interactions"] == stage.manifest["rows"]["interactions"] + 300


def test_a_new_catalogue_makes_a_new_data_set(stage: Any) -> None:
    first = open_dataset(stage.manifest["version"])
    stage.shop.write(products=stage.shop.products.set_column(3, "brand", pa.array(["New"] * 63)))
    ingest_items.fn("complete_journey", stage.shop.items_file)
    manifest = build_dataset.fn(BY_DAYS)
    assert manifest["version"] != stage.manifest["version"]
    assert set(open_dataset(manifest["version"]).items["brand"].to_pylist()) == {"New"}
    assert open_dataset(stage.manifest["version"]).items.equals(first.items)


def test_nothing_of_somebody_who_withdrew_consent_is_in_the_next_data_set(stage: Any) -> None:
    key = pseudonym(str(stage.shop.demographics["household_id"][0].as_py()), stage.here.key)
    with stage.here.engine.begin() as connection:
        connection.execute(update(users).where(users.c.user_key == key).values(consent=False))
    manifest = build_dataset.fn(BY_DAYS)
    assert manifest["version"] != stage.manifest["version"]
    dataset = open_dataset(manifest["version"])
    for rows in (dataset.users, dataset.interactions, dataset.features(dataset.cuts.as_of).users):
        assert key not in rows["user_key"].to_pylist()
    assert key in open_dataset(stage.manifest["version"]).interactions["user_key"].to_pylist()


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("ingested", [False, True])
def test_a_build_before_anything_was_accepted_names_the_next_command(shop: Any, ingested: bool) -> None:
    if ingested:
        with pytest.raises(TailorbirdError):
            ingest_events.fn("complete_journey", shop.events_file)
    with pytest.raises(
        TailorbirdError, match=r"(is ingested|are accepted) yet. Next: `tailorbird ingest MAPPING PATH…`"
    ):
        build_dataset.fn(BY_DAYS)


@pytest.mark.usefixtures("installation")
def test_events_without_purchases_name_the_way_of_sites_without_sales(tmp_path: Path) -> None:
    (tmp_path / "views.csv").write_text("user,item,time\n" + "".join(f"u{n},i{n},2024-03-01\n" for n in range(9)))
    (tmp_path / "site.toml").write_text(
        'consent = "given"\nconsent_note = "test"\nunknown_items = "accept"\n[events]\nfile = "views.csv"\n'
        'user_id = "user"\nitem_id = "item"\noccurred_at = "time"\nconstants = { event_type = "view" }\n'
    )
    assert ingest_events.fn(str(tmp_path / "site.toml"), str(tmp_path / "views.csv"))["accepted"] == 9
    with pytest.raises(TailorbirdError, match=r"such as read = \"purchase\": docs/ingestion.md"):
        build_dataset.fn(BY_DAYS)


def test_a_data_set_that_is_not_there_is_named(installation: Installation) -> None:
    assert stored_manifest(installation) is None
    with pytest.raises(TailorbirdError, match=r"^Nothing is ingested yet\. Next: `tailorbird ingest"):
        newest_version()
    with pytest.raises(TailorbirdError, match="no data set 'v9'"):
        manifest_of(installation, "v9")


def test_a_folder_with_a_space_in_its_name_is_a_folder_like_any_other(
    installation: Installation, shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_LAKE", str(installation.settings.var / "somebody's lake"))
    current.cache_clear()
    ingest_items.fn("complete_journey", shop.items_file)
    for part in (shop.transactions.slice(0, 1500), shop.transactions):
        shop.write(transactions=part)
        ingest_events.fn("complete_journey", shop.events_file)
    assert build_dataset.fn(BY_DAYS)["rows"]["interactions"] == shop.counts["accepted"]


def test_a_data_set_that_is_built_again_is_the_same_until_somebody_leaves(stage: Any) -> None:
    version = stage.manifest["version"]
    stage.shop.write(products=stage.shop.products.set_column(1, "manufacturer_id", pa.array([9] * 63)))
    ingest_items.fn("complete_journey", stage.shop.items_file)  # a newer catalogue does not change it
    assert rebuild_dataset.fn(version) == {"version": version, "same": True, "differs": [], "users_left": 0}
    with stage.here.engine.begin() as connection:
        somebody = select(users.c.user_key).limit(1).scalar_subquery()
        connection.execute(update(users).where(users.c.user_key == somebody).values(consent=False))
    rebuilt = rebuild_dataset.fn(version)
    assert (rebuilt["same"], rebuilt["users_left"]) == (False, 1)
    assert {"interactions", "users", "user_features"} <= set(rebuilt["differs"])
    assert not {"items", "batches"} & set(rebuilt["differs"])


def test_digests_of_an_engine_with_another_hash_function_are_taken_again(stage: Any) -> None:
    version, digests = stage.manifest["version"], dict.fromkeys(stage.manifest["content_hash"], "another")
    with stage.here.engine.begin() as connection:
        older = {**stage.manifest, "content_hash": digests, "hashed_by": "duckdb 1.0.0"}
        connection.execute(update(datasets).values(manifest=older))
    assert rebuild_dataset.fn(version)["same"]


def test_everybody_is_in_a_segment_that_sql_can_ask_for(stage: Any) -> None:
    with stage.here.engine.connect() as connection:
        rows = connection.execute(select(segments)).mappings().all()
        described = connection.execute(select(segment_descriptions)).mappings().all()
    assert {row["dataset_version"] for row in rows} == {stage.manifest["version"]}
    assert len(rows) == stage.manifest["rows"]["users"]
    assert {row["rfm"] for row in rows} <= {row["segment"] for row in described if row["kind"] == "rfm"}


def test_labels_are_the_purchases_between_one_cut_and_the_next(stage: Any) -> None:
    version, cuts = stage.manifest["version"], open_dataset(stage.manifest["version"]).cuts.all()
    labelled = stage.here.lake.read_dataset(version, "labels").to_pylist()
    bought = stage.here.lake.read_dataset(version, "interactions").to_pylist()
    for cut, end in pairwise(cuts):
        pairs = {(row["user_key"], row["item_id"]) for row in bought if cut <= row["occurred_at"] < end}
        labelled_pairs = [(row["user_key"], row["item_id"]) for row in labelled if row["as_of"] == cut]
        assert len(labelled_pairs) == len(pairs) > 0
        assert set(labelled_pairs) == pairs
    assert {row["label"] for row in labelled} == {1}
    assert {row["as_of"] for row in labelled} == {*cuts[:-1]}


def test_other_labels_make_another_data_set_and_no_horizon_reaches_past_the_next_cut(stage: Any) -> None:
    week = build_dataset.fn(BY_DAYS, {"horizon_days": 7})
    assert week["version"] != stage.manifest["version"]
    assert week["rows"]["labels"] < stage.manifest["rows"]["labels"]
    with pytest.raises(TailorbirdError, match="cut earlier"):
        build_dataset.fn(BY_DAYS, {"horizon_days": 40})
    assert newest_version() == week["version"]


@pytest.mark.usefixtures("installation")
def test_the_full_export_after_a_sample_makes_a_data_set_that_warns_of_its_growth(shop: Any) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    everything = shop.transactions
    shop.write(transactions=everything.slice(0, len(everything) // 6))
    ingest_events.fn("complete_journey", shop.events_file)
    first = build_dataset.fn(SHARES)
    shop.write(transactions=everything)
    ingest_events.fn("complete_journey", shop.events_file)
    full = build_dataset.fn(SHARES)
    rows, before = full["rows"]["interactions"], first["rows"]["interactions"]
    assert rows > 4 * before
    (growth,) = [warning for warning in full["warnings"] if warning.startswith("ratio_rows_interactions")]
    assert f"{rows:,} after {before:,} in the last data set; the lake gained +{rows - before:,} purchases" in growth
    assert full["figures"]["accounted_rows_interactions"] == 1
    assert full["lake"]["ledger"] == full["lake"]["events"] == rows
    assert newest_version() == full["version"]


def test_a_lake_that_lost_events_refuses_the_data_set_until_somebody_accepts_it_or_changes_the_limit(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger counts four times the events that the lake holds."""
    with stage.here.engine.begin() as connection:
        connection.execute(text("UPDATE ingest_batches SET read = 4 * read, accepted = 4 * accepted"))
    with pytest.raises(BatchRefusedError) as refusal:
        build_dataset.fn(SHARES)
    message = str(refusal.value)
    assert "lake_rows is 0.25; 0.5 to 2 is allowed." in message
    assert 'the same command with --accept lake_rows --reason "…"' in message
    assert newest_version() == stage.manifest["version"]
    accepted = Acceptance.of(["lake_rows"], "the ledger was restored from a backup", "ann")
    manifest = build_dataset.fn(SHARES, None, accepted)
    (record,) = manifest["accepted"]
    assert (record["check"], record["value"], record["accepted_by"]) == ("lake_rows", 0.25, "ann")
    assert record["reason"] == "the ledger was restored from a backup"
    stored = stored_manifest(stage.here)
    assert stored is not None
    assert stored["accepted"] == manifest["accepted"]
    with stage.here.engine.connect() as connection:
        entry = connection.execute(text("SELECT subject, actor, reason FROM audit_log")).one()
    assert tuple(entry) == (manifest["version"], "ann", "the ledger was restored from a backup")
    monkeypatch.setenv("TAILORBIRD_DATASET", '{"smallest_ratio": 0.2}')
    current.cache_clear()
    assert build_dataset.fn(split_by(date(2017, 11, 1), 30, 31))["accepted"] == []


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize(
    ("check", "reason"), [("no_such_check", "No check is called no_such_check"), ("users", "users cannot be accepted")]
)
def test_a_check_that_cannot_be_accepted_is_named_before_anything_is_built(check: str, reason: str) -> None:
    with pytest.raises(TailorbirdError, match=reason):
        build_dataset.fn(SHARES, None, Acceptance.of([check], "why not", "ann"))


def test_a_second_source_without_prices_does_not_block_the_first(stage: Any, tmp_path: Path) -> None:
    before = stage.manifest["null_shares"]["complete_journey"]
    orders = ["order,user,item,time"]
    orders += [
        f"{n},visitor {n % 90},extra {n % 70},2017-{1 + n % 12:02}-{1 + n % 28:02}T10:00:00Z" for n in range(3000)
    ]
    (tmp_path / "orders.csv").write_text("\n".join(orders))
    (tmp_path / "second.toml").write_text(
        'consent = "opt-out"\nconsent_note = "terms"\n[events]\nfile = "orders.csv"\nuser_id = "user"\n'
        'item_id = "item"\noccurred_at = "time"\nsession_id = "order"\nconstants = { event_type = "purchase" }\n'
    )
    ingest_events.fn(str(tmp_path / "second.toml"), str(tmp_path / "orders.csv"))
    manifest = build_dataset.fn(SHARES)
    assert not [warning for warning in manifest["warnings"] if warning.startswith("null_rise_item_features_price")]
    shares = manifest["null_shares"]
    assert set(shares) == {"complete_journey", "second"}
    assert shares["second"]["item_features_price_rank"] == 1
    assert shares["complete_journey"]["item_features_price_rank"] == pytest.approx(
        before["item_features_price_rank"], abs=0.1
    )

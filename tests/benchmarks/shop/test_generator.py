"""Tests that the simulated shop is reproducible, and has the properties that its readers rely on."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.shop import generator
from benchmarks.shop.calendar import periods
from benchmarks.shop.simulation import world
from infra.installation import Installation
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.sources.file_matching import files_of
from tasks.sources.mapping_files import table_mapping

SEED, PURCHASES, CLICKS = 7, 60_000, 5.0
MAPPING = str(Path(generator.__file__).with_name("mapping.toml"))


class Files(NamedTuple):
    """A shop that was written and read again."""

    folder: Path
    shop: generator.Shop
    events: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("shop")
    answer = generator.write(folder, PURCHASES, SEED, clicks=CLICKS)
    events = pd.concat([pd.read_parquet(file) for file in answer.files], ignore_index=True)
    return Files(folder, answer, events, *(pd.read_parquet(folder / f"{name}.parquet") for name in ("items", "users")))


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        generator.write(tmp_path / name, 2_000, seed, clicks=4.0)
    one, again, other = (digests(tmp_path / name) for name in ("one", "again", "other"))
    assert len(one) == 26
    assert one == again
    assert one.keys() == other.keys()
    assert not set(one.values()) & set(other.values())


def test_the_sizes_are_those_that_were_asked_for(made: Files) -> None:
    assert made.shop.events == len(made.events)
    assert made.shop.purchases == (made.events.event_type == "purchase").sum()
    assert PURCHASES <= made.shop.purchases <= 1.05 * PURCHASES
    assert made.shop.events == pytest.approx(PURCHASES * (1 + CLICKS), rel=0.05)
    assert (made.shop.users, made.shop.items) == (len(made.users), len(made.items)) == (2652, 6313)


def test_every_id_is_one_and_is_known(made: Files) -> None:
    assert made.events.event_id.is_unique
    assert made.events.item_id.isin(made.items.item_id).all()
    assert set(made.events.user_id) == set(made.users.user_id)
    assert made.items.item_id.is_unique
    sessions = made.events.groupby("session_id").user_id.nunique()
    assert sessions.max() == 1


def test_nobody_buys_an_item_before_it_arrives_or_after_it_is_gone(made: Files) -> None:
    catalogue = world(len(made.users), len(made.items), SEED).catalogue
    begins = pd.DatetimeIndex(pd.to_datetime([period.begin for period in periods(24)], unit="s", utc=True))
    number = begins.searchsorted(pd.DatetimeIndex(made.events.occurred_at), side="right") - 1
    item = made.events.item_id.str[1:].astype(int).to_numpy()
    assert (catalogue.arrival[item] <= number).all()
    remaining = np.array([catalogue.freshness(period)[item] for period in range(96)])
    assert (remaining[number, np.arange(len(item))] > 0).all()
    assert 0.3 < (catalogue.arrival == 0).mean() < 0.45
    assert 0.35 < made.items.available.mean() < 0.65


def test_everything_comes_in_by_the_mapping(installation: Installation, tmp_path: Path) -> None:
    answer = generator.write(tmp_path / "made", 3_000, SEED, clicks=4.0)
    files = files_of(table_mapping(MAPPING, None), [str(tmp_path / "made")])
    [items], [users] = files["items"], files["users"]
    assert ingest_items.fn(MAPPING, items)["routed"] == answer.items
    assert ingest_users.fn(MAPPING, users)["routed"] == answer.users
    assert files["events"] == [str(file) for file in answer.files]
    entry = ingest_events.fn(MAPPING, files["events"][-1])
    assert entry["accepted"] == entry["read"] == pq.read_metadata(answer.files[-1]).num_rows > 100
    assert installation.lake.event_files()

"""Tables replace the values that they state, beside calls with other values of the same items and users."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Connection, select, text

from infra.database.schema.schema import ingest_batches, items, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tasks.ingest.rows import apply
from tests.tasks.ingest.events.test_segment_updates import call, ingest, viewed


def test_a_table_that_comes_again_after_another_is_taken_again(installation: Installation, shop: Any) -> None:
    place = shop.products.column_names.index("brand")
    listed = [shop.products.set_column(place, "brand", pa.array([name] * 63)) for name in ("first", "second")]
    for products, brand in zip((*listed, *listed[:1], *listed[:1]), ("FIRST", "SECOND", "FIRST", "FIRST"), strict=True):
        shop.write(products=products)
        entry = ingest_items.fn("complete_journey", shop.items_file)
        with installation.engine.connect() as connection:
            brands = connection.execute(select(items.c.brand).where(items.c.item_id == "500001")).scalar_one()
            batches = connection.execute(select(ingest_batches.c.batch_id)).scalars().all()
        assert brands.upper() == brand
    assert (len(batches), entry["batch_id"].endswith("-2"), entry["status"]) == (3, True, "unchanged")


@pytest.mark.usefixtures("installation")
def test_the_files_of_one_table_again_change_nothing_and_neither_does_a_copy_of_the_last(shop: Any) -> None:
    path, other = Path(shop.items_file), Path(shop.items_file).with_name("more.parquet")
    pq.write_table(shop.products.slice(30, 32), other)  # without the second row of an item of the first file
    shop.write(products=shop.products.slice(0, 30))
    moved = path.with_name("moved.parquet")
    first = [ingest_items.fn("complete_journey", str(file)) for file in (path, other)]
    shutil.copy(other, moved)
    again = [ingest_items.fn("complete_journey", str(file)) for file in (path, other, moved)]
    assert again == [line | {"status": "unchanged"} for line in (*first, first[1])]


def _catalogue(folder: Path) -> str:
    (folder / "own.toml").write_text(
        'consent = "opt-in"\n[items]\nfile = "i.csv"\nitem_id = "id"\ntitle = "name"\nprice = "price"\n'
        'category = ["shelf"]\nattributes = ["colour"]\n[users]\nfile = "u.csv"\nuser_id = "id"\n'
        'attributes = ["plan"]\nconsent = "agreed"\nconsent_at = "at"\nzone = "UTC"\n'
    )
    return str(folder / "own.toml")


@pytest.mark.parametrize("catalogue_first", [True, False])
def test_a_catalogue_replaces_what_it_mentions_whenever_older_calls_come_in(
    installation: Installation, tmp_path: Path, catalogue_first: bool
) -> None:
    (tmp_path / "i.csv").write_text("id,name,price,shelf,colour\ncup,Mug,,Kitchen,blue\n")
    calls = [viewed(1, brand="Clay", sku="C-1")]
    steps = [partial(ingest_items.fn, _catalogue(tmp_path), str(tmp_path / "i.csv")), partial(ingest, tmp_path, *calls)]
    for step in steps if catalogue_first else reversed(steps):
        step()
    with installation.engine.connect() as connection:
        cup = connection.execute(select(items)).one()
    assert (cup.title, cup.price, cup.brand, cup.category) == ("Mug", None, "Clay", "Kitchen")
    assert cup.attributes == {"colour": "blue", "sku": "C-1"}


def test_a_table_of_users_stores_no_traits_of_one_who_refused(installation: Installation, tmp_path: Path) -> None:
    mapping, path = _catalogue(tmp_path), tmp_path / "u.csv"
    ingest(tmp_path, call(2, "page", False, "bob"), call(2, "page", True, "cleo"))
    path.write_text(
        "id,plan,agreed,at\nann,gold,no,2024-06-01\nbob,gold,yes,2024-06-01\ncleo,gold,no,2024-06-01\ndora,gold,yes,\n"
    )
    ingest_users.fn(mapping, str(path))
    keys = {pseudonym(name, installation.key): name for name in ("ann", "bob", "cleo", "dora")}
    with installation.engine.connect() as connection:
        actual = {keys[row.user_key]: (row.consent, row.attributes) for row in connection.execute(select(users))}
    assert actual == {"ann": (False, {}), "bob": (False, {}), "cleo": (True, {}), "dora": (True, {"plan": "gold"})}


@pytest.mark.parametrize("table_first", [True, False])
def test_consent_by_an_event_after_the_refusal_in_a_table_counts(
    installation: Installation, tmp_path: Path, table_first: bool
) -> None:
    mapping, path = _catalogue(tmp_path), tmp_path / "u.csv"
    path.write_text("id,plan,agreed,at\nann,gold,no,2024-06-01\n")
    steps = [partial(ingest_users.fn, mapping, str(path)), partial(ingest, tmp_path, viewed(2))]
    for step in steps if table_first else reversed(steps):
        step()
    with installation.engine.connect() as connection:
        ann = connection.execute(select(users)).one()
    assert (ann.consent, ann.attributes, ann.refused_at.day) == (True, {}, 1)


def test_tables_and_calls_that_come_in_at_once_wait_for_each_other(
    installation: Installation, shop: Any, tmp_path: Path
) -> None:
    """Each takes the items in an order of its own: together they could wait for ever."""
    jobs = [partial(ingest, tmp_path, viewed(1)), partial(ingest_items.fn, "complete_journey", shop.items_file)]
    with ThreadPoolExecutor(2) as pool:
        with installation.engine.begin() as connection:
            apply.lock_entities(connection)
            done = [pool.submit(job) for job in jobs]
            deadline = time.monotonic() + 60
            while _waiting(connection) < len(jobs) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert _waiting(connection) == len(jobs)
        assert [entry.result()["status"] for entry in done] == ["committed"] * 2


def _waiting(connection: Connection) -> int:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return int(connection.execute(text(waiting)).scalar_one())

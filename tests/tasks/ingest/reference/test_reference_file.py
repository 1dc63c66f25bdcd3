from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select, update

from infra.database.schema.schema import LEDGER, identities, ingest_batches, items, quarantine, suppressions, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tasks.quality.suites import BatchRefusedError


def test_the_catalogue_comes_in_with_its_last_word_on_every_item(installation: Installation, shop: Any) -> None:
    entry = ingest_items.fn("complete_journey", shop.items_file)
    result = {name: entry[name] for name in LEDGER}
    assert result == {"read": 63, "accepted": 0, "quarantined": 0, "duplicate": 1, "suppressed": 0, "routed": 62}
    with installation.engine.connect() as connection:
        rows = {row.item_id: row for row in connection.execute(select(items))}
        assert connection.execute(select(quarantine)).first() is None
    assert len(rows) == 62
    assert rows["500000"].title == "Type new, 9 oz"
    assert rows["500005"].title == "Item 500005"
    assert rows["500001"].category == "GROCERY|AISLE 0|TYPE 1"
    assert rows["500001"].attributes == {"manufacturer_id": "1", "package_size": "1 OZ"}
    assert (rows["600000"].available, rows["500001"].available) == (False, True)
    assert (rows["600001"].category, rows["600001"].available) == (None, True)


def test_users_come_in_under_their_pseudonyms_with_consent_as_declared(installation: Installation, shop: Any) -> None:
    entry = ingest_users.fn("complete_journey", shop.users_file)
    assert (entry["read"], entry["routed"], entry["status"]) == (20, 20, "committed")
    assert entry["consent"].startswith("declared by the mapping")
    household = str(shop.demographics["household_id"][1].as_py())
    with installation.engine.connect() as connection:
        own = users.c.user_key == pseudonym(household, installation.key)
        row = connection.execute(select(users).where(own)).one()
        known = connection.execute(select(identities.c.user_id)).scalars().all()
    assert row.consent is True
    assert row.attributes["age"] == "age 1"
    assert sorted(known) == sorted(map(str, shop.demographics["household_id"].to_pylist()))


def test_the_ledger_states_what_becomes_of_a_trait_with_too_many_values(installation: Installation, shop: Any) -> None:
    shop.write(demographics=shop.demographics.set_column(1, "age", pa.array([f"{n} or so" for n in range(20)])))
    entry = ingest_users.fn("complete_journey", shop.users_file)
    assert notes(installation, entry["batch_id"]) is None
    names = pa.array([f"name {number}" for number in range(40)])
    households = pa.array(range(900, 940), pa.int64())
    shop.write(
        demographics=pa.table(dict.fromkeys(shop.demographics.column_names, names) | {"household_id": households})
    )
    entry = ingest_users.fn("complete_journey", shop.users_file)
    assert "age is left out: none of its 40 values is shared by 5 users." in str(notes(installation, entry["batch_id"]))


def notes(installation: Installation, batch_id: str) -> str | None:
    with installation.engine.connect() as connection:
        line = select(ingest_batches.c.detail).where(ingest_batches.c.batch_id == batch_id)
        result: str | None = connection.execute(line).scalar_one()
    return result


def test_new_traits_replace_old_ones_and_consent_stays_as_it_was(installation: Installation, shop: Any) -> None:
    ingest_users.fn("complete_journey", shop.users_file)
    key = pseudonym(str(shop.demographics["household_id"][0].as_py()), installation.key)
    with installation.engine.begin() as connection:
        connection.execute(update(users).where(users.c.user_key == key).values(consent=False, consent_source="called"))
    shop.write(demographics=shop.demographics.set_column(1, "age", pa.array(["older"] * 20)))
    ingest_users.fn("complete_journey", shop.users_file)
    with installation.engine.connect() as connection:
        row = connection.execute(select(users).where(users.c.user_key == key)).one()
    assert (row.consent, row.consent_source, row.attributes["age"]) == (False, "called", "older")


def test_of_suppressed_users_neither_traits_nor_id_are_stored(installation: Installation, shop: Any) -> None:
    household = str(shop.demographics["household_id"][0].as_py())
    key = pseudonym(household, installation.key)
    with installation.engine.begin() as connection:
        connection.execute(suppressions.insert().values(user_key=key, reason="left"))
    assert ingest_users.fn("complete_journey", shop.users_file)["suppressed"] == 1
    with installation.engine.connect() as connection:
        assert key not in connection.execute(select(users.c.user_key)).scalars().all()
        assert household not in connection.execute(select(identities.c.user_id)).scalars().all()


def test_half_a_catalogue_is_never_seen(installation: Installation, shop: Any) -> None:
    ids = shop.products["product_id"].to_pylist()
    nameless = {"product_id": pa.array([None] * 40 + ids[40:], shop.products["product_id"].type)}
    shop.write(products=pa.table({n: nameless.get(n, shop.products[n]) for n in shop.products.column_names}))
    with pytest.raises(BatchRefusedError, match=r"item_id_missing \(40 of 63"):
        ingest_items.fn("complete_journey", shop.items_file)
    with installation.engine.connect() as connection:
        assert connection.execute(select(items)).first() is None
        assert connection.execute(select(quarantine)).first() is None
        assert connection.execute(select(ingest_batches.c.status)).scalars().all() == ["refused"]
    shop.write(products=shop.products)
    assert ingest_items.fn("complete_journey", shop.items_file)["status"] == "committed"

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, update

from expectations.batches import ITEM_RULES
from infra.database.schema.schema import LEDGER, identities, ingest_batches, items, quarantine, suppressions, users
from infra.installation import Installation
from infra.keys.identity import pseudonym
from models.columns import CURRENCY, ROW
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import ItemsMapping
from models.ingest.tabular.unreadable_cells import KEYS
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.reference.read_reference import COPIES, condense, read_reference, triage_reference
from tasks.quality.suites import BatchRefusedError
from tasks.sources import table_files

NO_USERS = pa.array([], pa.string())


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


def condensed(*rows: dict[str, Any]) -> pa.Table:
    sound = {"item_id": "i1", "title": "Ice", "category": "FOOD", "price": 1.0, "attributes": {"size": "1 l"}}
    sound |= {"available": True}
    table = pa.Table.from_pylist([sound | row for row in rows])
    for name in (CURRENCY, KEYS):
        table = table.append_column(name, pa.nulls(len(rows), pa.string()))
    return condense(table.append_column(ROW, pa.array(range(len(rows)), pa.int64())), ITEM_RULES)


def test_of_a_catalogue_the_last_row_of_an_item_is_routed_to_the_catalogue() -> None:
    rows = condensed(
        {"title": "Old"}, {"item_id": None}, {"title": "New"}, {"item_id": "i2"}, {"item_id": "i3", "price": -1.0}
    )
    done = triage_reference(rows, ITEM_RULES, NO_USERS, "item_id")
    assert done.accepted.select(["item_id", "title"]).to_pylist() == [
        {"item_id": "i1", "title": "New"},
        {"item_id": "i2", "title": "Ice"},
    ]
    assert done.counts == {"read": 5, "suppressed": 0, "routed": 2, "quarantined": 2, "duplicate": 1, "accepted": 0}
    assert done.quarantined[ROW].to_pylist() == [1, 4]


def test_equal_rows_are_kept_once_with_their_number_and_bad_rows_all() -> None:
    rows = condensed({}, {"price": -1.0}, {}, {"title": "New"}, {"price": -1.0}, {})
    assert rows.select([ROW, COPIES]).to_pylist() == [
        {ROW: 1, COPIES: 1},
        {ROW: 3, COPIES: 1},
        {ROW: 4, COPIES: 1},
        {ROW: 5, COPIES: 3},
    ]
    assert condense(rows, ITEM_RULES).equals(rows)


@pytest.mark.parametrize("choice", ["latest", "recent"])
@pytest.mark.parametrize("attributes", [[], ["colour"]])
def test_a_file_is_read_alike_in_chunks_of_any_size_and_keeps_what_is_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: list[str], choice: str
) -> None:
    n = 3_000
    table = {
        "code": [f"i{row % 7}" for row in range(n)],
        "name": ["note" if row % 5 == 4 else f"Lamp {row % 7}" for row in range(n)],
        "price": [-1.0 if row % 1_000 == 3 else float(row % 3) for row in range(n)],
        "colour": ["red", None] * (n // 2),
        "at": [f"2024-01-01 00:{row // 60:02}:{row % 60:02}" for row in range(n)],
    }
    path = tmp_path / "lines.parquet"
    pq.write_table(pa.table(table), path)
    part = ItemsMapping.model_validate(
        {"file": "f", "item_id": "code", "title": "name", "price": "price", "attributes": attributes}
        | {"where": "code <> 'i6'", "choose": {"title": "most_frequent", "price": choice}, "updated_at": "at"}
    )

    def read(size: int) -> Any:
        monkeypatch.setattr(table_files, "CHUNK_ROWS", size)
        result = read_reference(path, part, lambda rows: transform.items(rows, part), ITEM_RULES)
        assert len(result.rows) < 90
        assert result.skipped == sum(code == "i6" for code in table["code"])
        return (
            result.rows.to_pylist(),
            result.profile,
            result.stated.to_pylist(),
            triage_reference(result.rows, ITEM_RULES, NO_USERS, "item_id", part.choices),
        )

    *whole, done = read(n)
    *chunked, repeated = read(250)
    assert chunked == whole
    assert repeated.accepted.to_pylist() == done.accepted.to_pylist()
    assert done.counts == repeated.counts
    assert sum(done.counts[name] for name in ("routed", "quarantined", "duplicate")) == done.counts["read"]
    assert done.quarantined[ROW].to_pylist() == [3, 1003, 2003], "the rows of the file"
    assert [row["title"] for row in done.accepted.to_pylist()] == [f"Lamp {n}" for n in (4, 5, 0, 1, 2, 3)]

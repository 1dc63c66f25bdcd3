"""The order of files, tables and calls does not change items, users, consent and devices."""

import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import Connection, select, text

from infra.database.engine import engine
from infra.database.schema.schema import items, suppressions, users
from infra.installation import Installation
from infra.keys import credentials
from infra.keys.identity import pseudonym
from infra.lake.delta_lake import Lake
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.rows import apply
from tasks.ingest.rows.apply import CONSENT, DEVICE, ITEM, TRAITS, Update
from tasks.ingest.rows.statements import WITHIN
from tests.tasks.ingest.events.test_segment_updates import Call, call, ingest, viewed
from tests.tasks.ingest.stored import lake

_KNOWN = {
    "items": """SELECT item_id, title, category, brand, price, currency, attributes, available, field_timestamps
        FROM items ORDER BY 1""",
    "users": "SELECT user_key, attributes, consent, refused_at, field_timestamps FROM users ORDER BY 1",
    "people": "SELECT user_key FROM identity.users ORDER BY 1",
    "aliases": "SELECT anonymous_key, user_key, occurred_at FROM aliases ORDER BY 1, 2",
}


def known(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Return all stored values, without their batches."""
    return {name: [{**row} for row in connection.execute(text(sql)).mappings()] for name, sql in _KNOWN.items()}


def everything(installation: Installation) -> dict[str, Any]:
    events = [(row["event_id"], row["payload_hash"], row["user_key"]) for row in lake(installation)]
    with installation.engine.connect() as connection:
        return known(connection) | {"lake": events}


def identified(
    day: int, agreed: bool | None = True, user: str = "ann", device: str | None = None, **traits: str
) -> Call:
    return call(day, "identify", agreed, user, traits=traits, anonymousId=device)


# By user: ann states traits before her first event, bob refuses between them, cleo agrees last by no event, dora shares
# her device with eve, who refuses. The newest file has no title for the cup; the pan has two names at the same time.
FILES: Sequence[Sequence[Call]] = (
    [
        viewed(1, name="Old cup", brand="Clay", sku="C-1"),
        viewed(1, True, "bob", product_id="pan", name="A", price=10.0, sku="b"),
        identified(2, plan="gold"),
        identified(1, True, "bob", plan="gold", country="DE"),
        call(3, "page", True, "cleo"),
        identified(1, True, "dora", "phone", plan="gold"),
    ],
    [
        viewed(5, True, "dora", name=None, price=9.0),
        viewed(1, True, "eve", product_id="pan", name="B", price=9.0, sku="a"),
        viewed(1),
        identified(1, plan="red", country="DE"),
        call(2, "identify", False, "bob", traits={"plan": "silver"}),
        viewed(2, False, "cleo"),
        identified(2, True, "eve", "phone", plan="red"),
    ],
    [
        viewed(3, name="Cup", brand=None, price=7.0, sku="C-3"),
        identified(3, True, "bob", plan="red"),
        viewed(1, True, "cleo"),
        identified(1, True, "cleo", plan="gold"),
        call(3, "page", False, "eve"),
    ],
)


def test_files_in_any_order_end_with_the_same(installation: Installation, tmp_path: Path) -> None:
    result = []
    for order in permutations(range(len(FILES))):
        forget_all(installation)
        for number in order:
            ingest(tmp_path, *FILES[number], number=number)
        result.append(everything(installation))
    assert result == result[:1] * len(result)
    cup, pan = result[0]["items"]
    assert (cup["title"], cup["brand"], cup["price"], cup["attributes"]) == ("Cup", "Clay", 9.0, {"sku": "C-3"})
    message = {key: at[:10] for key, at in cup["field_timestamps"].items()}
    assert message == {key: f"2024-06-0{day}" for key, day in _LATEST_DAYS.items()}
    assert (pan["title"], pan["price"], pan["attributes"]) == ("B", 10.0, {"sku": "b"})
    keys = {pseudonym(name, installation.key): name for name in ("ann", "bob", "cleo", "dora", "eve")}
    keys[credentials.hashed("phone", credentials.keys(installation.key.decode()), credentials.DEVICE)] = "phone"
    users = {keys[row["user_key"]]: (row["consent"], row["attributes"]) for row in result[0]["users"]}
    assert users == {
        "ann": (True, {"plan": "gold", "country": "DE"}),
        "bob": (True, {"plan": "red"}),
        "cleo": (True, {}),
        "dora": (True, {"plan": "gold"}),
        "eve": (False, {}),
    }
    assert [(keys[row["anonymous_key"]], keys[row["user_key"]]) for row in result[0]["aliases"]] == [("phone", "dora")]


_LATEST_DAYS = {"title": 3, "brand": 1, "price": 5, "attributes.sku": 3}


def forget_all(installation: Installation) -> None:
    with installation.engine.begin() as connection:
        connection.execute(text("TRUNCATE items, users, aliases, identity.users, ingest_batches CASCADE"))
    shutil.rmtree(installation.settings.lake, ignore_errors=True)


def test_a_user_who_states_traits_before_the_first_event_is_known(installation: Installation, tmp_path: Path) -> None:
    ingest(tmp_path, identified(2, plan="gold"), identified(2, None, "bob", plan="red"), identified(2, user="guest"))
    result = everything(installation)
    ann = pseudonym("ann", installation.key)
    assert [(row["user_key"], row["attributes"]) for row in result["users"]] == [(ann, {"plan": "gold"})]
    assert [row["user_key"] for row in result["people"]] == [ann]


@pytest.mark.parametrize(("policy", "welcome"), [("opt-in", False), ("opt-out", True), ("given", True)])
def test_users_without_an_answer_are_accepted_by_the_policy(
    installation: Installation, tmp_path: Path, policy: str, welcome: bool
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(identified(2, None, plan='gold'))}\n{json.dumps(call(1, 'page', False, 'bob'))}\n")
    overrides = {"consent": policy} | ({"consent_note": "our terms"} if policy == "given" else {})
    ingest_segment.fn("segment", str(path), overrides)
    path.write_text(json.dumps(identified(3, None, "bob", plan="gold")) + "\n")
    ingest_segment.fn("segment", str(path), overrides)
    ann, bob = (pseudonym(name, installation.key) for name in ("ann", "bob"))
    known = {row["user_key"]: row["attributes"] for row in everything(installation)["users"]}
    assert known == ({ann: {"plan": "gold"}, bob: {}} if welcome else {bob: {}})


def test_no_traits_of_an_erased_user_are_kept(installation: Installation, tmp_path: Path) -> None:
    with installation.engine.begin() as connection:
        gone = {"user_key": pseudonym("ann", installation.key), "reason": "left"}
        connection.execute(suppressions.insert().values(gone))
    ingest(tmp_path, identified(2, plan="gold"))
    result = everything(installation)
    assert not [*result["users"], *result["people"], *result["aliases"]]


def test_a_refusal_takes_traits_and_devices_back(installation: Installation, tmp_path: Path) -> None:
    for number, stated in enumerate((identified(1, True, "ann", "phone", plan="gold"), call(2, "page", False))):
        ingest(tmp_path, stated, number=number)
    result = everything(installation)
    assert [(row["consent"], row["attributes"], row["field_timestamps"]) for row in result["users"]] == [
        (False, {}, {})
    ]
    assert result["aliases"] == []


_DAY = datetime(2024, 6, 1, tzinfo=UTC)
_TIMES = some.sampled_from([None, *(_DAY + timedelta(days=n) for n in range(4))])


def _statement(names: Sequence[str]) -> some.SearchStrategy[dict[str, tuple[str, datetime | None]]]:
    return some.dictionaries(some.sampled_from(names), some.tuples(some.sampled_from("abZ"), _TIMES), max_size=3)


def _item(stated: dict[str, tuple[str, datetime | None]]) -> Update:
    own = {key: value for key, (value, _) in stated.items() if key in ("title", "brand")}
    attributes = {key.removeprefix(WITHIN): value for key, (value, _) in stated.items() if key not in own}
    return Update(ITEM, "cup", own | {"attributes": attributes}, None, {key: at for key, (_, at) in stated.items()})


def _traits(stated: dict[str, tuple[str, datetime | None]]) -> list[Update]:
    """Traits come with the agreement to them."""
    values, times = {key: value for key, (value, _) in stated.items()}, {key: at for key, (_, at) in stated.items()}
    moments = [at for at in times.values() if at]
    agreed = [_answer(True, max(moments))] if moments else []
    return [*agreed, Update(TRAITS, "ann", values, None, times)]


def _answer(agreed: bool, at: datetime, user: str = "ann") -> Update:
    refused_at = None if agreed else at.isoformat()
    return Update(CONSENT, user, {"consent": agreed, "source": "a test", "refused_at": refused_at}, at)


def _device(device: str, owner: str, at: datetime | None) -> list[Update]:
    message = Update(DEVICE, device, {"user_key": owner}, at)
    return [_answer(True, at, owner), message] if at else [message]


_DATED = _TIMES.filter(bool)
_BATCH = some.one_of(
    _statement(["title", "brand", "attributes.sku", "attributes.url"]).map(lambda values: [_item(values)]),
    _statement(["plan", "country"]).map(_traits),
    some.builds(lambda agreed, at: [_answer(agreed, at)], some.booleans(), _DATED),
    some.builds(_device, some.sampled_from(["phone", "laptop"]), some.sampled_from(["ann", "bob"]), _TIMES),
)


def _come_in(connection: Connection, number: int, stated: list[Update]) -> None:
    """Ingest updates as a file does: users with traits are introduced first."""
    batch = ledger.Batch(f"b{number}", "events", "test", f"{number}", "")
    ledger.open_batch(connection, batch)
    if any(update.kind == TRAITS for update in stated):
        connection.execute(text("INSERT INTO users VALUES ('ann', '{}', true, '', 'b') ON CONFLICT DO NOTHING"))
    apply.stage(connection, {(batch.batch_id, 0): stated})
    apply.apply(Lake("/no/such/lake"), connection, batch.batch_id)


@given(stated=some.lists(_BATCH, min_size=2, max_size=5), data=some.data())
def test_updates_have_the_same_result_in_any_order(
    database: str, stated: list[list[Update]], data: some.DataObject
) -> None:
    result = []
    for order in (stated, data.draw(some.permutations(stated))):
        with engine(database).connect() as connection:  # nothing is committed
            for number, batch in enumerate(order):
                _come_in(connection, number, batch)
            result.append(known(connection))
    assert result[0] == result[1]


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

"""Calls of Segment's libraries become events of the lake, by the rules of Segment's files."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.installation import current
from models.columns import LEDGER
from models.primitives.json_types import JsonObject
from serving.queries.status import status
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.undo.undo_batches import undo_batches
from tests.tasks.ingest.inbox.api import Api

YES = {"consent": {"categoryPreferences": {"Personalization": True}}}
NO = {"consent": {"categoryPreferences": {"Personalization": False}}}
NUMBERS = itertools.count()
STATES = """
    SELECT item_id, title, available_from IS NOT DISTINCT FROM 'infinity'::timestamptz FROM items
    WHERE item_id IN ('cup', 'new') ORDER BY item_id"""


def call(kind: str = "track", user: str | None = "ann", **stated: Any) -> JsonObject:
    made = {"type": kind, "messageId": f"c{next(NUMBERS)}", "userId": user, "context": YES, **stated}
    return {name: value for name, value in made.items() if value is not None}


def click(item: str = "cup", user: str | None = "ann", **stated: Any) -> JsonObject:
    return call("track", user, event="Product Clicked", properties={"product_id": item}, **stated)


def profile(api: Api, name: str) -> list[str]:
    keys = [api.key(name), api.device(name)]
    rows = api.rows("SELECT items FROM session_profiles WHERE subject = ANY(:keys)", keys=keys)
    return list(rows[0].items) if rows else []


def test_calls_become_events_of_their_source_with_pseudonyms_and_times_of_the_servers_clock(api: Api) -> None:
    products = [{"product_id": "cup", "price": 3, "quantity": 2}, {"product_id": "pan", "price": "9"}]
    order = call(event="Order Completed", properties={"order_id": "o1", "currency": "EUR", "products": products})
    forged = [{"product_id": item, "name": "Forged", "price": 0.01} for item in ("cup", "new")]
    viewed = [call(user="eve", event="Product Viewed", properties=one) for one in forged]
    huge = call(user="dan", event="Product Clicked", properties={"product_id": "pan", "price": 1e30})
    api.send(*api.calls(order, click(user=None, anonymousId="device"), huge, *viewed))
    now = datetime.now(UTC)
    slow, late = (now - timedelta(days=400)).isoformat(), click("pan", user="bob")
    api.send(*api.calls(late | {"timestamp": slow}, sent_at=slow, received_at=now))
    (batch,) = api.move()
    rows = {row["event_id"]: row for row in api.lake()}
    first, second = (rows[f"web:{order['messageId']}#{number}"] for number in (1, 2))
    assert (first["item_id"], first["quantity"], first["value"], first["user_key"]) == ("cup", 2, 6, api.key("ann"))
    assert (second["item_id"], second["value"], second["session_id"], second["source"]) == ("pan", 9, "o1", "web")
    assert [row["item_id"] for row in rows.values() if row["user_key"] == api.device("device")] == ["cup"]
    assert abs(rows[f"web:{late['messageId']}"]["occurred_at"] - now) < timedelta(seconds=1)
    assert batch.startswith("web-calls-")
    known = {tuple(row) for row in api.rows("SELECT user_id, user_key FROM identity.users")}
    assert known == {(name, api.key(name)) for name in ("ann", "bob", "dan", "eve")}
    assert api.rows("SELECT DISTINCT payload, user_key, session_key, outcome FROM event_inbox") == [
        ({}, None, None, "moved")
    ]
    assert api.rows("SELECT consent FROM ingest_batches WHERE batch_id = :id", id=batch)[0].consent.startswith("opt-in")
    # Calls describe items that the catalogue lacks, and change none.
    described = api.rows("SELECT item_id, title, price FROM items WHERE item_id IN ('cup', 'new') ORDER BY item_id")
    assert [tuple(row) for row in described] == [("cup", "Cup", 3.0), ("new", "Forged", 0.01)]


def test_an_item_that_only_pages_have_named_is_stored_without_their_words_until_a_server_describes_it(api: Api) -> None:
    def named() -> dict[str, tuple[Any, ...]]:
        return {row[0]: tuple(row[1:]) for row in api.rows(STATES)}

    def viewed(**block: Any) -> JsonObject:
        return call(event="Product Viewed", properties={"product_id": "new", "name": "Forged", **block})

    api.send(*api.calls(viewed(), viewed(product_id="cup"), kind="page"))
    api.move()
    assert len(api.lake()) == 2  # the events count
    assert named() == {"new": (None, True), "cup": ("Cup", False)}
    api.send(*api.calls(viewed(name="Forged again"), kind="page"))
    api.move()
    assert named()["new"] == (None, True)
    assert status(api.here.engine)["unconfirmed"] == 1
    api.send(*api.calls(viewed(name="True"), kind="server"))
    (batch,) = api.move()
    assert named() == {"new": ("True", False), "cup": ("Cup", False)}
    undo_batches([batch], None, "ann", "test")
    assert named()["new"] == (None, True)
    api.send(api.item("new", title="By the API"))
    api.move()
    assert named()["new"] == ("By the API", False)
    assert status(api.here.engine)["unconfirmed"] == 0


def test_pages_confirm_no_item_also_where_unknown_items_are_accepted(api: Api, tmp_path: Path) -> None:
    (tmp_path / "open.toml").write_text('name = "web"\nkind = "segment"\nunknown_items = "accept"\n')
    settings = api.here.settings.model_copy(update={"collect_mapping": str(tmp_path / "open.toml")})
    api.here = replace(api.here, settings=settings)
    api.send(*api.calls(click("new"), kind="page"))
    api.move()
    assert api.rows(STATES)[-1] == ("new", None, True)
    api.send(*api.calls(click("new"), kind="server"))
    api.move()
    assert api.rows(STATES)[-1] == ("new", None, False)


def test_every_call_is_counted_once(api: Api) -> None:
    again = click(timestamp=datetime.now(UTC).isoformat())
    agent = {"userAgent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}
    api.send(
        *api.calls(
            again,
            click(user="guest"),
            click(item="null"),
            click(user="bob", context=NO),
            click(user="eve", context={}),
            click(context=YES | agent),
            call("page", name="Home"),
            call("shout"),
            5,
            click(timestamp="2999-01-01T00:00:00Z"),
            call(event="Product List Viewed", properties={"products": [{"product_id": "cup"}, {"product_id": "pan"}]}),
        )
    )
    assert api.send(*api.calls(again)) == ["duplicate"]
    assert api.send(*api.calls(again | {"event": "Product Added"})) == ["conflict"]
    api.move()
    counts = api.ledger()
    assert counts == {"read": 12, "accepted": 3, "quarantined": 6, "duplicate": 0, "suppressed": 2, "routed": 1}
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")
    rules = {rule for row in api.rows("SELECT rule_ids FROM quarantine") for rule in row.rule_ids}
    assert rules == {"user_id_placeholder", "item_id_placeholder", "robot", "unreadable", "time_in_future"}
    api.rows("DELETE FROM event_inbox")
    api.send(*api.calls(again))
    api.move()
    assert api.ledger()["duplicate"] == 1


def test_clicks_before_a_login_become_those_of_the_user(api: Api) -> None:
    api.send(*api.calls(click(user=None, anonymousId="device"), click("pan", user=None, anonymousId="device")))
    assert profile(api, "device") == ["cup", "pan"]
    api.send(*api.calls(call("identify", anonymousId="device"), click("pot", user=None, anonymousId="device")))
    assert (profile(api, "device"), profile(api, "ann")) == ([], ["cup", "pan", "pot"])
    api.send(*api.calls(call("alias", user="ann", previousId="ann")))  # a browser after a login
    assert profile(api, "ann") == ["cup", "pan", "pot"]
    api.send(*api.calls(call("alias", user="ann 2", previousId="ann")))
    assert (profile(api, "ann"), profile(api, "ann 2")) == ([], ["cup", "pan", "pot"])
    api.move()
    owners = api.rows("SELECT anonymous_key, user_key FROM aliases WHERE NOT claimed")
    earlier = {(key, api.key("ann 2")) for key in (api.key("ann"), api.device("ann"))}
    assert {tuple(row) for row in owners} == {(api.device("device"), api.key("ann")), *earlier}


def test_a_refusal_counts_at_once_and_later_and_no_old_agreement_undoes_it(api: Api) -> None:
    api.send(*api.calls(click()))
    assert profile(api, "ann") == ["cup"]
    api.send(*api.calls(call("identify", context=NO)), *api.calls(click("pan", context={})))
    assert profile(api, "ann") == []
    old = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    api.send(*api.calls(call("identify", user="bob", context=NO)))
    api.send(*api.calls(call("identify", user="bob", timestamp=old)))
    api.move()
    assert {row.consent for row in api.rows("SELECT consent FROM users")} == {False}
    assert api.ledger()["suppressed"] == 1


def test_for_an_event_without_an_answer_the_stored_one_of_its_user_or_device_counts(api: Api) -> None:
    api.send(*api.calls(call("identify", user=None, anonymousId="device")))
    api.send(*api.calls(call("identify", user="bob", context=NO)))
    api.send(*api.calls(click(user=None, anonymousId="device", context={})))
    assert profile(api, "device") == ["cup"]
    joined = call("identify", user="bob", anonymousId="device", context={})
    api.send(*api.calls(joined, click("pan", user="bob", anonymousId="device", context={})))
    api.move()
    assert (profile(api, "bob"), [row["item_id"] for row in api.lake()]) == ([], ["cup"])
    answers = {tuple(row) for row in api.rows("SELECT user_key, consent FROM users")}
    assert answers == {(api.device("device"), True), (api.key("bob"), False)}
    assert (api.ledger()["accepted"], api.ledger()["suppressed"]) == (1, 1)


def test_a_mapping_file_names_events_traits_and_the_consent(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = tmp_path / "pages.toml"
    mapping.write_text(
        'kind = "segment"\nconsent = "given"\nconsent_note = "our terms"\ntraits = ["plan"]\n'
        'unknown_items = "quarantine"\n[events]\n"Article Read" = "consume"\n'
    )
    monkeypatch.setenv("TAILORBIRD_COLLECT_MAPPING", str(mapping))
    current.cache_clear()
    api.here = current()
    read = call(event="Article Read", properties={"product_id": "a9"}, context=None)
    known = call("identify", traits={"plan": "pro", "email": "a@x.example"}, context=None)
    api.send(*api.calls(read, known))
    (batch,) = api.move()
    assert api.rows("SELECT attributes FROM users WHERE user_key = :key", key=api.key("ann"))[0].attributes == {
        "plan": "pro"
    }
    assert api.ledger()["quarantined"] == 1
    api.rows("INSERT INTO items (item_id, attributes, available, batch_id) VALUES ('a9', '{}', true, 'b1')")
    assert replay_quarantine.fn(batch)["accepted"] == 1
    assert [(row["event_type"], row["item_id"]) for row in api.lake()] == [("consume", "a9")]

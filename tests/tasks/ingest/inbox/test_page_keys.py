"""The key of a page speaks for its own visitor only, whatever is sent with it."""

import hmac
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, zip_longest
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.primitives.json_types import JsonObject
from serving.collector.collector import Signatures
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.lake.event_engine import event_engine
from tasks.lake.event_query import EventQuery, Waiting
from tasks.lake.reference_data import read_reference_data
from tasks.monitoring.audit.audit_lists import prior_purchases
from tasks.monitoring.drift.event_sample import open_event_reader
from tasks.monitoring.drift.reports import emit_waiting_orders
from tasks.reconciler import reconcile
from tests.examples import FEW
from tests.recording_server import RecordingServer
from tests.tasks.ingest.inbox.api import Api

YES = {"consent": {"categoryPreferences": {"Personalization": True}}}
NO = {"consent": {"categoryPreferences": {"Personalization": False}}}
SECRET = "0f" * 32
SIGNED = Signatures(SECRET, required=True)
CLAIMED = Signatures(SECRET)
NUMBERS = count()
SEQUENCES = 60
"""The sequences of an example, each about a victim of its own, which are moved together: 360 in 2 x 3 examples."""


def signature(user: str) -> str:
    return hmac.digest(SECRET.encode(), user.encode(), "sha256").hex()


def clicked(item: str = "cup", **who: Any) -> JsonObject:
    return {"type": "track", "event": "Product Clicked", "properties": {"product_id": item}, "context": YES, **who}


WHO = st.sampled_from(["victim", "evil", "device", None])
TIMES = st.sampled_from([None, "1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2026-11-29T10:00:00Z"])
CALLS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["identify", "alias", "track", "page", "group", "screen"]),
        "userId": WHO,
        "anonymousId": WHO,
        "previousId": WHO,
        "timestamp": TIMES,
        "sentAt": TIMES,
        "context": st.sampled_from([YES, NO, {}, YES | {"userHash": signature("evil")}]),
        "event": st.sampled_from(["Product Clicked", "Order Completed", "Order Refunded"]),
        "traits": st.just({"plan": "forged"}),
        "properties": st.sampled_from(
            [{"product_id": "pan"}, {"order_id": "o-1", "products": [{"product_id": "pan"}]}]
        ),
    }
)
SEQUENCE = st.lists(CALLS, min_size=1, max_size=4)


def named(call: JsonObject, victim: str) -> JsonObject:
    people = {"victim": victim, "device": f"device of {victim}"}
    ids = ("userId", "anonymousId", "previousId")
    order = {"order_id": f"order of {victim}"} if "order_id" in call["properties"] else {}
    stated = call | {part: people.get(call[part], call[part]) for part in ids}
    return stated | {"properties": call["properties"] | order}


def past_of(name: str) -> list[JsonObject]:
    """The calls of somebody with an agreement, a trait, a device, clicks and a purchase."""
    order = {"order_id": f"order of {name}", "products": [{"product_id": "cup", "price": 3}]}
    agreed = {"type": "identify", "userId": name, "anonymousId": f"{name}'s browser", "context": YES}
    bought = clicked(userId=name) | {"event": "Order Completed", "properties": order}
    return [agreed | {"traits": {"plan": "pro"}}, bought, clicked(userId=name)]


def state_of(api: Api, names: Sequence[str], *, claims: bool) -> dict[str, list[Any]]:
    """What is stored of users, by table; with `claims` also what pages state of them."""
    only = "true" if claims else "NOT claimed"
    statements = {
        "users": "SELECT user_key, attributes, consent, consent_at, refused_at FROM users WHERE user_key = ANY(:keys)",
        "identity": "SELECT user_key, user_id FROM identity.users WHERE user_key = ANY(:keys)",
        "aliases": "SELECT anonymous_key, user_key, occurred_at FROM aliases "
        f"WHERE (anonymous_key = ANY(:keys) OR user_key = ANY(:keys)) AND {only}",
        "profiles": f"SELECT subject, items, occurred_at FROM session_profiles WHERE subject = ANY(:keys) AND {only}",
        "history": "SELECT user_key, name, value FROM user_history WHERE user_key = ANY(:keys)",
        "hidden": "SELECT user_key, value FROM exclusions WHERE user_key = ANY(:keys)",
    }
    keys = sorted(map(api.key, names))
    found: dict[str, list[Any]] = {
        table: api.rows(f"{statement} ORDER BY 1, 2", keys=keys) for table, statement in statements.items()
    }
    owned = read_reference_data(api.here, history=False).aliases.to_pylist()
    return found | {"owners": [row["known"] for row in owned if row["device"] in keys]}


def lake_of(api: Api, names: Sequence[str], *, claims: bool) -> list[tuple[Any, ...]]:
    keys, shown = set(map(api.key, names)), ("user_key", "event_id", "item_id", "occurred_at", "consent")
    own = [row for row in api.lake() if row["user_key"] in keys and (claims or row["authority"] != "claim")]
    return [tuple(row[name] for name in shown) for row in own]


def counted_of(api: Api, rows: Sequence[tuple[Any, ...]]) -> set[str]:
    """Which of these events data sets and lists take: those that are not refunded."""
    with event_engine(api.here) as engine:
        assert engine is not None
        engine.match_refunds()
        kept = {event for (event,) in engine.query(EventQuery().not_refunded().select("event.event_id")).fetchall()}
    return kept & {event for _, event, *_ in rows}


@pytest.mark.parametrize("signatures", [SIGNED, CLAIMED], ids=["signed", "claimed"])
@FEW
@given(sequences=st.lists(SEQUENCE, min_size=SEQUENCES, max_size=SEQUENCES))
def test_nothing_that_a_page_sends_moves_changes_or_deletes_what_is_another_users(
    api: Api, signatures: Signatures, sequences: list[list[JsonObject]]
) -> None:
    example, claims = next(NUMBERS), signatures.required
    names = [f"victim {example} {number}" for number in range(len(sequences))]
    api.send(*api.calls(*(call for name in names for call in past_of(name))))
    api.move()
    before, rows = state_of(api, names, claims=claims), lake_of(api, names, claims=claims)
    for step in zip_longest(*sequences):
        made = [
            message
            for name, call in zip(names, step, strict=True)
            if call is not None
            for message in api.calls(named(call, name), sent_at=call["sentAt"], kind="page", signatures=signatures)
        ]
        api.send(*made)
    assert state_of(api, names, claims=claims) == before
    counted = counted_of(api, rows)
    api.move()
    assert state_of(api, names, claims=claims) == before
    assert lake_of(api, names, claims=claims) == rows
    assert counted_of(api, rows) == counted == {event for _, event, *_ in rows}


def profiles(api: Api, *subjects: str) -> list[tuple[bool, list[str]]]:
    rows = api.rows(
        "SELECT claimed, items FROM session_profiles WHERE subject = ANY(:keys) ORDER BY 1", keys=[*subjects]
    )
    return [(row.claimed, list(row._mapping["items"])) for row in rows]


def identify(user: str, device: str, **more: Any) -> JsonObject:
    return {"type": "identify", "userId": user, "anonymousId": device, "context": YES, **more}


def by_page(api: Api, *calls: JsonObject, signatures: Signatures = CLAIMED) -> None:
    api.send(*api.calls(*calls, kind="page", signatures=signatures))


def test_a_user_is_no_device_of_another_one_and_no_session_reads_their_clicks(api: Api) -> None:
    api.send(*api.calls(clicked(userId="17")))
    by_page(api, identify("evil", "17"), {"type": "alias", "userId": "evil", "previousId": "17", "context": YES})
    api.move()
    assert profiles(api, api.key("17")) == [(False, ["cup"])]
    assert profiles(api, api.key("evil"), api.device("17")) == []
    assert read_reference_data(api.here).aliases.to_pylist() == [{"device": api.device("17"), "known": api.key("evil")}]


def test_a_device_keeps_the_first_user_that_a_page_names_and_a_signature_outranks_a_claim(api: Api) -> None:
    old = {"timestamp": "2001-01-01T00:00:00Z"}
    by_page(api, clicked(anonymousId="phone"), identify("ann", "phone"))
    by_page(api, identify("evil", "phone", **old), identify("evil", "phone", timestamp="2999-01-01T00:00:00Z"))
    assert profiles(api, api.key("ann")) == [(True, ["cup"])]
    by_page(api, clicked("pan", anonymousId="phone"))
    bob = identify("bob", "phone", context=YES | {"userHash": signature("bob")})
    by_page(api, bob)
    by_page(api, identify("ann", "phone"), identify("eve", "phone", context=YES | {"userHash": signature("eve")}))
    assert profiles(api, api.key("bob")) == [(False, ["pan"])]
    assert profiles(api, api.key("evil"), api.key("eve")) == []
    for _ in range(2):  # at the receipt and after the move
        owners = {row["device"]: row["known"] for row in read_reference_data(api.here).aliases.to_pylist()}
        assert owners == {api.device("phone"): api.key("bob")}
        api.move()
    api.send(*api.calls(identify("cid", "phone")))  # of a server, by time
    api.move()
    owners = {row["device"]: row["known"] for row in read_reference_data(api.here).aliases.to_pylist()}
    assert owners == {api.device("phone"): api.key("cid")}


def test_a_claim_is_marked_and_states_neither_consent_nor_traits_of_its_user(api: Api) -> None:
    by_page(api, identify("ann", "phone", traits={"plan": "pro"}), clicked(userId="ann", anonymousId="phone"))
    by_page(api, clicked(anonymousId="tablet"))
    signed = YES | {"userHash": signature("bob")}
    by_page(api, clicked(userId="bob") | {"context": signed}, clicked(userId="cid") | {"context": signed})
    api.move()
    authority = {row["user_key"]: row["authority"] for row in api.lake()}
    claims = {api.key(name): "claim" for name in ("ann", "cid")}
    assert authority == claims | {api.device("tablet"): "page", api.key("bob"): "signed"}
    refusal = identify("ann", "phone") | {"context": NO}
    by_page(api, refusal, identify("bob", "laptop") | {"context": NO | {"userHash": signature("bob")}})
    answers = dict(tuple(row) for row in api.rows("SELECT user_key, consent FROM users"))
    assert answers == {api.device("tablet"): True, api.device("phone"): False, api.key("bob"): False}
    assert known_ids(api) == {"bob"}, "a claim is no agreement"
    assert "userHash" not in str(api.rows("SELECT payload FROM event_inbox"))


def test_a_claim_agrees_for_nobody_who_refused(api: Api) -> None:
    api.send(*api.calls(identify("ann", "phone") | {"context": NO}))
    by_page(api, clicked(userId="ann"), identify("ann", "tablet"))
    api.move()
    assert [row for row in api.lake() if row["user_key"] == api.key("ann")] == []
    assert [row.consent for row in api.rows("SELECT consent FROM users WHERE user_key = :key", key=api.key("ann"))] == [
        False
    ]
    assert profiles(api, api.key("ann")) == []


def test_an_event_stored_under_the_earlier_key_of_its_device_is_a_duplicate(api: Api) -> None:
    at = "2026-11-29T10:00:00Z"
    calls = [
        clicked(anonymousId="phone", messageId="m-1", timestamp=at),
        clicked(userId="ann", messageId="m-2", timestamp=at),
    ]
    earlier = [replace(message, session_key=message.earlier_key, earlier_key=None) for message in api.calls(*calls)]
    api.send(*earlier)
    api.move()
    assert {row["user_key"] for row in api.lake()} == {api.key("phone"), api.key("ann")}
    api.rows("UPDATE event_inbox SET digest = NULL")  # as the migration does
    assert set(api.send(*api.calls(*calls))) == {"duplicate"}
    api.rows("DELETE FROM event_inbox")
    api.send(*api.calls(*calls))
    other = calls[0] | {"properties": {"product_id": "pan"}}
    api.move()
    assert (api.ledger()["duplicate"], api.ledger()["quarantined"]) == (2, 0)
    api.rows("DELETE FROM event_inbox")
    api.send(*api.calls(other))
    api.move()
    assert api.ledger()["quarantined"] == 1


def known_ids(api: Api) -> set[str]:
    return {row.user_id for row in api.rows("SELECT user_id FROM identity.users")}


def forgotten(api: Api) -> set[str]:
    """The raw ids that are left by the next day."""
    reconcile._DAILY.reset("raw ids")
    reconcile.delete_unneeded_ids(api.here)
    return known_ids(api)


def test_the_raw_id_of_somebody_who_never_agreed_is_stored_nowhere(api: Api) -> None:
    unanswered = clicked(userId="ann") | {"context": {}}
    api.send(*api.calls(unanswered), api.act("bob", "cup"), api.user("cid", age="30"))
    assert known_ids(api) == set()
    api.send(*api.calls(identify("ann", "phone")), api.act("bob", "cup", consent=True))
    assert known_ids(api) == {"ann", "bob"}
    api.send(api.act("bob", "pan"))
    api.rows("INSERT INTO identity.users VALUES ('k', 'earlier', 1)")
    api.send(*api.calls(identify("ann", "phone") | {"context": NO}))
    assert forgotten(api) == {"ann", "bob"}, "their messages wait"
    api.move()
    assert forgotten(api) == {"bob"}


def test_a_jump_of_fresh_buyers_is_held_back_and_an_alert(api: Api) -> None:
    order = {"event": "Order Completed", "properties": {"order_id": "o", "products": [{"product_id": "cup"}]}}
    by_page(api, *(clicked(anonymousId=f"device {number}") | order for number in range(40)))
    api.move()
    with RecordingServer() as server, open_event_reader(api.here) as reader:
        waiting = reader.waiting_orders(0)
        emit_waiting_orders(server.installed(api.here), waiting)
        (event,) = server.events()
    assert waiting == [Waiting("cup", "web", 37)]
    assert event["event"] == "tailorbird.orders.unconfirmed"
    assert "37 purchases of item cup by fresh visitors of the key web" in event["payload"]["reason"]
    ids = np.array(["cup", "pan"])
    known = read_reference_data(api.here)
    assert prior_purchases(api.here, known, np.array([""]), ids, 1e11)[0].tolist() == [3, 0]


def test_a_replay_from_quarantine_leaves_a_claim_a_claim(api: Api) -> None:
    api.send(*api.calls(identify("ann", "phone")))
    by_page(api, clicked(userId="ann", messageId="m-1"), clicked("null", userId="ann", messageId="m-2"))
    batch = next(one for one in api.move() if "calls" in one)
    waiting = api.rows("SELECT payload ->> 'authority' AS authority FROM quarantine")
    assert [row.authority for row in waiting] == ["claim"]
    api.rows("""UPDATE quarantine SET payload = payload || '{"item_id": "pan"}'""")
    replay_quarantine.fn(batch)
    assert {row["item_id"]: row["authority"] for row in api.lake()} == {"cup": "claim", "pan": "claim"}

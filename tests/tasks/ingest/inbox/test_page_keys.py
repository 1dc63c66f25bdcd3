"""The key of a page speaks for its own visitor only, whatever is sent with it."""

import hmac
from collections.abc import Sequence
from itertools import count, zip_longest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.primitives.json_types import JsonObject
from serving.collector.collector import Signatures
from tasks.lake.reference_data import read_reference_data
from tests.tasks.ingest.inbox.api import Api

YES = {"consent": {"categoryPreferences": {"Personalization": True}}}
NO = {"consent": {"categoryPreferences": {"Personalization": False}}}
SECRET = "0f" * 32
SIGNED = Signatures(SECRET, required=True)
CLAIMED = Signatures(SECRET)
NUMBERS = count()
SEQUENCES = 40
"""The sequences of an example, each about a victim of its own, which are moved together: 2,000 in 2 x 25 examples."""


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
    return call | {part: people.get(call[part], call[part]) for part in ids}


def past_of(name: str) -> list[JsonObject]:
    """The calls of somebody with an agreement, a trait, a device, clicks and a purchase."""
    order = {"order_id": "o-1", "products": [{"product_id": "cup", "price": 3}]}
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


@pytest.mark.parametrize("signatures", [SIGNED, CLAIMED], ids=["signed", "claimed"])
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
    api.move()
    assert state_of(api, names, claims=claims) == before
    assert lake_of(api, names, claims=claims) == rows

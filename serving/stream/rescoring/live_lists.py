"""Stores lists that were scored again, and makes the messages about them."""

from collections.abc import Sequence
from typing import Final

import asyncpg
import orjson

from serving.events.clock import CLOCK
from serving.stream.rescoring.list_scorer import LiveList
from serving.stream.rescoring.updates import EVENT, Update

_KEEP: Final = "SELECT placement, user_key, user_id FROM keep_live_lists($1::jsonb)"


async def keep(pool: asyncpg.Pool, lists: Sequence[LiveList]) -> list[Update]:
    """Store lists, unless stored ones follow a newer event; returns a message for each that was stored.

    There is none for a user who no longer consents, or whose own id is not known.
    """
    if not lists:
        return []
    rows = await pool.fetch(_KEEP, orjson.dumps([_stored(one) for one in lists]).decode())
    ids = {(row["placement"], row["user_key"]): row["user_id"] for row in rows}
    names = ((one, ids.get((one.answer.placement, one.request.user_key))) for one in lists if one.counts)
    return [_update(one, user_id) for one, user_id in names if user_id is not None]


def _stored(one: LiveList) -> dict[str, object]:
    items = one.answer.items
    return {
        "placement": one.answer.placement,
        "user_key": one.request.user_key,
        "batch_id": one.batch_id,
        "model_version": one.answer.model_version,
        "rules_version": one.rules_version,
        "items": [item.item_id for item in items],
        "scores": [item.score for item in items],
        "reasons": [item.reason for item in items],
        "occurred_at": one.request.occurred_at,
        "expires_at": one.expires_at,
    }


def _update(one: LiveList, user_id: str) -> Update:
    stated = {
        "event": EVENT,
        "user_id": user_id,
        "placement": one.answer.placement,
        "model_version": one.answer.model_version,
        "occurred_at": one.request.occurred_at,
        "scored_at": CLOCK.now(),
        "items": orjson.Fragment(one.answer.items_json),
    }
    return Update(user_id, one.answer.placement, orjson.dumps(stated))

"""Recommends items that go well with a product or a whole basket, for any visitor or for one user."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from infra.bundles.promoted import load_for_users
from infra.configuration.settings import load
from infra.overview.situation import require_champion
from models.columns import VARIANT_IDS
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from models.primitives.vocabulary import index_of
from models.recommenders.item_based.bought_together import fit_of_lists, for_user
from serving.queries.user_recommendations import refusal, require_user_key

PLACEMENT: Final = "goes-well-with"
_SHOWN: Final = ("item_id", "title", "price", "currency", "url", "image")

_NAMED: Final = text(f"""
    SELECT variant, min(item_id) FROM items, unnest(string_to_array(attributes ->> '{VARIANT_IDS}', chr(10))) AS variant
    WHERE variant = ANY (:ids) GROUP BY variant HAVING count(DISTINCT item_id) = 1
    UNION ALL SELECT item_id, item_id FROM items WHERE item_id = ANY (:ids)
""")
_TOGETHER: Final = text(
    "SELECT for_item_id, item_id, title, price, currency, url, image, score FROM current_item_recommendations "
    "WHERE placement = :placement AND for_item_id = ANY (:items) AND NOT item_id = ANY (:items) ORDER BY item_id"
)


class UnknownProductError(TailorbirdError):
    """No catalogue names a product."""


def items_named(connection: Connection, ids: list[str]) -> dict[str, str]:
    """Return the item that each id names, itself or as one of its variants. Unknown ids are left out."""
    named: dict[str, str] = {}
    for one, item in connection.execute(_NAMED, {"ids": ids}):
        named[one] = one if item == one else named.get(one, item)
    return named


def basket_recommendations(
    engine: Engine, items: list[str], user_id: str | None = None, k: int = 10
) -> list[JsonObject]:
    """Return the `k` items that go best with all of `items`, best first, by the published lists of these items.

    A `fit` of 0 is no better than chance, and below 0 it is weaker evidence than baskets. For a user who consented,
    they are ranked again by the user's preferences.
    Raises UnknownProductError, UnknownUserError for a user id, and NoChampionError.
    """
    with engine.connect() as connection:
        named = items_named(connection, items)
        if missing := [item for item in items if item not in named]:
            raise UnknownProductError(
                f"No catalogue names {', '.join(missing)}. Check the ids, or ingest the catalogue."
            )
        items = list(dict.fromkeys(named[item] for item in items))
        rows = connection.execute(_TOGETHER, {"placement": PLACEMENT, "items": items}).mappings().all()
        key = None if user_id is None else require_user_key(connection, user_id)
        if key is not None and refusal(connection, key, PLACEMENT):
            key = None
    by_id = {row["item_id"]: row for row in rows}
    lists: dict[str, dict[str, float]] = {item: {} for item in items}
    for row in rows:
        lists[row["for_item_id"]][row["item_id"]] = row["score"]
    names, fit = fit_of_lists(list(lists.values()))
    order = np.argsort(-fit, kind="stable") if key is None else for_user(fit, _preferences(engine, key, names))
    return [
        {"rank": rank, **{name: by_id[str(names[at])][name] for name in _SHOWN}, "fit": round(float(fit[at]), 4)}
        for rank, at in enumerate(order[:k].tolist(), 1)
    ]


def _preferences(engine: Engine, key: str, names: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the champion's scores of these items for the user; -inf for items that it does not know."""
    model = load_for_users(engine, require_champion(engine, load())).model
    scores = model.scores(index_of(model.users, np.array([key], dtype=np.str_)))[0]
    at = index_of(model.items, names)
    return np.where(at >= 0, scores[np.maximum(at, 0)], np.float32(-np.inf))

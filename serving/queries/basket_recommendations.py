"""What goes well with a product or a whole basket, for anybody or for one user."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, text

from infra.bundles.promoted import load_for_users
from models.errors import TailorbirdError
from models.primitives.vocabulary import index_of
from models.recommenders.item_based.bought_together import for_user, with_basket
from serving.queries.champion_bundle import champion
from serving.queries.user_recommendations import require_user_key

PLACEMENT: Final = "goes-well-with"

_KNOWN: Final = text("SELECT item_id FROM items WHERE item_id = ANY (:items)")
_TOGETHER: Final = text(
    "SELECT for_item_id, item_id, title, price, currency, url, image, score FROM current_item_recommendations "
    "WHERE placement = :placement AND for_item_id = ANY (:items) AND NOT item_id = ANY (:items) ORDER BY item_id"
)


_AGREED: Final = text(
    "SELECT FROM users WHERE user_key = :key AND consent "
    "AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = :key)"
)


class UnknownProductError(TailorbirdError):
    """A product that no catalogue names."""


def basket_recommendations(
    engine: Engine, items: list[str], user_id: str | None = None, k: int = 10, placement: str = PLACEMENT
) -> list[dict[str, Any]]:
    """The `k` items that go best with all of `items`, from their published lists, best first; re-ranked for a user who
    agreed to that.

    Raises UnknownProductError, UnknownUserError for a user id, and NoChampionError.
    """
    with engine.connect() as connection:
        known = set(connection.execute(_KNOWN, {"items": items}).scalars())
        if missing := [item for item in items if item not in known]:
            raise UnknownProductError(
                f"No catalogue names {', '.join(missing)}. Check the ids, or ingest the catalogue."
            )
        rows = connection.execute(_TOGETHER, {"placement": placement, "items": items}).mappings().all()
        key = _agreed(connection, user_id) if user_id is not None else None
    found = {row["item_id"]: row for row in rows}
    names = np.array(sorted(found), dtype=np.str_)
    lifts = np.ones((len(items), len(names)), dtype=np.float32)
    for row in rows:
        lifts[items.index(row["for_item_id"]), np.searchsorted(names, row["item_id"])] = row["score"]
    fit = with_basket(lifts)
    order = np.argsort(-fit, kind="stable") if key is None else for_user(fit, _liked(engine, key, names))
    shown = []
    for rank, at in enumerate(order[:k].tolist(), 1):
        item = found[str(names[at])]
        said = {name: item[name] for name in ("item_id", "title", "price", "currency", "url", "image")}
        shown.append({"rank": rank, **said, "fit": round(float(fit[at]), 4)})
    return shown


def _agreed(connection: Connection, user_id: str) -> str | None:
    """The user's pseudonym; None without consent, or when the user has left."""
    key = require_user_key(connection, user_id)
    return key if connection.execute(_AGREED, {"key": key}).first() is not None else None


def _liked(engine: Engine, key: str, names: NDArray[np.str_]) -> NDArray[np.float32]:
    """What the champion thinks of these items for the user; -inf where it has nothing to say."""
    model = load_for_users(engine, champion(engine)).model
    scores = model.scores(index_of(model.users, np.array([key], dtype=np.str_)))[0]
    at = index_of(model.items, names)
    return np.where(at >= 0, scores[np.maximum(at, 0)], np.float32(-np.inf))

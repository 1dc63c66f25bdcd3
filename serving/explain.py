"""Why an item stands where it does on a user's list, or which rule keeps it away."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, select

from infra.placements import configured
from infra.promoted_bundles import load_named
from infra.schema import exclusions, items, placements, promotions, recommendation_batches, suppressions, users
from infra.settings import load
from models.errors import TailorbirdError
from models.placement import Placement
from models.recommender import Explains, Recommender
from models.shelf_catalogue import Catalogue
from models.training_data import index_of
from serving.shelf import known_key, shelf


class UnknownItemError(TailorbirdError):
    """An item id that no catalogue names."""


class NothingPublishedError(TailorbirdError):
    """A placement without lists."""


@dataclass(frozen=True)
class _Asked:
    """A user and an item that exist, and the model behind the lists that are live."""

    key: str
    agreed: bool
    title: str | None
    available: bool
    on_sale: list[str]
    """All items that can be recommended, sorted."""
    ruled_out: str | None
    """The rule of the placement that keeps the item from the user, as far as the item alone tells."""
    model: Recommender
    version: int


def explain(engine: Engine, user_id: str, item_id: str, placement: str = "home") -> dict[str, Any]:
    """The place, score and reason of an item on a user's live list, or `why` it is not there.

    `contributions` are what each feature adds to the log-odds, the strongest first, where the model can tell. Raises
    UnknownUserError, UnknownItemError or NothingPublishedError.
    """
    asked = _asked(engine, user_id, item_id, placement)
    rows = shelf(engine, user_id, placement)
    listed = next((row for row in rows if row["item_id"] == item_id), None)
    said = {"user": user_id, "item": item_id, "title": asked.title, "model_version": asked.version}
    told = {name: listed[name] for name in ("rank", "score", "reason")} if listed else {}
    why = f"Place {told['rank']} of {len(rows)}." if listed else _absence(asked, item_id, len(rows))
    return said | told | {"why": why, "contributions": _contributions(asked, item_id)}


def _asked(engine: Engine, user_id: str, item_id: str, placement: str) -> _Asked:
    batch = select(placements.c.batch_id).where(placements.c.placement == placement).scalar_subquery()
    version = select(recommendation_batches.c.model_version).where(recommendation_batches.c.batch_id == batch)
    behind = select(promotions).where(promotions.c.model_version == version.scalar_subquery())
    with engine.connect() as connection:
        key = known_key(connection, user_id)
        item = connection.execute(select(items).where(items.c.item_id == item_id)).mappings().first()
        if item is None:
            raise UnknownItemError(f"No catalogue names an item {item_id!r}. Check the id, or ingest the catalogue.")
        promoted = connection.execute(behind.order_by(promotions.c.promotion_id.desc()).limit(1)).mappings().first()
        if promoted is None:
            raise NothingPublishedError(f"Nothing is published in {placement!r}: run `tailorbird score` first.")
        about = select(recommendation_batches.c.about).where(recommendation_batches.c.batch_id == batch)
        if connection.execute(about).scalar() != "user":
            raise NothingPublishedError(f"The lists of {placement!r} are about items; no user has one.")
        gone = select(suppressions.c.user_key)
        agreed = select(users.c.user_key).where(users.c.user_key == key, users.c.consent, users.c.user_key.not_in(gone))
        may = connection.execute(agreed).first() is not None
        on_sale = connection.execute(select(items.c.item_id).where(items.c.available)).scalars().all()
        ruled_out = _rule(connection, key, dict(item), placement)
    model = load_named(engine, dict(promoted)).model
    return _Asked(
        key, may, item["title"], item["available"], sorted(on_sale), ruled_out, model, promoted["model_version"]
    )


def _rule(connection: Connection, key: str, item: Mapping[str, Any], placement: str) -> str | None:
    """What `include`, `exclude` or the user's own exclusions say of an item."""
    rules = configured(load()).get(placement, Placement()).rules
    one = _alone(item)
    if not one.allowed(rules)[0]:
        return f"The rules of {placement!r} leave the item out: see `include` and `exclude`."
    said = select(exclusions.c.kind, exclusions.c.value).where(exclusions.c.user_key == key)
    for kind, value in connection.execute(said):
        if one.below(value)[0] if kind == "category" else value == item["item_id" if kind == "item" else kind]:
            return f"The user is never shown the {kind} {value!r}."
    return None


def _alone(item: Mapping[str, Any]) -> Catalogue:
    """A catalogue of one item, which is available."""
    item_id, category, brand = (
        np.array([item[name] or ""], dtype=np.str_) for name in ("item_id", "category", "brand")
    )
    price = np.array([np.nan if item["price"] is None else item["price"]], dtype=np.float64)
    return Catalogue(item_id, category, brand, price, np.array([np.nan]), np.array([True]))


def _absence(asked: _Asked, item_id: str, length: int) -> str:
    """The first rule that keeps the item off the list."""
    user, item = _positions(asked, item_id)
    if not asked.agreed:
        return "No list is made for this user: there is no consent, or the user was erased."
    if not asked.available:
        return "The item is not available."
    if asked.ruled_out:
        return asked.ruled_out
    if not length:
        return "The user's list is not published yet: run `tailorbird score`."
    if item < 0:
        return "The model does not know the item: no purchase of it was kept when the model learned."
    if user < 0:
        return "The model has not learned from the user: clicks or traits make the list, or what is popular."
    scores = asked.model.scores(np.array([user], dtype=np.int32))[0]
    if not np.isfinite(scores[item]):
        return "The model has nothing to say about the item for this user: it is not among the candidates."
    allowed = index_of(np.array(asked.on_sale, dtype=np.str_), asked.model.items) >= 0
    better = (scores > scores[item]) | ((scores == scores[item]) & (np.arange(len(scores)) < item))
    place = int((better & allowed).sum()) + 1
    if place <= length:
        return f"By its score alone it would stand at place {place}: what the user did lately, or a cap, keeps it off."
    return f"It would stand at place {place:,}, and the list has {length}."


def _positions(asked: _Asked, item_id: str) -> tuple[int, int]:
    """Of the user and the item in the model; -1 where it does not know them."""
    named = ((asked.model.users, asked.key), (asked.model.items, item_id))
    user, item = (int(index_of(names, np.array([name], dtype=np.str_))[0]) for names, name in named)
    return user, item


def _contributions(asked: _Asked, item_id: str) -> dict[str, float]:
    user, item = _positions(asked, item_id)
    if min(user, item) < 0 or not asked.agreed or not isinstance(asked.model, Explains):
        return {}
    return asked.model.contributions(user, item)

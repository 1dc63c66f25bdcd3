"""Why an item stands where it does on a user's list, or which rule keeps it away."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, select

from infra.bundles.promoted import load_for_users
from infra.configuration.placements import configured
from infra.configuration.settings import load
from infra.database.clock import database_now
from infra.database.schema.offers import sold_now, why_not_sold
from infra.database.schema.schema import (
    exclusions,
    items,
    placements,
    promotions,
    recommendation_batches,
    suppressions,
    users,
)
from models.datasets.training_data import position_of
from models.errors import TailorbirdError
from models.lists.absence import Order, reason_of
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.placement_config import Placement
from models.primitives.vocabulary import index_of
from models.recommenders.protocols import Explains, Recommender
from serving.queries.missing_lists import NoListsError as NoListsError
from serving.queries.missing_lists import require_published
from serving.queries.user_recommendations import require_user_key, user_list
from serving.terminal.absence import Case, Lookups, absence_words, listed_words

_SAME_SCORE: Final = 1e-3
"""Relative difference up to which a published score is the model's own."""


class UnknownItemError(TailorbirdError):
    """An item id that no catalogue names."""


@dataclass(frozen=True)
class _Question:
    """A user and an item that exist, the rules, and the model behind the lists that are live."""

    key: str
    agreed: bool
    item: str
    title: str | None
    unsold: str | None
    """Why the item cannot be bought now."""
    excluded: str | None
    """What the user never wants to see and the item is."""
    name: str
    """Of the placement."""
    placement: Placement
    catalogue: ItemAttributes
    rules: CompiledRules
    model: Recommender
    fallback: NDArray[np.float32]
    version: int

    @property
    def positions(self) -> tuple[int, int]:
        """The user and the item in the model; -1 for what it does not know."""
        return position_of(self.model.users, self.key), position_of(self.model.items, self.item)


def explain(
    engine: Engine,
    user_id: str,
    item_id: str,
    placement: str = "home",
    lookups: Callable[[], Lookups | None] | None = None,
) -> dict[str, Any]:
    """Return the place, score and reason of an item on a user's live list, or `why` it is not there.

    `contributions` are what each part adds to the score, in the unit `adds_to`, the strongest first; empty for models
    whose score has no parts. `lookups`
    reads what the user did, which is asked only if nothing else keeps the item off. Raises PlacementError,
    NoListsError, UnknownUserError or UnknownItemError.
    """
    require_published(engine, load(), placement)
    asked = _question(engine, user_id, item_id, placement)
    rows = user_list(engine, user_id, placement)
    found = next((row for row in rows if row["item_id"] == item_id), None)
    said = {"user": user_id, "item": item_id, "title": asked.title, "model_version": asked.version}
    if found is not None:
        said |= {name: found[name] for name in ("rank", "score", "reason")}
        # Ranks are those of the list as it was published, as in the views: pins and promoted places go by them.
        why = listed_words(found["rank"], rows[-1]["rank"], asked.positions[1], asked.rules)
    else:
        why = _absence(asked, rows, lookups)
    parts = {"contributions": _contributions(asked), "adds_to": getattr(asked.model, "adds_to", None)}
    return said | {"why": why, "model": asked.model.kind} | parts


def _question(engine: Engine, user_id: str, item_id: str, placement: str) -> _Question:
    batch = select(placements.c.batch_id).where(placements.c.placement == placement).scalar_subquery()
    version = select(recommendation_batches.c.model_version).where(recommendation_batches.c.batch_id == batch)
    behind = select(promotions).where(promotions.c.model_version == version.scalar_subquery())
    length = select(recommendation_batches.c.k).where(recommendation_batches.c.batch_id == batch)
    with engine.connect() as connection:
        key = require_user_key(connection, user_id)
        item = connection.execute(select(items).where(items.c.item_id == item_id)).mappings().first()
        if item is None:
            raise UnknownItemError(f"No catalogue names an item {item_id!r}. Check the id, or ingest the catalogue.")
        promoted = connection.execute(behind.order_by(promotions.c.promotion_id.desc()).limit(1)).mappings().one()
        k = connection.execute(length).scalar_one()
        gone = select(suppressions.c.user_key)
        agreed = select(users.c.user_key).where(users.c.user_key == key, users.c.consent, users.c.user_key.not_in(gone))
        may = connection.execute(agreed).first() is not None
        excluded = _excluded(connection, key, dict(item))
        unsold = why_not_sold(dict(item), database_now(connection))
        bundle = load_for_users(engine, dict(promoted))
        catalogue = _catalogue(connection, bundle.model.items)
    chosen = configured(load()).get(placement, Placement()).model_copy(update={"k": k})
    return _Question(
        key=key,
        agreed=may,
        item=item_id,
        title=item["title"],
        unsold=unsold,
        excluded=excluded,
        name=placement,
        placement=chosen,
        catalogue=catalogue,
        rules=CompiledRules.of(chosen, catalogue),
        model=bundle.model,
        fallback=bundle.fallback,
        version=promoted["model_version"],
    )


def _catalogue(connection: Connection, known: NDArray[np.str_]) -> ItemAttributes:
    """Return the catalogue of the model's items; what only the events tell is left unknown."""
    names = (items.c.item_id, items.c.category, items.c.brand, items.c.price, sold_now().label("available"))
    rows = {row.item_id: row for row in connection.execute(select(*names))}
    found = [rows.get(item) for item in known.tolist()]
    return ItemAttributes(
        items=known,
        category=np.array([(row and row.category) or "" for row in found], dtype=np.str_),
        brand=np.array([(row and row.brand) or "" for row in found], dtype=np.str_),
        price=np.array([np.nan if row is None or row.price is None else row.price for row in found], dtype=np.float64),
        age_days=np.full(len(known), np.nan),
        available=np.array([row is not None and row.available for row in found], dtype=bool),
    )


def _excluded(connection: Connection, key: str, item: Mapping[str, Any]) -> str | None:
    """Return what the user never wants to see and the item is."""
    alone = _alone(item)
    said = select(exclusions.c.kind, exclusions.c.value).where(exclusions.c.user_key == key)
    for kind, value in connection.execute(said):
        if alone.below(value)[0] if kind == "category" else value == item["item_id" if kind == "item" else kind]:
            return f"{kind} {value!r}"
    return None


def _alone(item: Mapping[str, Any]) -> ItemAttributes:
    """A catalogue of one item, which is available."""
    item_id, category, brand = (
        np.array([item[name] or ""], dtype=np.str_) for name in ("item_id", "category", "brand")
    )
    price = np.array([np.nan if item["price"] is None else item["price"]], dtype=np.float64)
    return ItemAttributes(item_id, category, brand, price, np.array([np.nan]), np.array([True]))


def _absence(asked: _Question, rows: Sequence[Mapping[str, Any]], lookups: Callable[[], Lookups | None] | None) -> str:
    """Return what keeps the item off the list: the first of the rules in the order in which they apply."""
    user, item = asked.positions
    if not asked.agreed:
        return "No list is made for this user: there is no consent, or the user was erased."
    if asked.unsold:
        return asked.unsold
    if not _allowed_alone(asked):
        return f"The rules of {asked.name!r} leave the item out: see `include` and `exclude`."
    if asked.excluded:
        return f"The user is never shown the {asked.excluded}."
    if not rows:
        return f"No list is published for this user yet. Next: `tailorbird score {asked.name}`."
    if item < 0:
        return "The model does not know the item: no purchase of it was kept when the model learned."
    if user < 0:
        return "The model has not learned from the user: clicks or traits make the list, or what is popular."
    return _by_order(asked, rows, user, item, lookups)


def _by_order(
    asked: _Question,
    rows: Sequence[Mapping[str, Any]],
    user: int,
    item: int,
    lookups: Callable[[], Lookups | None] | None,
) -> str:
    """Return what keeps the item off by the order in which the list was filled."""
    scores = asked.model.scores(np.array([user], dtype=np.int32))[0]
    order = Order.of(scores, asked.fallback, asked.rules)
    listed = index_of(asked.model.items, np.array([row["item_id"] for row in rows], dtype=np.str_))
    listed = listed[listed >= 0].astype(np.int32)
    if not _is_own(order, listed, rows):
        return "The model has nothing to say about this user: what is popular in the user's segment makes the list."
    reason = reason_of(item, listed, order, asked.rules)
    case = Case(asked.key, asked.item, asked.name, asked.placement, asked.catalogue, item, len(rows), lookups)
    return absence_words(case, reason, bool(np.isfinite(scores[item])))


def _is_own(order: Order, listed: NDArray[np.int32], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether any published score is the model's own: else others, such as the segment, made the list."""
    if not order.scored.any():
        return False
    published = np.array([row["score"] for row in rows], dtype=np.float32)[: len(listed)]
    own = order.scored[listed] & np.isclose(order.score[listed], published, rtol=_SAME_SCORE, atol=1e-6)
    return bool(own.any()) or not order.scored[listed].any()


def _allowed_alone(asked: _Question) -> bool:
    """Return whether `include` and `exclude` allow the item, also one that the model does not know."""
    item = asked.positions[1]
    return item < 0 or bool(asked.rules.allowed[item])


def _contributions(asked: _Question) -> dict[str, float]:
    user, item = asked.positions
    if min(user, item) < 0 or not asked.agreed or not isinstance(asked.model, Explains):
        return {}
    return asked.model.contributions(user, item)

"""Explains the place of an item on a user's list, or the rule that keeps it off."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, RowMapping, select

from infra.bundles.promoted import load_for_users
from infra.configuration.placements import configured
from infra.configuration.settings import load
from infra.database.engine import database_now
from infra.database.schema.offers import sold_now, why_not_sold
from infra.database.schema.promotion_rows import Promotion
from infra.database.schema.schema import exclusions, items, placements, promotions, recommendation_batches
from models.datasets.training_data import position_of
from models.errors import TailorbirdError
from models.lists.absence import Order, reason_of
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.layer.applied_rules import layered
from models.lists.rules.placement_config import Placement
from models.primitives.vocabulary import index_of
from models.recommenders.protocols import Explains, Recommender
from serving.queries.absence import Case, Lookups, absence_words, listed_words
from serving.queries.operator_rules import PlacementRules, rules_of
from serving.queries.user_recommendations import (
    NO_CONSENT,
    ListRow,
    consents,
    require_published,
    require_user_key,
    user_list,
)
from serving.queries.user_recommendations import NoListsError as NoListsError

_SAME_SCORE: Final = 1e-3
"""The relative difference up to which a published score counts as the model's own."""


class UnknownItemError(TailorbirdError):
    """No catalogue names an item id."""


class Explanation(TypedDict):
    """The place, score and reason of an item on a user's list, or `why` it is not on the list."""

    user: str
    item: str
    title: str | None
    model_version: int
    rank: NotRequired[int]
    score: NotRequired[float]
    reason: NotRequired[str]
    why: str
    model: str
    contributions: dict[str, float]
    """What each part adds to the score, the strongest first; empty for models whose score has no parts."""
    adds_to: str | None
    """The unit of the contributions."""
    rules: list[str]
    """The rules of operators about the item, with their authors."""


@dataclass(frozen=True)
class _Context:
    """A known user and item, the rules, and the model of the live lists."""

    key: str
    consented: bool
    item: str
    title: str | None
    unsold: str | None
    """Why the item cannot be bought now."""
    excluded: str | None
    """The exclusion of the user that matches the item."""
    by_operators: PlacementRules
    about: list[str]
    """The rules of operators about the item, in words."""
    name: str
    """The name of the placement."""
    placement: Placement
    catalogue: ItemAttributes
    rules: CompiledRules
    model: Recommender
    fallback: NDArray[np.float32]
    version: int

    @property
    def positions(self) -> tuple[int, int]:
        """Return the positions of user and item in the model; -1 for unknown ones."""
        return position_of(self.model.users, self.key), position_of(self.model.items, self.item)


def explain(
    engine: Engine,
    user_id: str,
    item_id: str,
    placement: str = "home",
    lookups: Callable[[], Lookups | None] | None = None,
) -> Explanation:
    """Return the place, score and reason of an item on a user's live list, or `why` it is not on the list.

    `lookups` reads the user's events, and is called only if no rule keeps the item off. Raises PlacementError,
    NoListsError, UnknownUserError or UnknownItemError.
    """
    require_published(engine, load(), placement)
    context = _context(engine, user_id, item_id, placement)
    rows = user_list(engine, user_id, placement)
    entry = next((row for row in rows if row["item_id"] == item_id), None)
    result: Explanation = {
        "user": user_id,
        "item": item_id,
        "title": context.title,
        "model_version": context.version,
        "why": "",
        "model": context.model.kind,
        "contributions": _contributions(context),
        "adds_to": getattr(context.model, "adds_to", None),
        "rules": context.about,
    }
    if entry is not None:
        result |= {"rank": entry["rank"], "score": entry["score"], "reason": entry["reason"]}
        # Ranks are those of the published list, as in the views: pins and promoted places depend on them.
        result["why"] = listed_words(entry["rank"], rows[-1]["rank"], context.positions[1], context.rules)
    else:
        result["why"] = _absence(context, rows, lookups)
    return result


def _context(engine: Engine, user_id: str, item_id: str, placement: str) -> _Context:
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
        consented = consents(connection, key)
        excluded = _excluded(connection, key, item)
        by_operators = rules_of(connection, placement)
        unsold = why_not_sold(dict(item), database_now(connection))
        bundle = load_for_users(engine, cast(Promotion, dict(promoted)))
        catalogue = _catalogue(connection, bundle.model.items)
    file = configured(load()).get(placement, Placement()).model_copy(update={"k": k})
    chosen = layered(file, by_operators.then)
    return _Context(
        key=key,
        consented=consented,
        item=item_id,
        title=item["title"],
        unsold=unsold,
        excluded=excluded,
        by_operators=by_operators,
        about=by_operators.about(_single_item(item), placement),
        name=placement,
        placement=chosen,
        catalogue=catalogue,
        rules=CompiledRules.of(chosen, catalogue),
        model=bundle.model,
        fallback=bundle.fallback,
        version=promoted["model_version"],
    )


def _catalogue(connection: Connection, known: NDArray[np.str_]) -> ItemAttributes:
    """Return the catalogue of the model's items, without the attributes that only events provide."""
    names = (items.c.item_id, items.c.category, items.c.brand, items.c.price, sold_now().label("available"))
    rows = {row.item_id: row for row in connection.execute(select(*names))}
    known_rows = [rows.get(item) for item in known.tolist()]
    return ItemAttributes(
        items=known,
        category=np.array([(row and row.category) or "" for row in known_rows], dtype=np.str_),
        brand=np.array([(row and row.brand) or "" for row in known_rows], dtype=np.str_),
        price=np.array(
            [np.nan if row is None or row.price is None else row.price for row in known_rows], dtype=np.float64
        ),
        age_days=np.full(len(known), np.nan),
        available=np.array([row is not None and row.available for row in known_rows], dtype=bool),
    )


def _excluded(connection: Connection, key: str, item: RowMapping) -> str | None:
    """Return the exclusion of the user that matches the item; None without one."""
    single = _single_item(item)
    excluded = select(exclusions.c.kind, exclusions.c.value).where(exclusions.c.user_key == key)
    for kind, value in connection.execute(excluded):
        if single.below(value)[0] if kind == "category" else value == item["item_id" if kind == "item" else kind]:
            return f"{kind} {value!r}"
    return None


def _single_item(item: RowMapping) -> ItemAttributes:
    """Return a catalogue of one available item."""
    item_id, category, brand = (
        np.array([item[name] or ""], dtype=np.str_) for name in ("item_id", "category", "brand")
    )
    price = np.array([np.nan if item["price"] is None else item["price"]], dtype=np.float64)
    return ItemAttributes(item_id, category, brand, price, np.array([np.nan]), np.array([True]))


def _absence(context: _Context, rows: Sequence[ListRow], lookups: Callable[[], Lookups | None] | None) -> str:
    """Return why the item is not on the list: the first matching rule, in the order of application."""
    user, item = context.positions
    if not context.consented:
        return NO_CONSENT
    if context.unsold:
        return context.unsold
    if context.item in context.by_operators.then.hidden:
        return "Operators hide the item."
    if not _is_allowed(context):
        return f"The rules of {context.name!r} leave the item out: see `include` and `exclude`."
    if context.excluded:
        return f"The user is never shown the {context.excluded}."
    if not rows:
        return f"No list is published for this user yet. Next: `tailorbird score {context.name}`."
    if item < 0:
        return "The model does not know the item: no purchase of it counted at its training."
    if user < 0:
        return "The model was not trained on this user: clicks, traits or popularity make the list."
    return _by_order(context, rows, user, item, lookups)


def _by_order(
    context: _Context,
    rows: Sequence[ListRow],
    user: int,
    item: int,
    lookups: Callable[[], Lookups | None] | None,
) -> str:
    """Return why the item is not on the list, from the order in which the list was filled."""
    scores = context.model.scores(np.array([user], dtype=np.int32))[0]
    order = Order.of(scores, context.fallback, context.rules)
    listed = index_of(context.model.items, np.array([row["item_id"] for row in rows], dtype=np.str_))
    listed = listed[listed >= 0].astype(np.int32)
    if not _is_own(order, listed, rows):
        return "The model has no score for this user: the best sellers of the user's segment make the list."
    reason = reason_of(item, listed, order, context.rules)
    case = Case(context.key, context.item, context.name, context.placement, context.catalogue, item, len(rows), lookups)
    return absence_words(case, reason, bool(np.isfinite(scores[item])))


def _is_own(order: Order, listed: NDArray[np.int32], rows: Sequence[ListRow]) -> bool:
    """Return whether any published score is the model's own; otherwise a fallback made the list."""
    if not order.scored.any():
        return False
    published = np.array([row["score"] for row in rows], dtype=np.float32)[: len(listed)]
    own = order.scored[listed] & np.isclose(order.score[listed], published, rtol=_SAME_SCORE, atol=1e-6)
    return bool(own.any()) or not order.scored[listed].any()


def _is_allowed(context: _Context) -> bool:
    """Return whether `include` and `exclude` allow the item; unknown items are allowed."""
    item = context.positions[1]
    return item < 0 or bool(context.rules.allowed[item])


def _contributions(context: _Context) -> dict[str, float]:
    user, item = context.positions
    if min(user, item) < 0 or not context.consented or not isinstance(context.model, Explains):
        return {}
    return context.model.contributions(user, item)

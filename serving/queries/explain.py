"""Explains in sentences the place of an item on a user's list, or the rule that keeps it off."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, RowMapping, select

from infra.bundles.promoted import load_for_users
from infra.configuration.placements import configured
from infra.configuration.settings import load
from infra.database.engine import database_now
from infra.database.schema.offers import why_not_sold
from infra.database.schema.promotion_rows import newest_promotion
from infra.database.schema.schema import OBJECTION, exclusions, items, placements, promotions, recommendation_batches
from models.columns import PURCHASE
from models.errors import TailorbirdError
from models.lists.absence import Absence, Order, reason_of
from models.lists.rules.compiled_rules import Cap, CompiledRules, ItemAttributes
from models.lists.rules.layer.rule_layer import layered
from models.lists.rules.placement_config import EVER, Placement
from models.primitives.json_types import JsonObject
from models.primitives.vocabulary import index_of, position_of
from models.recommenders.protocols import Explains, Recommender, head_of
from serving.queries.basket_recommendations import items_named
from serving.queries.operator_rules import PlacementRules, attributes, catalogue_rows, rules_of
from serving.queries.user_recommendations import refusal, require_published, require_user_key, user_list

_NO_SCORE: Final = "The model has no score of the item for this user: it is not among the candidates."
_SAME_SCORE: Final = 1e-3
"""The relative difference up to which a published score counts as the model's own."""


class Lookups(Protocol):
    """Reads events, only for answers that depend on them."""

    def age_days(self, item: str) -> float:
        """Return the days since the first event of the item; NaN without events."""

    def fully_refunded(self, item: str) -> bool:
        """Return whether every purchase of the item was refunded."""

    def hidden_by(self, key: str, item: str, placement: Placement) -> list[tuple[str, float | str]]:
        """Return the windows of `hide` that exclude the item for the user."""

    def bought(self, key: str, item: str) -> bool:
        """Return whether the user ever bought the item without a refund."""

    def returned(self, key: str, item: str) -> bool:
        """Return whether the user bought the item, and every purchase of it was refunded."""

    def is_due(self, key: str, item: str) -> bool:
        """Return whether the user's next purchase of the item is due."""


@dataclass(frozen=True)
class _Context:
    """A known user and item, the rules, and the model of the live lists."""

    key: str
    refusal: str
    """Why the user may have no personal list here; empty if they may."""
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
) -> JsonObject:
    """Return the place, score and reason of an item on a user's live list, or `why` it is not on the list.

    `contributions` are what each part adds to the score, the strongest first, in the unit `adds_to`; empty for models
    whose score has no parts. `rules` are those of operators about the item. The id of a variant explains its item.

    `lookups` reads the user's events, and is called only if no rule keeps the item off. Raises PlacementError,
    UnknownUserError, or TailorbirdError without lists or for an unknown item.
    """
    require_published(engine, load(), placement)
    context = _context(engine, user_id, item_id, placement)
    rows = user_list(engine, user_id, placement)
    entry = next((row for row in rows if row["item_id"] == context.item), None)
    result: JsonObject = {
        "user": user_id,
        "item": context.item,
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
        result["why"] = _listed_words(entry["rank"], rows[-1]["rank"], context.positions[1], context.rules)
    else:
        result["why"] = _absence(context, rows, lookups)
    return result


def _context(engine: Engine, user_id: str, item_id: str, placement: str) -> _Context:
    live = select(recommendation_batches.c.model_version, recommendation_batches.c.k).join(
        placements, placements.c.batch_id == recommendation_batches.c.batch_id
    )
    with engine.connect() as connection:
        key = require_user_key(connection, user_id)
        item_id = items_named(connection, [item_id]).get(item_id, item_id)
        item = connection.execute(select(items).where(items.c.item_id == item_id)).mappings().first()
        if item is None:
            raise TailorbirdError(f"No catalogue names an item {item_id!r}. Check the id, or ingest the catalogue.")
        version, k = connection.execute(live.where(placements.c.placement == placement)).one()
        promoted = newest_promotion(connection, promotions.c.model_version == version)
        assert promoted is not None
        refused = refusal(connection, key, placement)
        excluded = _excluded(connection, key, item)
        by_operators = rules_of(connection, placement)
        unsold = why_not_sold(dict(item), database_now(connection))
        bundle = load_for_users(engine, promoted)
        catalogue = attributes(bundle.model.items.tolist(), catalogue_rows(connection))
    file = configured(load()).get(placement, Placement()).model_copy(update={"k": k})
    chosen = layered(file, by_operators.then)
    return _Context(
        key=key,
        refusal=refused,
        item=item_id,
        title=item["title"],
        unsold=unsold,
        excluded=excluded,
        by_operators=by_operators,
        about=by_operators.about(attributes([item_id], {item_id: item}), placement),
        name=placement,
        placement=chosen,
        catalogue=catalogue,
        rules=CompiledRules.of(chosen, catalogue),
        model=head_of(bundle.model, chosen.policy),
        fallback=bundle.fallback,
        version=version,
    )


def _excluded(connection: Connection, key: str, item: RowMapping) -> str | None:
    """Return the exclusion of the user that matches the item; None without one."""
    single = attributes([item["item_id"]], {item["item_id"]: item})
    excluded = select(exclusions.c.kind, exclusions.c.value).where(
        exclusions.c.user_key == key, exclusions.c.kind != OBJECTION
    )
    for kind, value in connection.execute(excluded):
        if single.below(value)[0] if kind == "category" else value == item["item_id" if kind == "item" else kind]:
            return f"{kind} {value!r}"
    return None


def _listed_words(place: int, length: int, item: int, rules: CompiledRules) -> str:
    """Return the place of an item, and the rule that put it there."""
    sentence = f"Place {place} of {length}"
    if (place - 1, item) in rules.pins:
        return f"{sentence}: it is pinned there."
    if place - 1 in rules.promoted_places and rules.promoted[item]:
        return f"{sentence}, one of the places for promoted items."
    factor = float(rules.boost[item])
    return f"{sentence}." if factor == 1 else f"{sentence}; a boost multiplies its score by {factor:g}."


def _absence(context: _Context, rows: Sequence[JsonObject], lookups: Callable[[], Lookups | None] | None) -> str:
    """Return why the item is not on the list: the first matching rule, in the order of application."""
    user, item = context.positions
    if context.refusal:
        return context.refusal
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
    context: _Context, rows: Sequence[JsonObject], user: int, item: int, lookups: Callable[[], Lookups | None] | None
) -> str:
    """Return why the item is not on the list, from the order in which the list was filled."""
    scores = context.model.scores(np.array([user], dtype=np.int32))[0]
    order = Order.of(scores, context.fallback, context.rules)
    listed = index_of(context.model.items, np.array([row["item_id"] for row in rows], dtype=np.str_))
    listed = listed[listed >= 0].astype(np.int32)
    if not _is_own(order, listed, rows):
        return "The model has no score for this user: the best sellers of the user's segment make the list."
    reason, scored = reason_of(item, listed, order, context.rules), bool(np.isfinite(scores[item]))
    if reason.why is Absence.CAPPED and reason.cap is not None:
        return _capped(context, item, reason.cap)
    if reason.why is not Absence.FULL:
        return _no_candidate(context, scored, lookups() if lookups else None)
    if not scored:
        return f"{_NO_SCORE} Items before it fill the list."
    if reason.place <= len(rows):
        return f"All {len(rows)} places are taken by pins, promoted items and items with better scores."
    return f"It would stand at place {reason.place:,}, and the list has {len(rows)}."


def _capped(context: _Context, item: int, cap: Cap) -> str:
    rules, catalogue = context.placement.rules, context.catalogue
    if rules.cap is not None and rules.cap.brand is not None and np.array_equal(cap.group, catalogue.brands()):
        group = f"brand {str(catalogue.brand[item])!r}"
    else:
        levels = str(catalogue.category[item]).split("|")[: rules.cap_level]
        group = f"category {'|'.join(levels)!r}"
    return f"A cap keeps it off: the list has {cap.most} of the {group} already, and `cap` allows no more."


def _no_candidate(context: _Context, scored: bool, lookups: Lookups | None) -> str:
    """Return the reason from the user's events."""
    rules = context.placement.rules
    if lookups is None:
        return "An action of the user keeps it off, or the item is newer than the list."
    if rules.lifetime_days is not None and lookups.age_days(context.item) > rules.lifetime_days:
        days = lookups.age_days(context.item)
        return f"It was first seen {days:.0f} days ago; `lifetime_days` is {rules.lifetime_days:g}."
    if lookups.fully_refunded(context.item):
        return "Every purchase of the item was refunded, so it is not recommended."
    if lookups.returned(context.key, context.item):
        return "Every purchase of the item by this user was refunded, so the user does not get it."
    if windows := lookups.hidden_by(context.key, context.item, context.placement):
        actions = ", ".join(name if days == EVER else f"{name} within {days:g} days" for name, days in windows)
        return f"An action of the user keeps it off (`hide`: {actions})."
    policy = context.placement.policy
    if policy == "discover" and lookups.bought(context.key, context.item):
        return 'The user bought it before, and the list shows only what is new to the user (`policy = "discover"`).'
    if policy == "repurchase" and not lookups.is_due(context.key, context.item):
        is_bought = lookups.bought(context.key, context.item)
        words = f"{PURCHASE} of it is not due again yet" if is_bought else "user never bought it"
        return f'The {words}, and the list shows only what is due (`policy = "repurchase"`).'
    if not scored:
        return _NO_SCORE
    return (
        "Nothing keeps it off now: events, catalogue or rules changed after the list was made. "
        f"Next: `tailorbird score {context.name}`."
    )


def _is_own(order: Order, listed: NDArray[np.int32], rows: Sequence[JsonObject]) -> bool:
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
    if min(user, item) < 0 or context.refusal or not isinstance(context.model, Explains):
        return {}
    return context.model.contributions(user, item)

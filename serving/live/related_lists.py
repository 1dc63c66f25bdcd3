"""Builds lists of items that are similar to an item, or that go with a basket, for items that no batch lists too."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.columns import CATEGORY_SEPARATOR
from models.lists.item_models import LEAST_SIMILARITY
from models.lists.model_cascade import ModelCascade
from models.recommenders.explanations.sentences import NONE, because, same_category
from models.recommenders.item_based.bought_together import RECIPROCAL, for_user, with_basket
from serving.answers.answer import Entry
from serving.live.live_lists import VisitorState, entries
from serving.live.one_visitor import OneVisitor, own_scores
from serving.live.prepared_rules import Prepared

_RANKED_AGAIN: Final = 500
"""The best-fitting items, which the preferences of a user rank again."""


def similar_items(prepared: Prepared, visitor: VisitorState, item: str) -> tuple[Entry, ...] | None:
    """Return the items most similar to one; None if the model does not know it or compares no items."""
    at = prepared.positions((item,))
    cosines = prepared.model.evidence.cosines(at) if len(at) else None
    if cosines is None:
        return None
    score = np.where(cosines[0] < LEAST_SIMILARITY, 0, cosines[0])
    category = prepared.catalogue.attributes.category

    def explain(items: NDArray[np.int32]) -> list[str]:
        own = str(category[at[0]])
        name = own.split(CATEGORY_SEPARATOR)[min(1, own.count(CATEGORY_SEPARATOR))]
        return [same_category(name.lower()) if own and category[one] == own else NONE for one in items.tolist()]

    return _listed(prepared, visitor, score, explain, (item,))


def items_that_go_with(prepared: Prepared, visitor: VisitorState, basket: tuple[str, ...]) -> tuple[Entry, ...] | None:
    """Return the items that go best with a whole basket, ranked again by the preferences of a known user.

    None if the model knows none of the basket's items, or holds no purchases.
    """
    at = prepared.positions(basket)
    lifts = prepared.model.evidence.lifts(at) if len(at) else None
    if lifts is None:
        return None
    fit, titles = with_basket(lifts), prepared.catalogue.titles
    fitting = np.flatnonzero(fit > 0)
    score = np.zeros(len(fit))
    if visitor.user_key is None:
        score[fitting] = fit[fitting]
    else:
        fitting = fitting[np.argsort(-fit[fitting], kind="stable")[:_RANKED_AGAIN]]
        order = for_user(fit[fitting], _liked(prepared, visitor)[fitting])
        score[fitting[order]] = 1 / (RECIPROCAL + 1 + np.arange(len(order)))

    def explain(items: NDArray[np.int32]) -> list[str]:
        source = at[lifts[:, items].argmax(axis=0)]
        return [because(str(titles[one]), clicked=True) for one in source.tolist()]

    return _listed(prepared, visitor, score, explain, basket)


def _liked(prepared: Prepared, visitor: VisitorState) -> NDArray[np.float32]:
    """Return [n] the user's own scores; -inf without one."""
    liked = np.full(len(prepared.model.items), -np.inf, dtype=np.float32)
    own = own_scores(prepared.builder.cascade.models, visitor.key, prepared.rules.allowed, prepared.model.ranked)
    if own is not None:
        liked[own.item] = own.score
    return liked


def _listed(
    prepared: Prepared,
    visitor: VisitorState,
    score: NDArray[Any],
    explain: Callable[[NDArray[np.int32]], list[str]],
    without: tuple[str, ...],
) -> tuple[Entry, ...]:
    """Return the items with a positive score under the placement's rules; nothing fills a list up."""
    rules = prepared.narrowed(visitor.filters)
    hidden = np.unique(
        np.concatenate([prepared.positions((*without, *visitor.filters.exclude)), prepared.excluded(visitor.excluded)])
    )
    score[hidden] = 0
    found = np.flatnonzero(score > 0)
    model = OneVisitor(np.array([visitor.key]), prepared.model.items, found, score[found].astype(np.float32), explain)
    builder = prepared.builder.changed(cascade=ModelCascade((model,)), fallback=None, rules=rules)
    return entries(prepared, builder, visitor.key)

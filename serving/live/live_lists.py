"""Builds lists by the code of batch scoring: of one visitor, and of items that are similar or go with a basket."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import CATEGORY_SEPARATOR, USER_KEY
from models.datasets.cold_start import InOrder, NewUsers
from models.lists.item_models import LEAST_SIMILARITY
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import ModelCascade, build_cascade
from models.lists.ranked_lists import matrix_of
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.vocabulary import NO_INDEX, position_of, positions_of
from models.recommenders.explanations.sentences import NONE, PurchasedTitles, buyers_of, same_category
from models.recommenders.item_based.bought_together import RECIPROCAL, for_user, with_basket
from models.recommenders.protocols import FoldsInUsers, head_of
from serving.answers.protocol import Entry, Filters
from serving.live.context import OneVisitor, RelatedItems, blended, own_scores
from serving.live.prepared_rules import Prepared, titles_of
from serving.live.visitor_facts import NO_ACTS, NO_FACTS, BatchFacts, LatestItems

ANONYMOUS = "visitor"
"""The key of a visitor without an account among the users of a model: no pseudonym looks like it."""
_RANKED_AGAIN: Final = 500
"""The best-fitting items, which the preferences of a user rank again."""


@dataclass(frozen=True)
class VisitorState:
    """Everything about a visitor that a list depends on."""

    user_key: str | None = None
    batch: BatchFacts = NO_FACTS
    excluded: tuple[str, ...] = ()
    """The user's exclusions, each as `kind:value`."""
    context: tuple[str, ...] = ()
    """Items of the basket or recently viewed, the latest last: they are not recommended."""
    acts: LatestItems = NO_ACTS
    """Items that the visitor clicked or bought lately."""
    filters: Filters = field(default_factory=Filters)

    @property
    def key(self) -> str:
        """The key among the users of a model."""
        return self.user_key or ANONYMOUS

    @property
    def latest(self) -> tuple[str, ...]:
        """The items that speak for others: clicks, and then the context."""
        return tuple(dict.fromkeys((*self.acts.items, *self.context)))


def visitor_list(prepared: Prepared, visitor: VisitorState) -> tuple[Entry, ...]:
    """Return the visitor's list under the placement's rules, best first."""
    return _built(prepared, visitor, prepared.narrowed(visitor.filters))


def ranked_items(prepared: Prepared, visitor: VisitorState, items: tuple[str, ...]) -> tuple[Entry, ...]:
    """Return those of the items that the rules allow, in the visitor's order, without caps, pins and promotions."""
    positions = prepared.positions(items)
    only = np.zeros(len(prepared.model.items), dtype=bool)
    only[positions] = True
    allowed = prepared.narrowed(visitor.filters, only).allowed
    if not allowed.any():
        return ()
    plain = CompiledRules.plain(int(allowed.sum()), allowed)
    # Items of the context are asked for here, so they are ranked too.
    return _built(prepared, visitor, replace(plain, boost=prepared.rules.boost), keep=only)


def _built(
    prepared: Prepared, visitor: VisitorState, rules: CompiledRules, keep: NDArray[np.bool_] | None = None
) -> tuple[Entry, ...]:
    builder = prepared.builder if rules is prepared.rules else prepared.builder.changed(rules=rules)
    hidden = _hidden(prepared, visitor, keep)
    cascade = _cascade(prepared, visitor)
    usable = rules.allowed.copy()
    usable[hidden] = False
    if visitor.latest:
        context = prepared.positions(visitor.latest)
        if len(context):
            related = RelatedItems.of(prepared.model.evidence, context)
            own = own_scores(cascade.models, visitor.key, usable, prepared.ranked)
            titles = prepared.catalogue.titles
            first = blended(visitor.key, prepared.model.items, usable, own, related, titles)
            cascade = ModelCascade((first, *cascade.models))
    if cascade is not builder.cascade:
        builder = builder.changed(cascade=cascade)
    due = None
    if prepared.placement.policy == "repurchase":
        since_bought = tuple(item for item in visitor.batch.due if item not in visitor.acts.bought)
        due = _row(prepared.positions(since_bought), len(rules.allowed))
    built = entries(prepared, builder, visitor.key, _row(hidden, len(rules.allowed)) if len(hidden) else None, due)
    return _naming_purchases(prepared, visitor, built) if visitor.acts.bought else built


def _naming_purchases(prepared: Prepared, visitor: VisitorState, built: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries with reasons that name what was bought as bought: models take every act for a click."""
    bought = visitor.acts.bought
    at = prepared.positions(tuple(bought))
    titles = PurchasedTitles([*prepared.catalogue.titles[at].tolist(), *titles_of(prepared.model)[at].tolist()])
    return tuple(one._replace(reason=titles.named(one.reason, one.item_id in bought)) for one in built)


def entries(
    prepared: Prepared, builder: ListBuilder, key: str, hidden: Any = None, due: Any = None
) -> tuple[Entry, ...]:
    """Return the list that a builder makes for one key."""
    (lists,) = builder.build(np.array([key]), hidden, due)
    (listed,) = lists.without(prepared.not_to_show).user_lists(builder.items).values()
    return tuple(Entry(*entry) for entry in zip(listed.items, listed.scores, listed.reasons, strict=True))


def _hidden(prepared: Prepared, visitor: VisitorState, keep: NDArray[np.bool_] | None) -> NDArray[np.int32]:
    """Return the positions that this visitor must not get, ascending."""
    withheld = () if visitor.batch.batch_id == prepared.batch_id else visitor.batch.withheld
    by_batch = prepared.positions((*visitor.batch.hidden, *withheld, *visitor.filters.exclude))
    shown = prepared.positions(visitor.latest)
    if keep is not None:
        shown = shown[~keep[shown]]
    if prepared.placement.policy == "repurchase":  # what was just looked at may be due
        shown = prepared.positions(visitor.context)
    return np.unique(np.concatenate([by_batch, shown, prepared.excluded(visitor.excluded)]))


def _cascade(prepared: Prepared, visitor: VisitorState) -> ModelCascade:
    """Return the champion, its fallbacks, and for a user newer than the model what it learns from clicks and traits."""
    bundle = prepared.model.bundle
    known = visitor.user_key is not None and position_of(bundle.model.users, visitor.user_key) != NO_INDEX
    clicks = (*visitor.batch.clicks, *visitor.latest)
    policy = prepared.placement.policy
    folds_in = bool(clicks) and isinstance(head_of(bundle.model, policy), FoldsInUsers)
    if known or not (folds_in or visitor.batch.traits):
        return prepared.builder.cascade
    at = positions_of(prepared.model.items, clicks)
    events = matrix_of([at.tolist()], len(prepared.model.items))
    order = InOrder(at, np.array([0, len(at)]))
    new = NewUsers(np.array([visitor.key]), _traits(visitor), events, order)
    # Without traits a new user belongs to no segment.
    segments = bundle.segments if visitor.batch.traits else None
    return build_cascade(bundle.model, segments, bundle.fallback, new, bundle.buyers, policy=policy)


def _traits(visitor: VisitorState) -> Any:
    """Return the visitor's traits as a table of Arrow; None without any."""
    if not visitor.batch.traits:
        return None
    import pyarrow as pa  # a bundle alone knows no traits, and answers without Arrow

    return pa.table({USER_KEY: [visitor.key], **{name: [value] for name, value in visitor.batch.traits.items()}})


def _row(positions: NDArray[np.int32], n: int) -> sparse.csr_array:
    """Return a boolean CSR of one row."""
    columns = np.sort(positions)
    return sparse.csr_array((np.ones(len(columns), dtype=bool), columns, np.array([0, len(columns)])), shape=(1, n))


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
        own = lifts[:, items]
        strongest = zip(at[own.argmax(axis=0)].tolist(), own.max(axis=0).tolist(), strict=True)
        return [buyers_of(str(titles[one]), lift) for one, lift in strongest]

    return _listed(prepared, visitor, score, explain, basket)


def _liked(prepared: Prepared, visitor: VisitorState) -> NDArray[np.float32]:
    """Return [n] the user's own scores; -inf without one."""
    liked = np.full(len(prepared.model.items), -np.inf, dtype=np.float32)
    own = own_scores(prepared.builder.cascade.models, visitor.key, prepared.rules.allowed, prepared.ranked)
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

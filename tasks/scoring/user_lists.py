"""Builds the lists of all users with consent for a placement: known and new users, and the items that are hidden."""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from sqlalchemy import select

from infra.database.schema.schema import exclusions
from infra.installation import Installation
from models import columns
from models.columns import PURCHASE, USER_KEY
from models.datasets.cold_start import NewUsers
from models.errors import TailorbirdError
from models.features.tables.session_features import ENGAGEMENT
from models.lists.batch_users import BatchUsers
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.ranked_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.item_attributes import ItemAttributes
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import EVER
from models.lists.rules.rule_warnings import notes
from models.primitives.vocabulary import index_of, words
from models.recommenders.explanations.sentences import ReasonsNaming
from tasks.lake.event_engine import shared_event_engine, shared_reference_data
from tasks.lake.event_query import EventQuery
from tasks.lake.reference_data import ReferenceData
from tasks.lake.user_item_history import due, hidden
from tasks.promotion.champion import require_champion
from tasks.scoring.batch_keys import batch_spec, check_length, digest
from tasks.scoring.publish_batch import TextCodes, Work
from tasks.scoring.reads.champion_bundle import champion_bundle
from tasks.scoring.reads.item_attributes import catalogue_of, titles_not_for_sale, withheld
from tasks.scoring.reads.user_segments import segments_of

_PUBLISHES_USERS: Final = "batch_users"
"""Batches of earlier versions differ from those that state what they know of their users."""
_INTEREST: Final = [name for _, names in ENGAGEMENT for name in names]
_NO_CLICKS: Final = pa.Table.from_batches([], pa.schema({columns.USER_KEY: pa.string(), columns.ITEM_ID: pa.string()}))
_NO_USERS: Final = _NO_CLICKS.select([columns.USER_KEY])
_CLICKS: Final = (
    EventQuery()
    .join_users("new_users")
    .where(f"list_contains($interest, event.{columns.EVENT_TYPE})")
    .not_refunded()
    .select("new_users.user_key, event.item_id", "ORDER BY new_users.user_key, event.occurred_at, event.item_id")
)


def hidden_and_due(
    installation: Installation,
    reference: ReferenceData,
    placement: Placement,
    keys: NDArray[np.str_],
    catalogue: ItemAttributes,
) -> tuple[Any, Any]:
    """Return two boolean CSR, users x items, of hidden and of due items; None if there are none.

    Only the policy `repurchase` has due items. Others hide what the user returned, which is not due either.
    """
    windows: dict[str, float | str] = dict(placement.rules.hide)
    if placement.policy == "discover":
        windows[PURCHASE] = EVER
    returned = placement.policy != "repurchase"
    by_events = hidden(installation, keys, catalogue.items, windows, reference, returned=returned)
    matrices = [matrix for matrix in (by_events, _excluded(installation, keys, catalogue)) if matrix is not None]
    both = (matrices[0] + matrices[1]).astype(bool) if len(matrices) == 2 else next(iter(matrices), None)
    return both, due(installation, keys, catalogue.items, reference) if placement.policy == "repurchase" else None


def _excluded(installation: Installation, keys: NDArray[np.str_], catalogue: ItemAttributes) -> Any:
    """Return a boolean CSR of the items that single users never want to see, None if there are none."""
    columns = exclusions.c
    with installation.engine.connect() as connection:
        rows = connection.execute(select(columns.user_key, columns.kind, columns.value)).all()
    if not rows:
        return None
    position = index_of(keys, pa.array([row.user_key for row in rows], pa.string())).tolist()
    selectors = {(row.kind, row.value) for row in rows}
    selected = {selector: np.flatnonzero(_selected(*selector, catalogue)) for selector in selectors}
    items = [selected[row.kind, row.value] for row in rows]
    known = [(user, own) for user, own in zip(position, items, strict=True) if user >= 0]
    if not known:
        return None
    user = np.repeat([user for user, _ in known], [len(own) for _, own in known])
    item = np.concatenate([own for _, own in known])
    pairs = sparse.csr_array((np.ones(len(item), dtype=bool), (user, item)), shape=(len(keys), len(catalogue.items)))
    pairs.sum_duplicates()
    return pairs


def _selected(kind: str, value: str, catalogue: ItemAttributes) -> NDArray[np.bool_]:
    if kind == "category":
        return catalogue.below(value)
    selected: NDArray[np.bool_] = (catalogue.items if kind == "item" else catalogue.brand) == value
    return selected


def newcomers(
    installation: Installation,
    reference: ReferenceData,
    eligible: NDArray[np.str_],
    users: NDArray[np.str_],
    items: NDArray[np.str_],
) -> NewUsers:
    """Return the `eligible` users who are not among a model's `users`, with current traits, clicks and purchases.

    Only the model's `items` count, and events of a device count for the user who owns it.
    """
    unknown = eligible[index_of(users, eligible) < 0]
    if not len(unknown):
        return NewUsers.of(_NO_USERS, _NO_CLICKS, items)
    traits = reference.users.take(np.flatnonzero(index_of(unknown, reference.users[columns.USER_KEY]) >= 0))
    return NewUsers.of(traits, _clicks(installation, reference, traits.select([columns.USER_KEY])), items)


def _clicks(installation: Installation, reference: ReferenceData, users: pa.Table) -> pa.Table:
    """Return `user_key` and `item_id` of all events of interest in an item in order of time, without refunded ones."""
    with shared_event_engine(installation, reference) as engine:
        if engine is None:
            return _NO_CLICKS
        engine.connection.register("new_users", users)
        engine.match_refunds()
        return engine.query(_CLICKS, interest=_INTEREST).to_arrow_table()


def user_lists(installation: Installation, name: str, placement: Placement) -> Work:
    """Return the work of a placement about users, before anything is scored."""
    champion = require_champion(installation)
    bundle = champion_bundle(champion)
    reference = shared_reference_data(installation)
    keys = np.sort(words(reference.users[USER_KEY]))
    if not len(keys):
        raise TailorbirdError("No lists can be made: no user has agreed to recommendations.")
    if np.array_equal(keys, bundle.model.users):  # one array of keys: of a million users they are hundreds of MB
        keys = bundle.model.users
    catalogue = catalogue_of(installation, bundle.model.items, placement, reference)
    rules = CompiledRules.of(placement, catalogue)
    check_length(name, placement.k, rules)
    new = newcomers(installation, reference, keys, bundle.model.users, bundle.model.items)
    hidden, due = hidden_and_due(installation, reference, placement, keys, catalogue)
    cascade = build_cascade(bundle.model, bundle.segments, bundle.fallback, new, bundle.buyers)
    builder = ListBuilder(cascade, bundle.fallback, rules, bundle.buyers)
    traits = None if new.traits is None else new.traits.to_pydict()
    clicks = new.in_order()
    pairs = [part for matrix in (hidden, due) if matrix is not None for part in (matrix.indptr, matrix.indices)]
    users = BatchUsers.of(keys, hidden, due, new, withheld(installation, placement, catalogue, reference))
    inputs = (keys, rules, traits, *clicks, *pairs, users.withheld, _PUBLISHES_USERS)
    spec = batch_spec(name, placement, champion, digest(placement, *inputs))

    def lists(texts: TextCodes) -> Iterator[Lists]:
        # A champion may have learned before an item was marked as not for sale.
        not_to_show = ReasonsNaming(titles_not_for_sale(installation))
        for part in builder.build(keys, hidden, due):
            yield part.without(not_to_show).coded(texts.codes)

    segments = segments_of(installation, champion["dataset_version"], keys)
    items = bundle.model.items
    return Work(placement, spec, keys, items, rules.allowed, lists, segments, users, notes(placement, catalogue))

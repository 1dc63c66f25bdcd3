"""Prepares the work of a batch: for users or items, the lists' inputs as they are known now, and a key of them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse
from sqlalchemy import not_, select

from infra.bundles.bundle import Bundle
from infra.bundles.promoted import erased_since, load_promoted
from infra.database.bulk_copy import read_table
from infra.database.experiment_rows import model_of_variant
from infra.database.schema.offers import sold_now
from infra.database.schema.schema import OBJECTION, exclusions, segments
from infra.database.schema.schema import items as goods
from infra.installation import Installation
from models import columns
from models.columns import PURCHASE, USER_KEY
from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData
from models.errors import TailorbirdError
from models.experiments.definition import replaced_placement
from models.features.tables.user_features import ENGAGEMENT
from models.lists.item_models import BoughtWithItem, SimilarToItem
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import ModelCascade, ScoringModel, build_cascade
from models.lists.ranked_lists import BatchUsers, Lists
from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes, notes
from models.lists.rules.placement_config import BEST_SELLERS, CHAMPION, EVER, Placement
from models.primitives.vocabulary import index_of, words
from models.recommenders.explanations.sentences import ReasonsNaming
from tasks.datasets.load_dataset import manifest_of, open_dataset
from tasks.lake.event_engine import read_once, shared_event_engine, shared_reference_data
from tasks.lake.event_query import EventQuery
from tasks.lake.reference_data import ReferenceData, read_reference_data
from tasks.lake.user_item_history import due, fully_refunded, hidden, item_ages
from tasks.promotion.champion import CHALLENGER, Champion, require_champion
from tasks.scoring import batch_state
from tasks.scoring.publish_batch import Segments, TextCodes, Work

_FIT: Final[dict[str, Callable[[TrainingData], ScoringModel]]] = {
    "similarity": SimilarToItem.fit,
    "co_purchase": BoughtWithItem.fit,
}
_SHORTFALL: Final = {
    "similarity": "too few items are known to be like it",
    "co_purchase": "too little is known to go with it",
}


_PUBLISHES_USERS: Final = "batch_users"
"""Batches of earlier versions differ from those that state what they know of their users."""
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
    chosen = select(columns.user_key, columns.kind, columns.value).where(columns.kind != OBJECTION)
    with installation.engine.connect() as connection:
        rows = connection.execute(chosen).all()
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


def _objecting(installation: Installation, placement: str) -> list[str]:
    """Return the users who object to personal lists in a placement."""
    about = exclusions.c.kind == OBJECTION, exclusions.c.value == placement
    with installation.engine.connect() as connection:
        return list(connection.execute(select(exclusions.c.user_key).where(*about)).scalars())


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
        return engine.query(_CLICKS, interest=[name for _, names in ENGAGEMENT for name in names]).to_arrow_table()


def user_lists(installation: Installation, name: str, placement: Placement) -> Work:
    """Return the work of a placement about users, before anything is scored."""
    champion = model_of(installation, placement)
    bundle = opened_bundle(installation, champion)
    reference = shared_reference_data(installation)
    keys = np.sort(words(reference.users[USER_KEY]))
    keys = keys[~np.isin(keys, _objecting(installation, replaced_placement(name)))]
    if not len(keys):
        raise TailorbirdError("No lists can be made: no user has agreed to recommendations.")
    if np.array_equal(keys, bundle.model.users):  # one array of keys: of a million users they are hundreds of MB
        keys = bundle.model.users
    catalogue = catalogue_of(installation, bundle.model.items, placement, reference)
    rules = compiled_rules(name, placement, catalogue)
    new = newcomers(installation, reference, keys, bundle.model.users, bundle.model.items)
    hidden, due = hidden_and_due(installation, reference, placement, keys, catalogue)
    cascade = _cascade(bundle, placement, new)
    builder = ListBuilder(cascade, bundle.fallback, rules, bundle.buyers)
    traits = None if new.traits is None else new.traits.to_pydict()
    clicks = new.in_order()
    pairs = [part for matrix in (hidden, due) if matrix is not None for part in (matrix.indptr, matrix.indices)]
    users = BatchUsers.of(keys, hidden, due, new, withheld(installation, placement, catalogue, reference))
    inputs = (keys, rules, traits, *clicks, *pairs, users.withheld, _PUBLISHES_USERS)
    spec = batch_spec(name, placement, champion, *inputs)

    def lists(texts: TextCodes) -> Iterator[Lists]:
        # A champion may have learned before an item was marked as not for sale.
        not_to_show = ReasonsNaming(titles_not_for_sale(installation))
        for part in builder.build(keys, hidden, due):
            yield part.without(not_to_show).coded(texts.codes)

    segments = segments_of(installation, champion["dataset_version"], keys)
    items = bundle.model.items
    return Work(placement, spec, keys, items, rules.allowed, lists, segments, users, notes(placement, catalogue))


def item_lists(installation: Installation, name: str, placement: Placement) -> Work:
    """Return the work of a placement about items, from the data set that the champion was trained on."""
    champion = require_champion(installation)
    version = champion["dataset_version"]
    dataset, cut = open_dataset(version), manifest_of(installation, version)["as_of"]
    items = dataset.once(("items", cut), partial(dataset.item_ids, cut))
    catalogue = catalogue_of(installation, items, placement, shared_reference_data(installation))
    rules = compiled_rules(name, placement, catalogue)
    # Its text differs from that of versions whose lists used less evidence: their batches are not live ones of today.
    spec = batch_spec(name, placement, champion, rules, version, _SHORTFALL[str(placement.method)])

    def lists(texts: TextCodes) -> Iterator[Lists]:
        data = dataset.once(("known at", cut), partial(dataset.training_data, cut))
        method = str(placement.method)
        cascade = ModelCascade((_FIT[method](data),))
        builder = ListBuilder(cascade, None, rules, shortfall=_SHORTFALL[method])
        itself = sparse.eye_array(len(items), dtype=bool, format="csr")
        for part in builder.build(items, itself):
            yield part.coded(texts.codes)

    segments = Segments(["all items"], np.zeros(len(items), dtype=np.int64))
    return Work(placement, spec, items, items, rules.allowed, lists, segments, notes=notes(placement, catalogue))


_OPENED: Final[ContextVar[dict[str, Bundle] | None]] = ContextVar("opened bundles", default=None)
"""The bundle in use, by its digest; None outside a run."""


@contextmanager
def one_bundle() -> Iterator[None]:
    """Within the block, keep the bundle that was used last open; the first placement that needs it verifies it."""
    outer = _OPENED.set({})
    try:
        yield
    finally:
        _OPENED.reset(outer)


def opened_bundle(installation: Installation, champion: Champion) -> Bundle:
    """Return the bundle of a version, which replaces another one that is kept. Raises BundleRefusedError."""
    opened = _OPENED.get()
    if opened is None:
        return _opened(installation, champion)
    digest = champion["digest"]
    if digest not in opened:
        opened.clear()  # before the next is read: a bundle may take gigabytes
        opened[digest] = _opened(installation, champion)
    return opened[digest]


def model_of(installation: Installation, placement: Placement) -> Champion:
    """Return the version that makes a placement's lists: the champion, or that of a variant.

    Best sellers come from the champion's bundle. Raises NoChampionError, or TailorbirdError for an unknown version.
    """
    champion = require_champion(installation)
    if placement.model in (CHAMPION, *BEST_SELLERS):
        return champion
    with installation.engine.connect() as connection:
        stored = model_of_variant(connection, int(placement.model)) if placement.model != CHALLENGER else None
    if stored is None:
        raise TailorbirdError(
            f"Version {placement.model} makes lists within an experiment only; write model = {CHAMPION!r}, or start an "
            "experiment with a variant of that model."
        )
    return stored


def _cascade(bundle: Bundle, placement: Placement, new: NewUsers) -> ModelCascade:
    if placement.model not in BEST_SELLERS:
        parts = bundle.model, bundle.segments, bundle.fallback, new, bundle.buyers
        return build_cascade(*parts, policy=placement.policy)
    if placement.model == "segment_best_sellers" and bundle.segments is not None:
        return ModelCascade((bundle.segments,))
    return ModelCascade(())


def _opened(installation: Installation, champion: Champion) -> Bundle:
    with installation.engine.connect() as connection:
        return load_promoted(champion, erased_since(connection, champion["dataset_version"]))


def catalogue_of(
    installation: Installation, items: NDArray[np.str_], placement: Placement, known: ReferenceData | None = None
) -> ItemAttributes:
    """Return the present attributes of these items (sorted).

    An item is not available if the catalogue does not know it or if all its purchases were refunded. Neither is an item
    that is out of stock, not released yet, or past its end. `known` is the reference data if it was read before.
    """
    known = known or read_reference_data(installation, history=False)
    catalogue = read_once(known, ("catalogue", id(items)), partial(_without_ages, installation, items, known))
    return (
        replace(catalogue, age_days=item_ages(installation, items, known))
        if placement.rules.lifetime_days
        else catalogue
    )


def _without_ages(installation: Installation, items: NDArray[np.str_], known: ReferenceData) -> ItemAttributes:
    rows = known.items
    at = index_of(words(rows[columns.ITEM_ID]), items)
    matched = rows.take(pa.array(at, mask=at < 0))
    price = matched[columns.PRICE].to_numpy(zero_copy_only=False).astype(np.float64)
    available = np.array(matched[columns.AVAILABLE].to_pylist(), dtype=object) == True  # noqa: E712 - nulls are not
    return ItemAttributes(
        items=items,
        category=words(matched[columns.CATEGORY]),
        brand=words(matched[columns.BRAND]),
        price=price,
        age_days=np.full(len(items), np.nan),
        available=available
        & ~fully_refunded(installation, items, known)
        & ~np.isin(items, _not_sold_now(installation)),
    )


def withheld(
    installation: Installation, placement: Placement, catalogue: ItemAttributes, known: ReferenceData
) -> NDArray[np.bool_]:
    """Return [n] which items the placement hides from everybody because of events, which only the lake knows."""
    hidden = fully_refunded(installation, catalogue.items, known)
    if placement.rules.lifetime_days is not None:
        hidden = hidden | (catalogue.age_days > placement.rules.lifetime_days)
    return hidden


def _not_sold_now(installation: Installation) -> list[str]:
    """Return the merchandise that cannot be bought now. Data sets do not see that: it is only known as of now."""
    with installation.engine.connect() as connection:
        return list(connection.execute(select(goods.c.item_id).where(goods.c.available, not_(sold_now()))).scalars())


def titles_not_for_sale(installation: Installation) -> list[str]:
    """Return the titles of items that cannot be bought, but for those that an item on sale has too."""
    shown = select(goods.c.title).where(sold_now())
    hidden = select(goods.c.title).where(not_(sold_now()), goods.c.title.is_not(None)).except_(shown)
    with installation.engine.connect() as connection:
        return list(connection.execute(hidden).scalars())


def segments_of(installation: Installation, dataset_version: str, keys: NDArray[np.str_]) -> Segments:
    """Return the RFM segment of each user by a data set; the last name is for users without one."""
    kinds = {USER_KEY: pa.string(), "rfm": pa.string()}
    query = select(segments.c.user_key, segments.c.rfm).where(segments.c.dataset_version == dataset_version)
    with installation.engine.connect() as connection:
        rows = read_table(connection, query, kinds)
    names, code = np.unique(words(rows["rfm"]), return_inverse=True)
    of_user = np.full(len(keys), len(names))
    row = index_of(keys, rows[USER_KEY])
    of_user[row[row >= 0]] = code[row >= 0]
    return Segments([*names.tolist(), "none"], of_user)


def compiled_rules(name: str, placement: Placement, catalogue: ItemAttributes) -> CompiledRules:
    """Return the placement's rules; raises TailorbirdError if no list could be full."""
    rules = CompiledRules.of(placement, catalogue)
    if placement.k > rules.allowed.sum():
        raise TailorbirdError(
            f"Only {rules.allowed.sum()} items can be recommended at {name!r}: ask for lists of at most that "
            "length, or loosen its rules."
        )
    return rules


def batch_spec(name: str, placement: Placement, champion: Champion, *inputs: Any) -> batch_state.BatchSpec:
    """Return the spec of a batch; the same champion, length and inputs of the lists are the same batch."""
    # Batches of earlier versions, which knew no models, are still the batches of today.
    unchosen = {"model"} if placement.model == CHAMPION else None
    digested = sha256(placement.model_dump_json(exclude=unchosen).encode())
    for part in inputs:
        if isinstance(part, CompiledRules):
            for array in (part.allowed, part.boost, part.promoted, *(cap.group for cap in part.caps)):
                digested.update(_bytes(array))
        elif isinstance(part, np.ndarray):
            digested.update(_bytes(part))
        else:
            digested.update(json.dumps(part, sort_keys=True, default=str).encode())
    version, k = champion["model_version"], placement.k
    key = f"v{version}-{k}-{digested.hexdigest()[:12]}"
    return batch_state.BatchSpec(name, key, version, champion["dataset_version"], k, placement.subject)


def _bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array without a copy: keys of a million users are hundreds of MB."""
    return memoryview(np.ascontiguousarray(array).view(np.uint8))  # type: ignore[arg-type]

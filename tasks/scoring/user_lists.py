"""Scores every user with consent for a placement, by the champion as far as it can speak of them."""

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select

from infra.database.schema.schema import exclusions
from infra.installation import Installation
from models.columns import PURCHASE, USER_KEY
from models.errors import TailorbirdError
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.recommendation_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_config import EVER
from models.lists.rules.rule_warnings import notes
from models.primitives.vocabulary import index_of, words
from models.recommenders.explanations.sentences import naming
from tasks.lake.new_users import newcomers
from tasks.lake.reference_data import ReferenceData
from tasks.lake.shared_reads import shared_reference_data
from tasks.lake.user_item_history import due, hidden
from tasks.promotion.champion import Champion, require_champion
from tasks.scoring import batch_state
from tasks.scoring.item_attributes import catalogue_of, titles_not_for_sale
from tasks.scoring.publish_batch import TextCodes, Work
from tasks.scoring.reads.champion_bundle import champion_bundle
from tasks.scoring.reads.user_segments import segments_of


def user_lists(installation: Installation, name: str, placement: Placement) -> Work:
    """What every user with consent is to get at a placement, before anything is scored."""
    holder = require_champion(installation)
    bundle = champion_bundle(holder)
    known = shared_reference_data(installation)
    people = np.sort(words(known.users[USER_KEY]))
    if not len(people):
        raise TailorbirdError("There is nobody to make lists for: no user has agreed to recommendations.")
    if np.array_equal(people, bundle.model.users):  # one array of keys: of a million users they are hundreds of MB
        people = bundle.model.users
    catalogue = catalogue_of(installation, bundle.model.items, placement, known)
    rules = CompiledRules.of(placement, catalogue)
    check_length(name, placement.k, rules)
    new = newcomers(installation, known, people, bundle.model.users, bundle.model.items)
    kept_out, wanted = _per_user(installation, known, placement, people, catalogue)
    models = build_cascade(bundle.model, bundle.segments, bundle.fallback, new, bundle.buyers)
    answers = ListBuilder(models, bundle.fallback, rules, bundle.buyers)
    clicks = [new.events.indptr, new.events.indices, new.events.data]
    pairs = [part for matrix in (kept_out, wanted) if matrix is not None for part in (matrix.indptr, matrix.indices)]
    made_from = digest(placement, people, rules, new.traits.to_pydict(), *clicks, *pairs)

    def lists(said: TextCodes) -> Iterator[Lists]:
        unspeakable = naming(titles_not_for_sale(installation))  # a champion may have learned before an item was marked
        for part in answers.build(people, kept_out, wanted):
            yield part.without(unspeakable).coded(said.codes)

    shelf = batch_spec(name, placement, holder, made_from)
    groups = segments_of(installation, holder["dataset_version"], people)
    told = notes(placement, catalogue)
    return Work(placement, shelf, people, bundle.model.items, rules.allowed, lists, groups, told)


def batch_spec(name: str, placement: Placement, holder: Champion, made_from: str) -> batch_state.BatchSpec:
    """What a batch is for; the same champion, length and `made_from` are the same batch."""
    version, k = holder["model_version"], placement.k
    key = f"v{version}-{k}-{made_from}"
    return batch_state.BatchSpec(name, key, version, holder["dataset_version"], k, placement.subject)


def check_length(name: str, k: int, rules: CompiledRules) -> None:
    """Raises TailorbirdError when nobody's list could be full."""
    if k > rules.allowed.sum():
        raise TailorbirdError(
            f"Only {rules.allowed.sum()} items can be recommended at {name!r}: ask for lists of at most that "
            "length, or loosen its rules."
        )


def digest(placement: Placement, *made_from: Any) -> str:
    """A short name of everything that lists are made from."""
    found = sha256(placement.model_dump_json().encode())
    for part in made_from:
        if isinstance(part, CompiledRules):
            for array in (part.allowed, part.boost, part.promoted, *(cap.group for cap in part.caps)):
                found.update(_bytes(array))
        elif isinstance(part, np.ndarray):
            found.update(_bytes(part))
        else:
            found.update(json.dumps(part, sort_keys=True, default=str).encode())
    return found.hexdigest()[:12]


def _bytes(array: NDArray[Any]) -> Any:
    """What an array is made of, without a copy: keys of a million users are hundreds of MB."""
    return np.ascontiguousarray(array).view(np.uint8)


def _per_user(
    installation: Installation,
    known: ReferenceData,
    placement: Placement,
    people: NDArray[np.str_],
    catalogue: ItemAttributes,
) -> tuple[Any, Any]:
    """Boolean CSR, people x items: what is hidden from whom, and under `again` what is due; None for nothing."""
    windows: dict[str, float | str] = dict(placement.rules.hide)
    if placement.policy == "discover":
        windows[PURCHASE] = EVER
    parts = [hidden(installation, people, catalogue.items, windows, known), _excluded(installation, people, catalogue)]
    said = [part for part in parts if part is not None]
    kept_out = None if not said else said[0] if len(said) == 1 else (said[0] + said[1]).astype(bool)
    return kept_out, due(installation, people, catalogue.items, known) if placement.policy == "repurchase" else None


def _excluded(installation: Installation, people: NDArray[np.str_], catalogue: ItemAttributes) -> Any:
    """Boolean CSR of what single users are never shown, None when nobody said so."""
    from scipy import sparse

    with installation.engine.connect() as connection:
        said = connection.execute(select(exclusions.c.user_key, exclusions.c.kind, exclusions.c.value)).all()
    if not said:
        return None
    row = index_of(people, pa.array([one.user_key for one in said], pa.string()))
    different = {(one.kind, one.value) for one in said}
    meant = {what: np.flatnonzero(_meant(*what, catalogue)) for what in different}
    items = [meant[one.kind, one.value] for one in said]
    known = [(user, some) for user, some in zip(row.tolist(), items, strict=True) if user >= 0]
    if not known:
        return None
    user = np.repeat([user for user, _ in known], [len(some) for _, some in known])
    item = np.concatenate([some for _, some in known])
    pairs = sparse.csr_array((np.ones(len(item), dtype=bool), (user, item)), shape=(len(people), len(catalogue.items)))
    pairs.sum_duplicates()
    return pairs


def _meant(kind: str, value: str, catalogue: ItemAttributes) -> NDArray[np.bool_]:
    if kind == "category":
        return catalogue.below(value)
    found: NDArray[np.bool_] = (catalogue.items if kind == "item" else catalogue.brand) == value
    return found

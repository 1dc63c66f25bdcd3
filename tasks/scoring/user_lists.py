"""Builds the lists of all users with consent for a placement, by the champion and its fallbacks."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from infra.installation import Installation
from models.columns import USER_KEY
from models.errors import TailorbirdError
from models.lists.batch_users import BatchUsers
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.recommendation_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_warnings import notes
from models.primitives.vocabulary import words
from models.recommenders.explanations.sentences import ReasonsNaming
from tasks.lake.new_users import newcomers
from tasks.lake.shared_reads import shared_reference_data
from tasks.promotion.champion import require_champion
from tasks.scoring.batch_keys import batch_spec, check_length, digest
from tasks.scoring.publish_batch import TextCodes, Work
from tasks.scoring.reads.champion_bundle import champion_bundle
from tasks.scoring.reads.item_attributes import catalogue_of, titles_not_for_sale, withheld
from tasks.scoring.reads.user_exclusions import hidden_and_due
from tasks.scoring.reads.user_segments import segments_of

_PUBLISHES_USERS: Final = "batch_users"
# Batches of earlier versions differ from those that state what they know of their users.


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

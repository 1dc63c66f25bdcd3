"""The product's policies for a simulated home page: best sellers, published lists, and live lists of the champion."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.uplift.simulated_shop import PLACES, Act, Shown
from infra.bundles.bundle import Bundle
from infra.bundles.manifest import Manifest
from models import catalog
from models.columns import PURCHASE
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.placement_config import Placement
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.explanations.sentences import recent_buyers
from models.recommenders.item_based.item_evidence import ItemEvidence
from models.recommenders.protocols import DISCOVER, Recommender
from serving.events.store import PROFILE_LIFETIME
from serving.live.live_lists import VisitorState, visitor_list
from serving.live.prepared_rules import RuleCache
from serving.live.visitor_facts import BatchFacts, LatestItems
from serving.model.loaded_model import LoadedModel

CONTROL: Final = "segments' best sellers"
BEST_SELLERS: Final = "best sellers"
CHAMPION: Final = "champion"
LIVE: Final = "champion, live lists"
POLICIES: Final = (CONTROL, BEST_SELLERS, CHAMPION, LIVE)
_KINDS: Final = {CONTROL: "segment_popular", BEST_SELLERS: "most_popular", CHAMPION: "two_stage"}
_SEED: Final = 7
_FEW_REPEATS: Final = 0.0
"""The share of repeat purchases in shops whose people buy nothing twice."""
_PUBLISHED: Final = 2 * PLACES
"""Items of a published list: those that the user buys meanwhile are left out."""
_CLICK: Final = "click"
_DAYS: Final = PROFILE_LIFETIME / timedelta(days=1)


def best_sellers(dataset: Dataset) -> Shown:
    """Return the policy of everybody before the experiment."""
    data = dataset.training_data(dataset.cuts.as_of)
    return _published(_fitted(BEST_SELLERS, data), data)


def learned(dataset: Dataset) -> Mapping[str, Shown]:
    """Return all policies, trained on everything up to the end of the data set.

    The home page has the policy `discover` in all of them, so nobody is shown what they have.
    """
    data = dataset.training_data(dataset.cuts.as_of)
    models = {name: _fitted(name, data) for name in _KINDS}
    shown = {name: _published(model, data) for name, model in models.items()}
    return shown | {LIVE: _live(models[CHAMPION], data)}


def _fitted(name: str, data: TrainingData) -> Recommender:
    kind = _KINDS[name]
    return catalog.model_type(kind).fit(data, catalog.defaults(kind, _FEW_REPEATS), _SEED)


def _published(model: Recommender, data: TrainingData) -> Shown:
    """Return the lists of a model as `score` publishes them, without what was bought since."""
    popular, everything = popularity(data), np.ones(len(data.items), dtype=bool)
    rules = CompiledRules.plain(_PUBLISHED, everything)
    builder = ListBuilder(build_cascade(model, None, popular, policy=DISCOVER), popular, rules)
    numbers, users = _numbers(data.items), _numbers(data.users)
    listed: dict[int, NDArray[np.int64]] = {}
    for part in builder.build(data.users, data.history()):
        listed |= dict(zip(users[part.rows].tolist(), numbers[part.items], strict=True))
    best = numbers[np.argsort(-popular, kind="stable")[:_PUBLISHED]]

    def shown(user: int, at: float, acts: Sequence[Act]) -> NDArray[Any]:  # noqa: ARG001 - published lists have no time
        own = listed.get(user, best)
        left: NDArray[np.int64] = own[~np.isin(own, [act.item for act in acts if act.bought])]
        return left[:PLACES]

    return shown


def _live(model: Recommender, data: TrainingData) -> Shown:
    """Return the lists of the API for a placement with `live = true`, after the clicks and purchases of a day."""
    placement = Placement(k=PLACES, policy="discover", live=True)
    rules = RuleCache()
    prepared = rules.prepared(_loaded(model, data), None, "home", placement, PLACES, None)
    rules.close()
    position, history = {number: row for row, number in enumerate(_numbers(data.users).tolist())}, data.history()

    def shown(user: int, at: float, acts: Sequence[Act]) -> NDArray[Any]:
        row = position.get(user)
        own = [] if row is None else data.items[history.indices[history.indptr[row] : history.indptr[row + 1]]].tolist()
        hidden = (*own, *(_item(act.item) for act in acts if act.bought))
        latest = [(_item(act.item), PURCHASE if act.bought else _CLICK) for act in acts if act.day > at - _DAYS]
        visitor = VisitorState(f"u{user:05}", BatchFacts(hidden=hidden), acts=LatestItems.of(latest))
        return np.array([int(entry.item_id[1:]) for entry in visitor_list(prepared, visitor)])

    return shown


def _loaded(model: Recommender, data: TrainingData) -> LoadedModel:
    """Return the model as the API holds it, without the files of a bundle."""
    manifest = Manifest(model.kind, "", "simulated", _SEED, {}, {}, {}, "", {}, None, str(data.cut))
    bundle = Bundle(model, popularity(data), recent_buyers(data), data.available, None, manifest, manifest.digest)
    return LoadedModel(bundle, ItemEvidence.of(model))


def _item(number: int) -> str:
    return f"i{number:05}"


def _numbers(names: NDArray[np.str_]) -> NDArray[np.int64]:
    return np.array([int(name[1:]) for name in names.tolist()])

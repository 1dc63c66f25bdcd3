"""Measures the users per second that the two-stage model ranks, each with some 200 candidates of a large catalogue."""

import time
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.score.synthetic_shop import no_reasons
from models.features.definitions import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES
from models.features.encoding.encoder import Tags
from models.primitives.state import Lookup
from models.ranking.candidate_generation import Candidates, RankerRows, Retriever
from models.ranking.ensemble import BlendedRanker
from models.ranking.logistic import sigmoid
from models.ranking.two_stage import RANKER, Config, TwoStage
from models.recommenders import als, content_based
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines import most_popular, own_frequency
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased, ItemVectors, Weights
from models.recommenders.explanations.evidence import CategoryReasons
from models.recommenders.protocols import POLICIES

_CANDIDATES: Final = 200
_CHUNK: Final = 4096
_SEED: Final = 7
_PROBE: Final = 512
_BOUGHT: Final = 60
"""Different items of each user."""
_WORDS, _BRANDS, _LEVELS = 4000, 2000, (30, 300, 2000)
_LEARNERS: Final = 3000
"""Users whose candidates train the ranker: half a million rows or more."""
_UNKNOWN: Final = 0.1
_Array = NDArray[Any]


def two_stage_users_per_s() -> float:
    """Measure the default ranker on all processors, with many items and dimensions."""
    users = 20_000
    model = _with_candidates(two_stage(100_000, users, 64, _CANDIDATES // 4, _SEED), _CANDIDATES)
    all_users = np.arange(users, dtype=np.int32)
    model.ranked(all_users[:_PROBE])
    started = time.perf_counter()
    for start in range(0, users, _CHUNK):
        model.ranked(all_users[start : start + _CHUNK])
    return users / (time.perf_counter() - started)


def _with_candidates(model: TwoStage, candidates: int) -> TwoStage:
    """Return the model, with retrievers that return enough candidates per user."""
    some = np.arange(min(len(model.users), _PROBE), dtype=np.int32)
    while len(model.candidates.find(some).row) < candidates * len(some):
        more = replace(model.candidates, per_retriever=model.candidates.per_retriever + 1)
        model = replace(model, candidates=more)
    return model


def two_stage(items: int, users: int, dims: int, per_retriever: int, seed: int) -> TwoStage:
    """Fit it to labels that depend on some features of its own candidates."""
    random, config = np.random.default_rng(seed), Config(per_retriever=per_retriever)
    names = _names("u", users), _names("i", items)
    popularity = (random.permutation(1 / (np.arange(items) + 50.0)) * 1e5).astype(np.float32)
    history = _history(random, users, popularity)
    candidates = Candidates(
        _retrievers(random, names, history, popularity, dims),
        per_retriever,
        history.astype(bool),
        np.sort(np.argsort(-popularity, kind="stable")[: config.shelf]),
    )
    rows = _rows(random, history)
    learners = np.arange(min(users, _LEARNERS), dtype=np.int32)
    candidate_pairs = candidates.find(learners)
    examples = rows.build(learners, candidate_pairs)
    odds = np.nan_to_num(np.log1p(np.maximum(examples, 0))) @ random.normal(0, 0.3, examples.shape[1])
    labels = random.random(len(odds)) < sigmoid((odds - np.quantile(odds, 0.97)).astype(np.float32))
    ranker = BlendedRanker.fit(examples, labels.astype(np.float32), np.ones(len(odds), dtype=np.float32), config, seed)
    titles = np.full(len(names[1]), "", dtype=np.str_)
    heads = dict.fromkeys(POLICIES, RANKER)
    return TwoStage(config, names[0], names[1], candidates, rows, ranker, heads, titles)


def _names(letter: str, number: int) -> NDArray[np.str_]:
    return np.array([f"{letter}{at:07}" for at in range(number)])


def _history(random: np.random.Generator, users: int, popularity: _Array) -> sparse.csr_array:
    """Return a float32 CSR of decayed baskets."""
    item = random.choice(len(popularity), users * _BOUGHT, p=popularity / popularity.sum(dtype=np.float64))
    weight = random.gamma(1.0, 1.0, len(item)).astype(np.float32)
    row = np.repeat(np.arange(users), _BOUGHT)
    return sparse.csr_array((weight, (row, item)), shape=(users, len(popularity)))


def _retrievers(
    random: np.random.Generator, names: tuple[_Array, ...], history: sparse.csr_array, popularity: _Array, dims: int
) -> dict[str, Retriever]:
    users, items = names
    of_users, of_items = (random.normal(0, dims**-0.25, (len(part), dims)).astype(np.float32) for part in names)
    gram = np.eye(dims, dtype=np.float32)
    why = no_reasons(users, items)
    nowhen = np.zeros(history.nnz, dtype=np.int64)
    bought = (history.indptr.astype(np.int64), history.indices.astype(np.int32), history.data)
    return {
        "own_frequency": OwnFrequency(
            own_frequency.Config(), users, items, *bought, nowhen.astype(np.int32), nowhen, nowhen, 0
        ),
        "als": ImplicitALS(als.Config(dims), users, items, of_users, of_items, gram, of_users[0], why),
        "content_based": _content(random, users, items, history, why),
        "most_popular": MostPopular(most_popular.Config(), users, items, popularity, np.zeros(len(items), np.int32)),
    }


def _content(
    random: np.random.Generator, users: _Array, items: _Array, history: sparse.csr_array, why: CategoryReasons
) -> ContentBased:
    """Return titles of four words, common words more often, categories of three levels, and brands."""
    words = (_WORDS * random.random((len(items), 4)) ** 2).astype(int)
    titles = np.array([" ".join(f"word{_letters(word)}" for word in row) for row in words.tolist()])
    path, brand = random.integers(_LEVELS[-1], size=len(items)), random.integers(_BRANDS, size=len(items))
    paths = ["|".join(f"{level}-{at % count}" for level, count in enumerate(_LEVELS)) for at in path.tolist()]
    brands = [f"brand {one}" for one in brand.tolist()]
    table = pa.table({"item_id": items.tolist(), "category": paths, "brand": brands})
    rules = Tags.fit(table, ("category", "brand"))
    tags, config = rules.encode(table), content_based.Config()
    language = ItemVectors.fit(titles, tags, rules)
    weights = Weights(config.title_weight, config.category_weight, config.attribute_weight)
    return ContentBased(config, users, items, language, language.vectors(titles, tags, weights), history, why)


def _letters(number: int) -> str:
    """Return words of letters only."""
    return "".join(chr(97 + int(digit)) for digit in str(number))


def _rows(random: np.random.Generator, history: sparse.csr_array) -> RankerRows:
    """Return numbers of every size, a tenth of them unknown."""
    users, items = history.shape

    def numbers(n: int, features: int) -> NDArray[np.float32]:
        made = random.lognormal(0, 2, (n, features)).astype(np.float32)
        made[random.random(made.shape) < _UNKNOWN] = np.nan
        return made

    user = np.repeat(np.arange(users), np.diff(history.indptr))
    category = random.integers(_LEVELS[-1], size=items).astype(np.int32)
    code = np.unique(user * _LEVELS[-1] + category[history.indices])
    return RankerRows(
        numbers(users, len(USER_FEATURES) - 2),
        numbers(items, len(ITEM_FEATURES) + 1),
        Lookup(items, user * items + history.indices, numbers(history.nnz, len(PAIR_FEATURES))),
        category,
        Lookup(_LEVELS[-1], code, numbers(len(code), 2)),
    )

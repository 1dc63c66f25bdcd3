"""ALS for implicit feedback (Hu, Koren and Volinsky 2008): factors whose products predict whether an item is bought."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.interaction_matrix import baskets
from models.errors import TailorbirdError
from models.primitives.state import Part, StoredModel
from models.primitives.threads import allowed_threads
from models.recommenders.explanations.evidence import WHY, CategoryReasons
from models.recommenders.explanations.sentences import ReasonsFromCodes
from models.recommenders.search_space import Choice, Float, Integer, Parameter
from models.retrieval.candidate_query import CandidatePairs, CandidateScope, PreparesScopes, best_by_scores
from models.retrieval.candidate_sources import products

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData


@dataclass(frozen=True)
class Config:
    """Settings of ImplicitALS."""

    factors: int = 64
    """Length of the factors."""
    iterations: int = 8
    """Alternations between users and items."""
    regularization: float = 10.0
    """L2 penalty on the factors."""
    alpha: float = 2.0
    """How much more confidence a purchase carries than the absence of one."""
    half_life_days: float = 45.0
    """A basket this old counts half."""
    click_weight: float = 3.0
    """How much more confidence a new user's click carries than a purchase: new users have shown little else."""


@dataclass(frozen=True)
class ImplicitALS(StoredModel, PreparesScopes, ReasonsFromCodes):
    """Fitted factors: a score near 1 means that the user buys the item, near 0 that the user does not.

    The confidence in a pair is alpha log(1 + r), with its decayed baskets r. The paper adds 1 (equation 6), which gives
    an old basket at least the confidence of a pair without one; without it the lists were better.
    """

    kind: ClassVar[str] = "als"
    config_type: ClassVar[type[Config]] = Config
    few_repeats: ClassVar[Config] = Config(factors=32, iterations=15, regularization=5.0, half_life_days=180.0)
    space: ClassVar[Mapping[str, Parameter]] = {
        "factors": Choice((32, 64, 128)),
        "iterations": Integer(5, 25),
        "regularization": Float(0.1, 100, log=True),
        "alpha": Float(0.25, 16, log=True),
        "half_life_days": Float(14, 365, log=True),
    }

    stored: ClassVar[Mapping[str, Part]] = {"why": WHY}

    user_factors: NDArray[np.float32]
    """All zeros for a user without any data."""
    item_factors: NDArray[np.float32]
    gram: NDArray[np.float32]
    """[factors, factors] sum over all items of the outer product of the factors with themselves."""
    mean_user: NDArray[np.float32]
    """[factors] of a new user without clicks."""
    why: CategoryReasons

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:
        """Solve users and items in turn, by conjugate gradients (Takács, Pilászy and Tikk 2011).

        Raises TailorbirdError if the system lacks what the library needs.
        """
        weights = sparse.csr_matrix(baskets(data, config.half_life_days))
        model = _solved(_confidence(weights, config.alpha), config, seed)
        item_factors = np.ascontiguousarray(model.item_factors, dtype=np.float32)
        user_factors = np.ascontiguousarray(model.user_factors, dtype=np.float32)
        return cls(
            config=config,
            users=data.users,
            items=data.items,
            user_factors=user_factors,
            item_factors=item_factors,
            gram=item_factors.T @ item_factors,
            mean_user=user_factors.mean(axis=0),
            why=CategoryReasons.fit(data),
        )

    @property
    def item_vectors(self) -> NDArray[np.float32]:
        """[n_items, factors]"""
        return self.item_factors

    @cached_property
    def _known_users_mask(self) -> NDArray[np.bool_]:
        """[n_users] true for users with any data."""
        known: NDArray[np.bool_] = np.any(self.user_factors, axis=1)
        return known

    def queries(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, factors] the users' factors; NaN for strangers and for users without data."""
        known = (users >= 0) & self._known_users_mask[users]
        return np.where(known[:, None], self.user_factors[users], np.float32(np.nan))

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return products of the factors; -inf for strangers."""
        return self._products(users, self.item_factors)

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items of each user in the scope."""
        vectors = self._scoped.prepared(scope.items, lambda items: self.item_factors[items])
        return best_by_scores(lambda some: self._products(some, vectors), users, scope, n)

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""
        known = (users >= 0) & self._known_users_mask[users]
        return products(self.user_factors, self.item_factors, np.where(known, users, -1), items)

    def _products(self, users: NDArray[np.int32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = np.full((len(users), len(vectors)), -np.inf, dtype=np.float32)
        known = (users >= 0) & self._known_users_mask[users]
        scores[known] = self.user_factors[users[known]] @ vectors.T
        return scores

    def reason_codes(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        """Return the item's category if the user has enough of it, or the nearest item that a new user viewed."""
        return self.why.coded(users, items, self.item_factors)

    def with_users(self, users: "NewUsers") -> Self:
        """Return the model of users by the factors that fit their clicks best, with fixed item factors (equation 4).

        An item that a new user has not clicked is no sign of disinterest. So the mean user's values replace the
        equation's 0 for such items, and for the factors under the penalty.
        """
        clicks = _confidence(sparse.csr_array(users.events, dtype=np.float32), self.config.alpha)
        clicks.data *= self.config.click_weight
        prior = self.gram + self.config.regularization * np.eye(len(self.gram), dtype=np.float32)
        factors = np.zeros((len(users.keys), len(self.gram)), dtype=np.float32)
        for user in np.flatnonzero(np.diff(clicks.indptr)):
            own = slice(clicks.indptr[user], clicks.indptr[user + 1])
            theirs, confidence = self.item_factors[clicks.indices[own]], clicks.data[own]
            system = prior + (theirs.T * (confidence - 1)) @ theirs
            target = prior @ self.mean_user + (confidence - theirs @ self.mean_user) @ theirs
            factors[user] = np.linalg.solve(system, target)
        return replace(self, users=users.keys, user_factors=factors, why=self.why.for_users(clicks))


def _confidence(weights: Any, alpha: float) -> Any:
    confident = weights.copy()
    confident.data = (alpha * np.log1p(weights.data)).astype(np.float32)
    return confident


def _solved(confidence: Any, config: Config, seed: int) -> Any:
    """Return the library's model. Rows are solved one by one, so the result does not depend on the threads."""
    model_type = _library()
    with warnings.catch_warnings():
        # The library warns of the BLAS of faiss, which it never calls.
        warnings.filterwarnings("ignore", "OpenBLAS is configured", RuntimeWarning)
        model = model_type(
            factors=config.factors,
            iterations=config.iterations,
            regularization=config.regularization,
            alpha=1.0,
            num_threads=allowed_threads(),
            random_state=np.random.default_rng(seed),
        )
    # Only items start at random: the same history has the same factors, whatever the order of the users.
    model.user_factors = np.zeros((confidence.shape[0], config.factors), dtype=np.float32)
    model.fit(confidence, show_progress=False)
    return model


def _library() -> Any:
    try:
        from implicit.cpu.als import AlternatingLeastSquares  # only a fit needs it: a stored model outlives the library
    except ImportError as error:
        if "libgomp" not in str(error):
            raise
        raise TailorbirdError(
            "ALS needs the system's OpenMP library, libgomp.so.1: "
            "install the package libgomp1 (Debian, Ubuntu) or libgomp (Fedora, Alpine)."
        ) from None
    return AlternatingLeastSquares

"""A verified champion in memory, with what live lists need of it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from infra.bundles.bundle import Bundle
from models.recommenders.item_based.item_evidence import ItemEvidence
from serving.model.ranked_users import RankedUsers


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A bundle that was verified and checked, and its origin."""

    bundle: Bundle
    evidence: ItemEvidence
    """Which items go with which, as the model learned it."""
    model_version: int | None = None
    """The registered version; None for a bundle folder without a promotion."""
    promotion_id: int | None = None

    @property
    def dataset_version(self) -> str:
        """The data set that the model learned from."""
        return self.bundle.manifest.dataset_version

    @property
    def digest(self) -> str:
        """The digest of the bundle's manifest: the same one is the same model."""
        return self.bundle.digest

    @property
    def items(self) -> NDArray[np.str_]:
        """[n] ids of the items that the model knows, sorted."""
        return self.bundle.model.items

    @cached_property
    def ranked(self) -> RankedUsers:
        """The candidates of users who were asked for."""
        return RankedUsers(self.bundle.model)

"""Checks whether an experiment may state a result: the split of users, their assignment, and single users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

_RARE: Final = 0.001
"""A split that chance makes in fewer cases is taken as broken: the check is read every day."""
_MOST: Final = 0.05
"""The largest share that one user may have of what a variant counts."""
_TIMES: Final = 10
"""Among few users who have anything, one may have this many times their mean instead."""
_SHARED: Final = 0.01
"""The largest share of users who may have seen more than one variant."""


@dataclass(frozen=True)
class Check:
    """A condition of a result; `detail` is a sentence."""

    name: str
    passed: bool
    detail: str


def sample_ratio(users: Mapping[str, int], shares: Mapping[str, float]) -> Check:
    """Check that the users of each variant are as many as its share says (chi-square test)."""
    total, planned = sum(users.values()), sum(shares.values())
    expected = [total * share / planned for share in shares.values()]
    seen = [users.get(name, 0) for name in shares]
    surprise = sum((have - want) ** 2 / want for have, want in zip(seen, expected, strict=True)) if total else 0.0
    chance = float(special.chdtrc(len(shares) - 1, surprise))
    pairs = ", ".join(
        f"{name} {have:,} of {want:,.0f}" for name, have, want in zip(shares, seen, expected, strict=True)
    )
    return Check("sample ratio", chance >= _RARE, f"Users by variant, and expected: {pairs} (p = {chance:.2g}).")


def assignment(seen: ArrayLike, assigned: ArrayLike, users: int) -> Check:
    """Check that users see the variant that they are assigned to, and only that one.

    `seen` and `assigned` are the variants of each pair of a user and a variant that the user saw ([n] each), of so many
    users.
    """
    pairs = np.asarray(seen) == np.asarray(assigned)
    wrong = len(pairs) - int(pairs.sum())
    share = wrong / users if users else 0.0
    detail = f"{wrong:,} of {users:,} users saw a variant that they are not assigned to."
    return Check("assignment", share <= _SHARED, detail)


def single_users(amounts: Mapping[str, ArrayLike]) -> Check:
    """Check that no user, such as a robot, makes up much of what a variant counts: amounts by user ([n]) of each."""
    found = [
        (
            _largest_share(np.asarray(values, dtype=np.float64)),
            max(_MOST, _TIMES / max(1, int(np.count_nonzero(values)))),
            name,
        )
        for name, values in amounts.items()
    ]
    largest, most, name = max(found, key=lambda one: one[0] / one[1], default=(0.0, _MOST, "no variant"))
    detail = f"The largest share of one user is {largest:.1%}, in {name}; {most:.0%} is allowed."
    return Check("single users", largest <= most, detail)


def _largest_share(amounts: NDArray[np.float64]) -> float:
    total = amounts.sum()
    return float(amounts.max() / total) if total > 0 else 0.0

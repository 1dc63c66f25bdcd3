"""Estimates how much a variant differs from the control, with one row per user, who is the unit of assignment."""

from dataclasses import dataclass
from math import exp, inf, log, nan, sqrt
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
_NUMERATOR, _DENOMINATOR, _BEFORE, _BEFORE_DENOMINATOR = range(4)


class Interval(NamedTuple):
    """A relative change with its bounds; 0.05 is 5 % more."""

    change: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Moments:
    """The means and covariances of the users of one variant, for one metric.

    A metric is a ratio of sums over users, such as clicks by impressions; the mean of a user is the ratio with ones as
    denominators. Both have their values before the experiment beside them.
    """

    users: int
    means: Floats
    """[4] numerator, denominator, and both before the experiment."""
    covariance: Floats
    """[4, 4]"""

    @classmethod
    def of(
        cls,
        numerator: ArrayLike,
        denominator: ArrayLike | None = None,
        before: ArrayLike | None = None,
        before_denominator: ArrayLike | None = None,
    ) -> Self:
        """Return the moments of at least two users ([n] each). Without values before, nothing is adjusted."""
        top = np.asarray(numerator, dtype=np.float64)
        ones = np.ones_like(top)
        parts = (denominator, before, before_denominator)
        usual = (ones, np.zeros_like(top), ones)
        rows = np.stack([top, *(other if own is None else own for own, other in zip(parts, usual, strict=True))])
        return cls(len(top), rows.mean(axis=1), np.cov(rows))

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the users of both."""
        users = self.users + other.users
        between = other.means - self.means
        scatter = (self.users - 1) * self.covariance + (other.users - 1) * other.covariance
        scatter += np.outer(between, between) * (self.users * other.users / users)
        return Moments(users, self.means + between * (other.users / users), scatter / (users - 1))

    @property
    def ratio(self) -> float:
        """The metric; NaN without a denominator."""
        return _ratio(self.means[_NUMERATOR], self.means[_DENOMINATOR])

    @property
    def ratio_before(self) -> float:
        """The metric before the experiment."""
        return _ratio(self.means[_BEFORE], self.means[_BEFORE_DENOMINATOR])

    @property
    def gradients(self) -> tuple[Floats, Floats]:
        """How the metric, now and before, depends on the means, for the delta method; zeros if it has no value."""
        now, before = np.zeros(4), np.zeros(4)
        if self.means[_DENOMINATOR]:
            now[[_NUMERATOR, _DENOMINATOR]] = np.array([1, -self.ratio]) / self.means[_DENOMINATOR]
        if self.means[_BEFORE_DENOMINATOR]:
            before[[_BEFORE, _BEFORE_DENOMINATOR]] = np.array([1, -self.ratio_before]) / self.means[_BEFORE_DENOMINATOR]
        return now, before

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval of 95 % of the metric, by the delta method."""
        now, _ = self.gradients
        error = sqrt(max(float(now @ self.covariance @ now), 0.0) / self.users)
        width = -error * float(special.stdtrit(self.users - 1, 0.025))
        return self.ratio - width, self.ratio + width


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else nan


@dataclass(frozen=True)
class Difference:
    """The metric of a variant and of the control, after the adjustment by what users did before (CUPED)."""

    control: float
    variant: float
    errors: tuple[float, float]
    """Standard errors of both."""
    users: tuple[int, int]
    variance_cut: float
    """The share of the variance that the adjustment took away."""

    @property
    def error(self) -> float:
        """The standard error of the difference."""
        return sqrt(self.errors[0] ** 2 + self.errors[1] ** 2)

    @property
    def z(self) -> float:
        """The difference in standard errors, as a normal deviate with the tails of Student's t."""
        if not self.error > 0:
            return 0.0
        t = (self.variant - self.control) / self.error
        return float(np.copysign(-special.ndtri(special.stdtr(self._degrees, -abs(t))), t))

    def interval(self, z: float) -> Interval:
        """Return the relative change with bounds that are z normal deviates away; NaN unless both metrics are positive.

        The logarithm of the quotient is taken as normal, so that no bound is below -100 %.
        """
        if not (self.control > 0 and self.variant > 0):
            return Interval(nan, -inf, inf)
        relative = sqrt((self.errors[0] / self.control) ** 2 + (self.errors[1] / self.variant) ** 2)
        width = -relative * float(special.stdtrit(self._degrees, special.ndtr(-z)))
        centre = log(self.variant / self.control)
        return Interval(exp(centre) - 1, exp(centre - width) - 1, exp(centre + width) - 1)

    @property
    def _degrees(self) -> float:
        """Welch's degrees of freedom."""
        parts = [error**4 / (users - 1) for error, users in zip(self.errors, self.users, strict=True)]
        return self.error**4 / sum(parts) if sum(parts) else inf


def difference(control: Moments, variant: Moments) -> Difference:
    """Compare a variant with the control.

    Ratios have variances by the delta method. CUPED (Deng et al. 2013) takes away the part of a metric that the same
    metric before the experiment explains, with one factor for both groups.
    """
    both = control + variant
    now, before = both.gradients
    explained = before @ both.covariance @ before
    factor = float(now @ both.covariance @ before / explained) if explained > 0 else 0.0
    centre = both.ratio_before if explained > 0 else 0.0
    adjusted = [_adjusted(one, factor, centre) for one in (control, variant)]
    plain = [_adjusted(one, 0.0, 0.0) for one in (control, variant)]
    variances = [sum(error**2 for _, error in ones) for ones in (adjusted, plain)]
    cut = 1 - variances[0] / variances[1] if variances[1] > 0 else 0.0
    (low, low_error), (high, high_error) = adjusted
    return Difference(low, high, (low_error, high_error), (control.users, variant.users), cut)


def _adjusted(group: Moments, factor: float, centre: float) -> tuple[float, float]:
    """Return the adjusted metric of a group and its standard error."""
    now, before = group.gradients
    gradient = now - factor * before if factor else now
    value = group.ratio - factor * (group.ratio_before - centre) if factor else group.ratio
    return value, sqrt(max(float(gradient @ group.covariance @ gradient), 0.0) / group.users)

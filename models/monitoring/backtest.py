"""Compares policies of retraining over past weeks, in which each policy published lists of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.bootstrap import Estimate, intervals_of_ratios
from models.monitoring.retraining_policies import Policy
from models.primitives.json_types import JsonObject

REFERENCES: Final = ("popularity", "own frequency")
"""Lists beside those of the policies: the best sellers of four weeks, and the items that the user bought most often."""
FIGURES: Final = ("hit_rate", "ndcg", "revenue_share")
_SEED: Final = 7
Floats = NDArray[np.float64]


class Retraining(NamedTuple):
    """One retraining of a policy."""

    period: int
    """It made the lists of this period, from 0 on. The first training, at 0, is none."""
    seconds: float
    outcome: str
    """`promoted`, or another outcome of a review."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Outcomes of the lists of n policies and references for u users in p periods.

    Where a user bought nothing, all are 0.
    """

    names: Sequence[str]
    """[n] the policies, then the references. Policies are compared with the first one."""
    hits: Floats
    """[u, n, p] whether the user bought an item of the list."""
    ndcg: Floats
    """[u, n, p]"""
    earned: Floats
    """[u, n, p] the value of purchases of items of the list."""
    value: Floats
    """[u, p] the value of all purchases."""
    bought: Floats
    """[u, p] whether the user bought anything."""

    def _parts(self, figure: str) -> tuple[Floats, Floats]:
        """Return what is summed above [u, n, p] and below [u, p] the line of a figure."""
        above = {"hit_rate": self.hits, "ndcg": self.ndcg, "revenue_share": self.earned}[figure]
        return above, self.value if figure == "revenue_share" else self.bought

    def by_period(self, figure: str) -> list[list[Estimate]]:
        """Return a figure of each policy and reference ([n]) in each period ([p])."""
        above, below = self._parts(figure)
        users, names, periods = above.shape
        repeated = np.broadcast_to(below[:, None], above.shape).reshape(users, -1)
        flat = _ratios(above.reshape(users, -1), repeated)
        return [flat[place * periods : (place + 1) * periods] for place in range(names)]

    def total(self, figure: str) -> list[Estimate]:
        """Return a figure of each policy and reference ([n]) over all periods."""
        above, below = self._parts(figure)
        sums = above.sum(axis=2)
        return _ratios(sums, np.broadcast_to(below.sum(axis=1)[:, None], sums.shape))

    def gain(self, name: str, other: str, periods: slice = slice(None), comparisons: int = 1) -> Estimate:
        """Return how much better the NDCG of a policy is than that of another one in some periods."""
        one, two = self.names.index(name), self.names.index(other)
        above = (self.ndcg[:, one, periods] - self.ndcg[:, two, periods]).sum(axis=1)
        return _ratios(above[:, None], self.bought[:, periods].sum(axis=1)[:, None], comparisons)[0]


def _ratios(above: Floats, below: Floats, comparisons: int = 1) -> list[Estimate]:
    """Return the ratio of the sums over users of each column [u, m], with its interval."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = above.sum(axis=0) / below.sum(axis=0)
    low, high = intervals_of_ratios(above, below, _SEED, comparisons)
    return [Estimate(*map(float, row)) for row in zip(values, low, high, strict=True)]


def compare_policies(
    outcomes: Outcomes,
    days: Sequence[date],
    retrainings: Mapping[str, Sequence[Retraining]],
    requests: Sequence[int],
) -> JsonObject:
    """Return the tables of a backtest and its recommendation.

    `days` [p] are the first days of the periods, `requests` those before which drift asked for a retraining.
    """
    policies = [name for name in outcomes.names if name not in REFERENCES]
    totals = {figure: outcomes.total(figure) for figure in FIGURES}
    by_period = {figure: outcomes.by_period(figure) for figure in FIGURES}
    first, others = policies[0], max(1, len(policies) - 1)
    rows, periods = [], []
    for place, name in enumerate(outcomes.names):
        trained = retrainings.get(name, ())
        row: JsonObject = {"policy": name} | {figure: totals[figure][place]._asdict() for figure in FIGURES}
        if name in policies:
            row |= {"retrainings": len(trained), "seconds": round(sum(one.seconds for one in trained), 1)}
        row["gain"] = outcomes.gain(name, first, comparisons=others)._asdict() if name in policies[1:] else None
        rows.append(row)
        known = {one.period: one for one in trained}
        for period, day in enumerate(days):
            found: JsonObject = {
                "policy": name,
                "from": day.isoformat(),
                "buyers": int(outcomes.bought[:, period].sum()),
            }
            found |= {figure: by_period[figure][place][period]._asdict() for figure in FIGURES}
            found["retrained"] = known[period].outcome if period in known else ""
            periods.append(found)
    judged = [_judged(outcomes, days, period, retrainings.get(Policy.DRIFT, ()), first) for period in requests]
    best = max((row for row in rows if row["policy"] in REFERENCES), key=lambda row: float(row["ndcg"]["value"]))
    advice = _advice(outcomes, policies, {row["policy"]: row for row in rows})
    advice += f" Without any model, {best['policy']} reached {_value(best)}."
    return {"policies": rows, "periods": periods, "requests": judged, "recommendation": advice}


def _judged(
    outcomes: Outcomes, days: Sequence[date], period: int, trained: Sequence[Retraining], first: str
) -> JsonObject:
    """Return whether a request of drift was right: whether the lists were better until the next retraining."""
    own = next((one for one in trained if one.period == period), None)
    until = next((one.period for one in trained if one.period > period), len(days))
    row: JsonObject = {"from": days[period].isoformat(), "outcome": own.outcome if own else "no retraining"}
    if own is None or own.outcome != "promoted":
        return row | {"gain": None, "verdict": "not needed: nothing better was found"}
    if first == Policy.DRIFT:
        return row | {"gain": None, "verdict": "not comparable without another policy"}
    gain = outcomes.gain(Policy.DRIFT, first, slice(period, until))
    verdict = "right" if gain.low > 0 else "wrong" if gain.high < 0 else "no difference shown"
    return row | {"gain": gain._asdict(), "verdict": verdict}


def _advice(outcomes: Outcomes, policies: Sequence[str], rows: Mapping[str, JsonObject]) -> str:
    """Return the cheapest policy that is better than the first one, and not shown to be worse than the best."""
    first = policies[0]
    better = [name for name in policies[1:] if rows[name]["gain"]["low"] > 0]
    if not better:
        return (
            f"No policy was significantly better than `{first}` in these periods, at NDCG@10 {_value(rows[first])}."
            if policies[1:]
            else f"`{first}` reached NDCG@10 {_value(rows[first])}. Name a second policy to compare it with."
        )
    best = max(better, key=lambda name: rows[name]["ndcg"]["value"])
    equal = [best, *(name for name in better if name != best and outcomes.gain(best, name).low <= 0)]
    chosen = min(equal, key=lambda name: rows[name]["seconds"])
    gain, minutes = rows[chosen]["gain"], rows[chosen]["seconds"] / 60
    text = (
        f"Choose `{chosen}`: NDCG@10 {_value(rows[chosen])} against {_value(rows[first])} of `{first}` "
        f"({gain['value']:+.4f}, {gain['low']:+.4f} to {gain['high']:+.4f}), for {minutes:.0f} minutes of training."
    )
    others = [f"`{name}`" for name in equal if name != chosen]
    return f"{text} {' and '.join(others)} cost more, and no gain over it was shown." if others else text


def _value(row: JsonObject) -> str:
    return f"{row['ndcg']['value']:.4f}"

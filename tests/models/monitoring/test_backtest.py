"""Policies of retraining are compared by the lists that they published."""

from datetime import date
from typing import get_args

import numpy as np
import pytest

from models.errors import TailorbirdError
from models.monitoring.backtest import (
    REFERENCES,
    Outcomes,
    Retraining,
    compare_policies,
)
from models.monitoring.retraining_policies import Policy, day_of, is_due, publication_days
from tasks.orchestration.form_fields import Policies

USERS, PERIODS = 400, 4
DAYS = publication_days(date(2017, 9, 4), date(2017, 10, 2), 7)[:-1]


def outcomes(**gains: float) -> Outcomes:
    """Return outcomes in which the NDCG of each policy is that much above a random one."""
    random = np.random.default_rng(3)
    names = [*gains, *REFERENCES]
    bought = (random.random((USERS, PERIODS)) < 0.7).astype(np.float64)
    base = random.random((USERS, PERIODS)) * 0.5
    added = np.array([*gains.values(), -0.1, -0.1])
    noise = random.normal(0, 0.02, (USERS, len(names), PERIODS))
    ndcg = np.clip(base[:, None] + added[None, :, None] + noise, 0, 1) * bought[:, None]
    value = random.random((USERS, PERIODS)) * bought
    return Outcomes(names, (ndcg > 0.2).astype(np.float64), ndcg, ndcg * value[:, None], value, bought)


def test_a_figure_is_the_ratio_of_sums_over_the_people_who_bought_something() -> None:
    known = outcomes(never=0.0, monthly=0.1)

    total, weekly = known.total("ndcg"), known.by_period("revenue_share")

    assert total[1].value == pytest.approx(known.ndcg[:, 1].sum() / known.bought.sum())
    assert weekly[0][2].value == pytest.approx(known.earned[:, 0, 2].sum() / known.value[:, 2].sum())
    assert all(one.low <= one.value <= one.high for one in total)


def test_the_best_policy_is_recommended_and_a_cheaper_one_in_its_place_if_no_difference_is_shown() -> None:
    known = outcomes(never=0.0, monthly=0.1, weekly=0.1001)
    weekly = [Retraining(period, 200.0, "promoted") for period in (1, 2, 3)]

    report = compare_policies(known, DAYS, {"monthly": [Retraining(3, 300.0, "promoted")], "weekly": weekly}, [])

    assert report["recommendation"].startswith("Choose `monthly`: ")
    assert "for 5 minutes of training. `weekly` cost more, and no gain over it was shown." in report["recommendation"]
    assert [row["gain"] is None for row in report["policies"]] == [True, False, False, True, True]


def test_nothing_is_recommended_when_no_policy_is_better() -> None:
    report = compare_policies(outcomes(never=0.0, drift=0.0), DAYS, {}, [])

    assert report["recommendation"].startswith("No policy was significantly better than `never`")


def test_a_request_is_judged_by_the_periods_until_the_next_retraining() -> None:
    known = outcomes(never=0.0, drift=0.0)
    known.ndcg[:, 1, 1] += 0.2 * known.bought[:, 1]
    trained = [Retraining(1, 60.0, "promoted"), Retraining(2, 60.0, "kept"), Retraining(3, 60.0, "promoted")]

    judged = compare_policies(known, DAYS, {"drift": trained}, [1, 2, 3])["requests"]

    assert [row["verdict"] for row in judged] == [
        "right",
        "not needed: nothing better was found",
        "no difference shown",
    ]
    assert judged[0]["gain"]["value"] == pytest.approx(0.2, abs=0.01)
    assert [row["from"] for row in judged] == ["2017-09-11", "2017-09-18", "2017-09-25"]


def test_a_policy_retrains_after_its_days_and_drift_when_it_asked() -> None:
    assert [is_due("monthly", days, False) for days in (27, 28)] == [False, True]
    assert [is_due("weekly", days, False) for days in (6, 7)] == [False, True]
    assert [is_due("drift", 400, asked) for asked in (False, True)] == [False, True]
    assert not is_due("never", 400, True)


def test_the_form_of_the_deployment_offers_every_policy() -> None:
    choices, _length = get_args(Policies)
    assert list(get_args(get_args(choices)[0])) == list(Policy)


def test_days_that_make_no_period_are_refused_with_the_next_step() -> None:
    with pytest.raises(TailorbirdError, match="in steps of 7 days has 0"):
        publication_days(date(2017, 9, 1), date(2017, 9, 5), 7)
    with pytest.raises(TailorbirdError, match="'Monday' is no day; write one such as 2017-12-31"):
        day_of("Monday")

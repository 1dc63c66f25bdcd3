"""Lives the past again under several policies of retraining."""

from prefect import flow

from flows.train import MODELS
from models.primitives.json_types import JsonObject
from tasks.monitoring.backtest.run_backtest import run_backtest
from tasks.orchestration.form_fields import Models, Policies, Words

POLICIES: Policies = ["never", "monthly", "drift"]


@flow(flow_run_name="backtest {begin} to {end}")
def backtest(
    begin: Words,
    end: Words,
    step_days: int = 7,
    policies: Policies = POLICIES,
    models: Models = MODELS,
    placement: Words = "home",
) -> JsonObject:
    """Would retraining have helped? Live past weeks as if they were now, once for each policy, and compare the lists.

    Args:
        begin: The day (UTC) from which lists are published, such as 2017-09-11. The first model learns from what was
            known before.
        end: The first excluded day.
        step_days: The days between two publications.
        policies: never, weekly, monthly, or drift, which retrains when the monitor requests it.
        models: Kinds of model to train and compare.
        placement: The placement of the lists, which have to be for users.
    """
    return run_backtest(begin, end, step_days, policies, models, placement)

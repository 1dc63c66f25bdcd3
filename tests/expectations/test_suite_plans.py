"""A suite that was planned before judges the rows at hand, as the library does without a plan."""

import gc
import weakref
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest

from expectations import suite_plans
from expectations.configuration_cache import cached_configurations
from expectations.great_expectations_library import great_expectations
from expectations.rules import RowRule, missing, not_in_set, not_stated, outside, row_suite
from models.ingest.tabular.unreadable_cells import KEYS

SOUND = {"item_id": ["a", "b"], "quantity": [1.0, 2.0], "kind": ["view", "click"], KEYS: [None, None]}
BROKEN = {"item_id": ["a", None], "quantity": [-1.0, None], "kind": ["view", "nap"], KEYS: [None, None]}


def rules(most: float = 10.0) -> list[RowRule]:
    return [
        missing("item_id", "no item"),
        outside("quantity_high", "too many", "quantity", 0.0, most),
        not_in_set("kind_unknown", "no such kind", "kind", ["view", "click"]),
        not_stated("quantity", "no quantity"),
    ]


def judged(rows: pd.DataFrame, most: float = 10.0) -> list[Any]:
    """Return what a fresh context finds in rows."""
    asset = great_expectations().get_context(mode="ephemeral").data_sources.add_pandas("s").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": rows})
    return [entry.to_json_dict() for entry in batch.validate(row_suite("rows", rules(most))).results]


def planned(rows: pd.DataFrame, most: float = 10.0) -> list[Any]:
    with cached_configurations():
        return judged(rows, most)


@pytest.fixture(autouse=True)
def _no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_plans, "_plans", {})


def test_each_frame_is_judged_by_its_own_rows() -> None:
    for rows in (SOUND, BROKEN, SOUND):
        frame = pd.DataFrame(rows)
        assert planned(frame) == judged(frame)
    assert [entry["success"] for entry in planned(pd.DataFrame(BROKEN))] == [False] * 4
    assert len(suite_plans._plans) == 1


def test_other_limits_are_another_suite() -> None:
    frame = pd.DataFrame(SOUND)
    assert [planned(frame, most)[1]["success"] for most in (10.0, 1.0, 10.0)] == [True, False, True]
    assert len(suite_plans._plans) == 2


def test_an_expectation_that_fails_by_its_column_fails_alone_and_only_there() -> None:
    frame = pd.DataFrame(SOUND)
    without = frame.drop(columns="kind")
    for rows, success in ((frame, True), (without, False), (frame, True)):
        found = {entry["expectation_config"]["meta"]["rule_id"]: entry["success"] for entry in planned(rows)}
        assert found == dict.fromkeys(found, True) | {"kind_unknown": success}


def test_an_equal_suite_is_listed_once_and_no_rows_are_kept() -> None:
    frame = pd.DataFrame(SOUND)
    planned(frame)
    from great_expectations.validator.metrics_calculator import MetricsCalculator

    with patch.object(MetricsCalculator, "build_metric_dependency_graph", side_effect=AssertionError):
        assert all(entry["success"] for entry in planned(frame.copy()))
    gone = weakref.ref(frame)
    del frame
    gc.collect()
    assert gone() is None


def test_the_number_of_plans_is_limited() -> None:
    for most in range(suite_plans._MOST + 3):
        planned(pd.DataFrame(SOUND), float(most))
    assert len(suite_plans._plans) == suite_plans._MOST

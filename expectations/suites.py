"""Judges figures with Great Expectations: a table with one row per batch, and one expectation per figure.

Importing the library takes seconds, so the first judgement does it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, Final

Bounds = Mapping[str, tuple[float | None, float | None]]
Figures = Mapping[str, float | None]

EXPECTATION: Final = "expect_column_values_to_be_between"
"""The kind of every expectation."""
_ROW: Final = "place"
_COUNTS: Final = {"result_format": "BASIC"}
_EACH_ROW: Final = {
    "result_format": "COMPLETE",
    "unexpected_index_column_names": [_ROW],
    "return_unexpected_index_query": False,
}
"""Lists the rows that fail, which takes three times as long."""
_LOGGERS: Final = ("great_expectations", "great_expectations.data_context.types.base")
"""Importing them sets a level, so ours is set afterwards."""
_one_at_a_time: Final = Lock()


@dataclass(frozen=True)
class Judgement:
    """What Great Expectations says about a table of figures."""

    result: Any
    """Its validation result, which Data Docs render."""
    _rows: int

    def failed(self, name: str) -> set[int]:
        """Return the positions of the rows whose figure is beyond its bounds: all, if it could not be evaluated."""
        (one,) = (one for one in self.result.results if one.expectation_config.meta["rule_id"] == name)
        if one.success:
            return set()
        places = one.result.get("unexpected_index_list")
        return {int(entry[_ROW]) for entry in places} if places else set(range(self._rows))


def judge(suite: str, bounds: Bounds, rows: Sequence[Figures]) -> Judgement:
    """Compare each figure of each row with its bounds. None and NaN are within all bounds; a missing figure is not."""
    import great_expectations as gx
    import pandas as pd

    expectations = [
        gx.expectations.ExpectColumnValuesToBeBetween(
            column=name, min_value=low, max_value=high, meta={"rule_id": name}
        )
        for name, (low, high) in bounds.items()
    ]
    frame = pd.DataFrame([{_ROW: place, **row} for place, row in enumerate(rows)], dtype=float)
    with _one_at_a_time:  # the batches of a definition share one name
        batch = _table().get_batch(batch_parameters={"dataframe": frame})
        whole = gx.ExpectationSuite(name=suite, expectations=expectations)
        result = batch.validate(whole, result_format=_COUNTS)
        if len(rows) > 1 and not result.success:
            result = batch.validate(whole, result_format=_EACH_ROW)
    return Judgement(result, len(rows))


@cache
def _table() -> Any:
    """Return the definition of all tables, in a context that stores nothing."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("batches").add_dataframe_asset("figures")
    return asset.add_batch_definition_whole_dataframe("all")

"""Runs Evidently's default drift tests on the tables in a folder; `benchmarks.drift` starts it where it is installed.

The tests and thresholds are those that its drift preset chooses for each column. Its report is not drawn, because that
takes many times as long and changes no test. The preset ignores empty values, so Evidently's test of missing values is
run on purchases too.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

_CATEGORIES: Final = ("event_type", "category", "popularity", "new_item", "new_user", "clicked")
_AMOUNTS: Final = ["value", "quantity"]
_DRIFT_SHARE: Final = 0.5
"""Share of drifted columns from which a table has drifted: the preset's default."""
_TABLES: Final = ("events", "users")


def main() -> None:
    """Print for each course, by window, the drifted columns and whether a whole table drifted, as JSON."""
    folder = Path(sys.argv[1])
    reference = _read(folder / "reference", 0)
    answers: dict[str, list[Any]] = {}
    for course in sorted(path.name for path in folder.iterdir() if path.name != "reference"):
        windows = sorted({int(path.name.split(".")[0]) for path in (folder / course).iterdir()})
        answers[course] = [_alarms(reference, _read(folder / course, window)) for window in windows]
    print(json.dumps(answers))


def _read(course: Path, window: int) -> list[Any]:
    return [pd.read_parquet(course / f"{window}.{name}.parquet") for name in _TABLES]


def _alarms(reference: list[Any], window: list[Any]) -> dict[str, list[str] | bool]:
    sides = list(zip(reference, window, strict=True))
    drifted = [[name for name in then if _drifted(then[name], now[name])] for then, now in sides]
    whole = [len(names) >= _DRIFT_SHARE * len(then.columns) for names, then in zip(drifted, reference, strict=True)]
    bought = [table.loc[table["event_type"] == "purchase", _AMOUNTS] for table in sides[0]]
    return {"columns": sorted(set(_missing(*bought)).union(*drifted)), "dataset": any(whole)}


def _drifted(then: Any, now: Any) -> bool:
    """Return whether a column drifted, by the default test and threshold."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    kind = ColumnType.Categorical if then.name in _CATEGORIES else ColumnType.Numerical
    known = [side.replace([-np.inf, np.inf], np.nan).dropna() for side in (then, now)]
    return bool(get_stattest(*known, kind, None)(*known, kind, None).drifted)


def _missing(then: Any, now: Any) -> list[str]:
    """Return the columns whose share of empty values differs."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import MissingValueCount

    kinds = DataDefinition(numerical_columns=_AMOUNTS)
    current, reference = (Dataset.from_pandas(side, data_definition=kinds) for side in (now, then))
    report = Report([MissingValueCount(column=name) for name in _AMOUNTS], include_tests=True)
    tests = report.run(current, reference).dict()["tests"]
    return [test["metric_config"]["params"]["column"] for test in tests if test["status"] == "FAIL"]


if __name__ == "__main__":
    main()

"""Evidently's drift tests as they come, run by `benchmarks.drift` where it is installed, on the tables in a folder.

They are those of its drift preset, column by column; nothing is drawn, which takes four times as long and changes none
of them. The preset leaves empty values out, so Evidently's own test of missing values is asked about purchases.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import pandas as pd

_CATEGORIES: Final = ("event_type", "category", "popularity", "new_item", "new_user", "clicked")
_AMOUNTS: Final = ("value", "quantity")
_DRIFT_SHARE: Final = 0.5
"""Of the columns of a table, for the table to have drifted: the preset's own."""
_TABLES: Final = ("events", "users")


def main() -> None:
    """Print for each course, by window, the columns that drifted and whether a whole table did, as JSON."""
    from evidently.metrics import column_statistics

    column_statistics.ValueDriftCalculation._render = lambda *_: []
    folder = Path(sys.argv[1])
    reference = _read(folder / "reference", 0)
    said: dict[str, list[Any]] = {}
    for course in sorted(path.name for path in folder.iterdir() if path.name != "reference"):
        windows = sorted({int(path.name.split(".")[0]) for path in (folder / course).iterdir()})
        said[course] = [_looked(reference, _read(folder / course, window)) for window in windows]
    print(json.dumps(said))


def _read(course: Path, window: int) -> list[Any]:
    return [pd.read_parquet(course / f"{window}.{name}.parquet") for name in _TABLES]


def _looked(reference: list[Any], window: list[Any]) -> dict[str, Any]:
    from evidently.metrics import MissingValueCount, ValueDrift

    sides = list(zip(reference, window, strict=True))
    drifted = [_failed([ValueDrift(column=name) for name in then], then, now) for then, now in sides]
    whole = [len(names) >= _DRIFT_SHARE * len(then.columns) for names, then in zip(drifted, reference, strict=True)]
    bought = [table[table["event_type"] == "purchase"] for table in sides[0]]
    missing = _failed([MissingValueCount(column=name) for name in _AMOUNTS], *bought)
    return {"columns": sorted(set(missing).union(*drifted)), "dataset": any(whole)}


def _failed(metrics: list[Any], then: Any, now: Any) -> list[str]:
    """The columns of which a test failed."""
    from evidently import DataDefinition, Dataset, Report

    categories = [name for name in _CATEGORIES if name in then]
    amounts = [name for name in then if name not in categories]
    kinds = DataDefinition(categorical_columns=categories, numerical_columns=amounts)
    current, reference = (Dataset.from_pandas(side, data_definition=kinds) for side in (now, then))
    tests = Report(metrics, include_tests=True).run(current, reference).dict()["tests"]
    return sorted({test["metric_config"]["params"]["column"] for test in tests if test["status"] == "FAIL"})


if __name__ == "__main__":
    main()

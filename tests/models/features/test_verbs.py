"""Features are written in verbs that mean the same on DuckDB and on Spark. A verb that is not listed fails here.

The lists hold what was seen to give equal results on both (narwhals 2.29, DuckDB 2.0, Spark 4.3). Left out on purpose:

- fail on one of them or on both: join_asof, implode, hash, filter inside agg, nearest quantiles, ewm_mean,
  dt.timestamp, convert_time_zone, casts from integers to datetimes, nested over, replace_strict without a default,
  first and last with order_by, n_unique in over, total_seconds, top_k;
- differ silently: dt.weekday (Sunday is 7 or 0), str.split (a regular expression on Spark), ordinal ranks and mode on
  ties. Times are integers of epoch seconds for that reason, and a rank names its method;
- costs more than its name suggests: unique, which DuckDB is given as a window over all rows. A group_by does the same.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import models.features

FRAME: Final = {"agg", "collect_schema", "drop", "filter", "group_by", "join", "select", "with_columns"}
COLUMN: Final = {
    *("alias", "cast", "count", "cum_count", "exp", "fill_null", "is_in", "is_null", "log"),
    *("max", "mean", "median", "min"),
    *("over", "rank", "replace_all", "shift", "sum"),
}
CHOICE: Final = {"then", "otherwise"}
FUNCTIONS: Final = {"coalesce", "col", "len", "lit", "when"}
TYPES: Final = {"Expr", "Float64", "Int64", "LazyFrame", "String"}
NAMESPACES: Final = {"str"}
PYTHON: Final = {"items", "names"}
"""Methods of plain Python values in the definitions."""

RANKS: Final = {"average", "dense"}
FOLDER: Final = Path(models.features.__path__[0])
DEFINITIONS: Final = sorted(
    path
    for path in [*FOLDER.glob("tables/*.py"), FOLDER / "expressions.py"]
    if "import narwhals" in path.read_text("utf-8")
)


def offences(source: str) -> Iterator[str]:
    """Whatever the source does with frames and columns that is not listed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            narwhals = isinstance(node.value, ast.Name) and node.value.id == "nw"
            listed = FUNCTIONS | TYPES if narwhals else FRAME | COLUMN | CHOICE | NAMESPACES | PYTHON
            if node.attr not in listed and not _is_a_name(node):
                yield f"line {node.lineno}: {node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "rank":
            method = node.args[0] if node.args else None
            if not (isinstance(method, ast.Constant) and method.value in RANKS):
                yield f"line {node.lineno}: rank by another method than {sorted(RANKS)}"
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("narwhals"):
            yield f"line {node.lineno}: import narwhals as nw, so that this test sees its verbs"


def _is_a_name(node: ast.Attribute) -> bool:
    """`feature.name`, of the catalogue."""
    return node.attr == "name" and isinstance(node.value, ast.Name) and node.value.id == "feature"


@pytest.mark.parametrize("path", DEFINITIONS, ids=lambda path: path.stem)
def test_definitions_use_listed_verbs_only(path: Path) -> None:
    assert not [*offences(path.read_text("utf-8"))]


def test_the_definitions_are_found() -> None:
    result = {path.stem for path in DEFINITIONS}
    assert {"user_features", "item_features", "expressions"} <= result

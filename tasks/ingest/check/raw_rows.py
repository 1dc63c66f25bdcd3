"""Locates rows of a file and returns their cells as they are written."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from expectations import events as event_rules
from models import columns
from models.ingest.tabular import transform
from models.ingest.tabular.expressions import columns_of, listed
from tasks.ingest.check.findings import RowPlace
from tasks.sources import csv_reader, table_files

_KEYS_OF_COLUMNS = {
    event_rules.IN_CATALOGUE: columns.ITEM_ID,
    event_rules.OCCURRED_S: columns.OCCURRED_AT,
    event_rules.AHEAD_S: columns.OCCURRED_AT,
    columns.USER_KEY: columns.USER_ID,
}
"""Columns that rules check, and the keys of a mapping that fill them."""
_LONGEST_CELL = 200


def used_columns(part: transform.Part) -> dict[str, list[str]]:
    """Return the columns of the file that each key of a part reads."""
    columns_by_key = {name: columns_of(listed(getattr(part, name))) for name in (*part.texts, *part.numbers)}
    columns_by_key |= {"conditions": columns_of(part.conditions)}
    return {name: read for name, read in columns_by_key.items() if read}


def set_keys(part: transform.Part) -> set[str]:
    """Return the keys of a record that a part sets: from columns, or as constants."""
    return {name for name in type(part).model_fields if getattr(part, name)} | set(getattr(part, "constants", {}))


class RawRows:
    """The first rows of a file, by their numbers."""

    def __init__(self, path: Path, part: transform.Part, chunk: table_files.Chunk) -> None:
        """Store the rows of `path` as the part reads them."""
        self._rows, self._used = chunk.rows, used_columns(part)
        self._numbers = chunk.numbers
        count = len(chunk.rows) + len(chunk.misfits)
        self._lines = csv_reader.first_lines(path, table_files.csv_of(part), count) if csv_reader.is_csv(path) else None

    def locate(self, number: int, column: str) -> RowPlace:
        """Return where row `number` is, and the cells that a rule on `column` concerns."""
        place = RowPlace(row=number + 1)
        if self._lines and number < len(self._lines):
            place = RowPlace(line=self._lines[number])
        at = int(np.searchsorted(self._numbers, number))
        if at == len(self._numbers) or self._numbers[at] != number:
            return place
        names = self._used.get(_KEYS_OF_COLUMNS.get(column, column), [])
        place["cells"] = {name: _shown(self._rows[name][at]) for name in names}
        return place


def _shown(cell: pa.Scalar) -> str | None:
    try:
        value = cell.as_py()
    except (OverflowError, ValueError):  # a time beyond the years of Python
        value = cell.cast(pa.string()).as_py()
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    return None if value is None else str(value)[:_LONGEST_CELL]

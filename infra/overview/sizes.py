"""Measures the stores that grow: tables of PostgreSQL, and folders of `var`."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from infra.configuration.settings import Settings

_SMALLEST: Final = 2**20
_TABLES: Final = """
    SELECT coalesce(whole.relname, stored.relname) AS name, sum(pg_total_relation_size(stored.oid))::bigint AS bytes
    FROM pg_class AS stored LEFT JOIN pg_inherits ON inhrelid = stored.oid LEFT JOIN pg_class AS whole
        ON whole.oid = inhparent
    WHERE stored.relkind = 'r' AND stored.relnamespace::regnamespace::text <> ALL ('{pg_catalog,information_schema}')
    GROUP BY 1"""


def sizes(connection: Connection, settings: Settings) -> dict[str, int]:
    """Return the bytes of folders of `var` and of tables of our own database, the largest first, from 1 MiB on.

    `var/postgres` has all databases, also those of Prefect and MLflow. A lake in an object store is not counted.
    """
    found: Counter[str] = Counter()
    for name, size in connection.execute(text(_TABLES)).tuples():
        found[f"table {name}"] += size
    for path, _, names in os.walk(settings.var):
        folder = Path(path)
        top = folder.relative_to(settings.var).parts[:1]
        for name in names:
            with suppress(OSError):  # it ends meanwhile
                found["/".join(("var", *top))] += (folder / name).lstat().st_size
    return {name: size for name, size in found.most_common() if size >= _SMALLEST}

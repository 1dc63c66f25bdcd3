"""Creates the schema in an empty database: the tables of this folder, and what the files in `sql` define on them."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from infra.database.schema import ledger_schema as ledger_schema  # each module adds its tables to the metadata
from infra.database.schema import monitoring_schema as monitoring_schema
from infra.database.schema import serving_schema as serving_schema
from infra.database.schema import trust_schema as trust_schema
from infra.database.schema.schema import metadata

_SQL: Final = Path(__file__).parent / "sql"
_ON_TABLES: Final = ("list_views", "report_views", "user_functions", "list_functions", "triggers")


def create_schema(connection: Connection) -> None:
    """Create schemas, tables, views, functions and triggers."""
    _run(connection, "schemas")
    metadata.create_all(connection, checkfirst=False)
    for name in _ON_TABLES:
        _run(connection, name)


def _run(connection: Connection, name: str) -> None:
    """Run the statements of a file."""
    connection.exec_driver_sql((_SQL / f"{name}.sql").read_text(), execution_options={"no_parameters": True})

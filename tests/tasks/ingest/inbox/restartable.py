"""A database server that a test may stop and kill, and an installation in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from infra.database.engine import migrate
from infra.services.embedded_postgres import EmbeddedPostgres
from tests.installations import choose
from tests.memory import folder_of_postgres

_PORT = 17433


@contextmanager
def restartable(place: Path) -> Iterator[EmbeddedPostgres]:
    """Run a server that comes back on the same port."""
    with folder_of_postgres(place) as folder:
        made = EmbeddedPostgres(folder)
        made.start(preferred_port=_PORT + os.getpid() % 1000)
        yield EmbeddedPostgres(folder, int(made.url().rpartition(":")[2].partition("/")[0]))
        made.destroy()


def installed(server: EmbeddedPostgres, var: Path, patch: pytest.MonkeyPatch) -> str:
    """Make the current installation one in a new database of the server; return its URL."""
    admin = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE shop"))
    admin.dispose()
    url = server.url("shop")
    migrate(url)
    choose(patch, url, var)
    return url

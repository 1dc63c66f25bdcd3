"""Who is waited for before a pointer moves."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest
from sqlalchemy import Engine, create_engine, text

from infra.configuration import addresses
from infra.database.engine import engine
from tasks.scoring import partitions


@pytest.fixture
def other_role(database: str) -> Iterator[Engine]:
    """The database for a role that sees nothing of what others do."""
    with engine(database).begin() as connection:
        connection.execute(text("CREATE ROLE bystander"))
    made = create_engine(addresses.database(database), connect_args={"options": "-c role=bystander"})
    yield made
    made.dispose()
    with engine(database).begin() as connection:
        connection.execute(text("DROP ROLE bystander"))


def test_readers_of_other_roles_are_waited_for_too(database: str, other_role: Engine) -> None:
    def read() -> float:
        with engine(database).connect() as connection:
            connection.execute(text("SELECT count(*), pg_sleep(1) FROM recommendations"))
        return monotonic()

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        sleep(0.5)
        partitions.await_earlier_readers(other_role)
        waited_until = monotonic()
        assert waited_until > reader.result() - 0.1

"""The demo's data never come beside a shop's own."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from infra.supervisor import startup
from infra.supervisor.startup import DemoRefusedError


def ingested(database: str, source: str) -> None:
    with create_engine(database).begin() as connection:
        connection.execute(
            text(
                "INSERT INTO ingest_batches (batch_id, dataset, source, location, status, consent) "
                "VALUES (:s, 'events', :s, 'x', 'committed', 'given')"
            ),
            {"s": source},
        )


def test_an_empty_installation_and_one_of_the_demo_become_a_demo_installation(database: str, tmp_path: Path) -> None:
    assert not startup.is_demo(tmp_path)
    ingested(database, "complete_journey")
    startup.mark_demo(create_engine(database), tmp_path)
    assert startup.is_demo(tmp_path)
    ingested(database, "more")
    startup.mark_demo(create_engine(database), tmp_path)


def test_an_installation_with_a_shops_own_data_refuses_the_demo_and_stays_as_it_is(
    database: str, tmp_path: Path
) -> None:
    ingested(database, "my_shop")
    with pytest.raises(DemoRefusedError, match=r"holds data of my_shop, .* TAILORBIRD_VAR=./var-demo tailorbird demo"):
        startup.mark_demo(create_engine(database), tmp_path)
    assert not startup.is_demo(tmp_path)

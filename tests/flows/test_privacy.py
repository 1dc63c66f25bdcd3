"""Requests of people, by the commands and on the real services."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, text

from infra.services.endpoints import service_database
from tasks.privacy.register import STORES, Place

if TYPE_CHECKING:
    from conftest import Shop

ONE = "household-0012"


def test_a_restricted_user_is_shown_nothing_until_the_restriction_is_lifted(stocked: Shop) -> None:
    shown = stocked.json("recommend", ONE)
    (line,) = stocked.json("privacy", "restrict", ONE, "--reason", "asked by mail")
    assert (line["kind"], line["state"], line["users"]) == ("restrict", "done", 1)
    assert stocked.json("recommend", ONE) != shown
    places = {row["place"]: row["about"] for row in stocked.json("privacy", "verify", ONE)}
    assert {"public.users", "identity.users, raw id"} <= {*places}
    reports = [about for place, about in places.items() if place.endswith("review/report.html")]
    assert {*reports} <= {"names the first 8 digits of a pseudonym"}
    assert places["outside of Tailorbird: exports object-store-versions"].startswith("not searched: ")
    assert not {"database mlflow", "database prefect"} & {*places}
    stocked.json("privacy", "lift", ONE, "--reason", "asked again")
    assert stocked.json("recommend", ONE) == shown


def test_an_erasure_is_a_run_in_prefect_without_the_id(stocked: Shop) -> None:
    lines = stocked.json("privacy", "erase", "a-person-without-data", "--reason", "asked by mail")
    assert [line["state"] for line in lines if line["kind"] == "erase"] == ["done"]
    assert [row for row in stocked.json("privacy", "verify", "a-person-without-data") if row["rows"]] == []
    asked = {"flows": {"name": {"any_": ["privacy"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    runs = stocked.prefect("POST", "/flow_runs/filter", asked)
    assert len(runs) == 1
    assert "a-person-without-data" not in str(runs)


def test_every_store_of_an_installation_that_did_all_its_work_is_in_the_register(stocked: Shop) -> None:
    artifacts = stocked.var / "mlflow" / "artifacts"
    made = {
        Place.VAR: {path.name for path in stocked.var.iterdir()},
        Place.LAKE: {path.name for path in (stocked.var / "lake").iterdir()},
        Place.ARTIFACTS: {path.name for path in artifacts.glob("*/*/artifacts/*")},
        Place.MLFLOW: {name for (name,) in rows_of(stocked, "mlflow", _TABLES)},
        Place.PREFECT: {name for (name,) in rows_of(stocked, "prefect", _TABLES)},
    }
    for place, names in made.items():
        assert names
        known = [name for store in STORES if store.place is place for name in store.names.split()]
        assert [name for name in names if not any(fnmatchcase(name, one) for one in known)] == []


def test_settings_and_tags_of_runs_in_mlflow_name_no_user(stocked: Shop) -> None:
    written = {str(value) for (value,) in rows_of(stocked, "mlflow", _VALUES)}
    ids = rows_of(stocked, "tailorbird", "SELECT user_key, user_id FROM identity.users")
    assert ids
    assert not [value for value in written if any(key[:8] in value or name in value for key, name in ids)]


_VALUES = "SELECT value FROM params UNION SELECT value FROM tags"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


def rows_of(shop: Shop, database: str, statement: str) -> list[tuple[str, ...]]:
    """Read another database of the installation's server."""
    own = service_database(shop.settings, shop.services, database) if database != "tailorbird" else None
    opened = create_engine(own or shop.services.database_url)
    with opened.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(statement)).all()]
    opened.dispose()
    return rows

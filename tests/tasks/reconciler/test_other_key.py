"""A process with another pseudonym key, or with another installation's var or lake, does no work."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.compute as pc
import pytest
from sqlalchemy import func, insert, select

from flows.commands import running
from infra.configuration.settings import load
from infra.database.schema.schema import identities, suppressions
from infra.installation import Installation, current
from infra.keys.credentials import FOLDER, PSEUDONYM, SIGNING, SecretMissingError, sign
from infra.keys.identity import pseudonym
from infra.keys.trust import InstallationRefusedError
from infra.supervisor import startup
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.reconciler import reconcile
from tests.conftest import Shop
from tests.tasks import forked

KEY = "TAILORBIRD_SECRET_PSEUDONYM_KEY"


@pytest.fixture
def another_process() -> Iterator[Callable[[], Installation]]:
    """Yield a function that clears the caches, so that the next call acts like a new process."""

    def start() -> Installation:
        current.cache_clear()
        return current()

    yield start
    current.cache_clear()


def users(here: Installation) -> int:
    with here.engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(identities)).scalar_one())


def events(here: Installation) -> int:
    table = here.lake.events()
    assert table is not None
    return table.to_pyarrow_table(columns=["event_id"]).num_rows


def test_a_suppressed_user_stays_suppressed_whatever_key_a_process_has(
    installation: Installation,
    shop: Shop,
    another_process: Callable[[], Installation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    ingest_events.fn("complete_journey", shop.events_file)
    gone, before = shop.transactions["household_id"][0].as_py(), users(installation)
    with installation.engine.begin() as connection:
        key = pseudonym(str(gone), installation.key)
        connection.execute(insert(suppressions).values(user_key=key, reason="left"))
    later = shop.transactions.filter(pc.equal(shop.transactions["household_id"], gone)).slice(1, 5)
    shop.write(transactions=later)
    stored = events(installation)
    monkeypatch.setenv(KEY, "another key")
    another_process()
    with pytest.raises(InstallationRefusedError, match=f"{KEY} .*Restore that key"):
        ingest_events.fn("complete_journey", shop.events_file)
    monkeypatch.delenv(KEY)
    here = another_process()
    assert ingest_events.fn("complete_journey", shop.events_file)["suppressed"] == len(later)
    assert (users(here), events(here)) == (before, stored)


@pytest.mark.parametrize("part", ["engine", "lake", "key"])
def test_whatever_a_task_opens_first_compares_the_keys(
    installation: Installation, part: str, another_process: Callable[[], Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installation.key
    monkeypatch.setenv(KEY, "another key")
    with pytest.raises(InstallationRefusedError):
        getattr(another_process(), part)


def test_commands_the_reconciler_and_up_refuse_another_key(
    installation: Installation, another_process: Callable[[], Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installation.key
    monkeypatch.setenv(KEY, "another key")
    another_process()
    lines: list[str] = []
    for start in (lambda: running.database("owner"), reconcile.run_once, lambda: startup.start(load(), lines.append)):
        with pytest.raises(InstallationRefusedError, match=PSEUDONYM):
            start()
    assert lines == []  # nothing was started


def test_up_starts_nothing_for_a_var_without_the_keys_of_its_database(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installation.key
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "fresh"))
    lines: list[str] = []
    with pytest.raises(InstallationRefusedError, match="that is not here"):
        startup.start(load(), lines.append)
    assert (lines, (tmp_path / "fresh" / FOLDER / PSEUDONYM).exists()) == ([], False)


def test_a_bundle_is_not_sealed_with_a_key_that_is_created_for_it(installation: Installation) -> None:
    assert installation.engine
    (installation.settings.var / FOLDER / SIGNING).unlink()
    with pytest.raises(SecretMissingError, match=r"Restore the file .*TAILORBIRD_SECRET_SIGNING_KEY"):
        sign(load(), b"manifest")


def test_the_lake_of_another_installation_is_refused_before_anything_is_read(
    installation: Installation,
    other_database: str,
    shop: Shop,
    tmp_path: Path,
    another_process: Callable[[], Installation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    assert installation.lake.owner()
    monkeypatch.setenv("TAILORBIRD_LAKE", installation.settings.lake)
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "other"))
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", other_database)
    another_process()
    with pytest.raises(InstallationRefusedError, match=r"The lake .* belongs to another installation"):
        ingest_events.fn("complete_journey", shop.events_file)


def test_the_command_line_names_the_key_without_a_traceback(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installation.key
    monkeypatch.setenv(KEY, "another key")
    done = forked.run("from flows.__main__ import main; main()", "recommend", "1")
    assert done.code == 1
    assert done.err.startswith("tailorbird: The pseudonym-key of TAILORBIRD_SECRET_PSEUDONYM_KEY")
    assert "Traceback" not in done.err

"""Keys, var, lake and database of one installation work together; those of two are refused."""

import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import Engine, insert, text, update

from infra.configuration.settings import Settings
from infra.database.engine import engine
from infra.database.schema.schema import identities, ingest_batches, promotions, users
from infra.keys.credentials import FOLDER, INSTALLATION, PSEUDONYM, SIGNING, fingerprint, sign, stored_secret
from infra.keys.identity import pseudonym
from infra.keys.trust import InstallationRefusedError, check, check_reader
from infra.lake.delta_lake import Lake
from infra.lake.ownership_checks import check_lake

Host = Callable[..., Settings]
BATCH = {"batch_id": "b", "dataset": "events", "source": "s", "location": "f", "consent": "given", "accepted": 1}


@pytest.fixture
def first(database: str) -> Engine:
    return engine(database)


@pytest.fixture
def other(other_database: str) -> Engine:
    return engine(other_database)


@pytest.fixture
def host(own_var: Path) -> Host:
    """A var folder of that name, without keys of the environment."""
    return lambda name: Settings(var=own_var.with_name(name))


def copy(source: Settings, target: Settings, *names: str) -> None:
    """Copy secrets to another host."""
    (target.var / FOLDER).mkdir(parents=True)
    for name in names:
        shutil.copy(source.var / FOLDER / name, target.var / FOLDER / name)


def store_user(database: Engine, key: str) -> None:
    row = {"user_key": pseudonym("ann", key.encode()), "user_id": "ann", "key_version": 1}
    user = {"user_key": row["user_key"], "attributes": {}, "consent": True, "consent_source": "file", "batch_id": "b"}
    with database.begin() as connection:
        connection.execute(insert(identities).values(row))
        connection.execute(insert(users).values(user))


def recorded(database: Engine) -> list[tuple[str, int, str]]:
    rows = text("SELECT kind, generation, fingerprint FROM installation_fingerprints ORDER BY 1, 2")
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(rows)]


def forget(database: Engine) -> None:
    """Make it a database from before fingerprints."""
    with database.begin() as connection:
        connection.execute(text("DELETE FROM installation_fingerprints"))


def test_the_first_start_records_both_keys_and_an_id_that_var_keeps(first: Engine, host: Host) -> None:
    settings = host("var")
    installation = check(first, settings)
    keys = {name: stored_secret(settings.var / FOLDER, name) for name in (PSEUDONYM, SIGNING)}
    expected = [(INSTALLATION, 1, installation), *((kind, 1, fingerprint(kind, keys[kind])) for kind in keys)]
    assert recorded(first) == sorted(expected)
    assert (settings.var / "installation-id").read_text().strip() == installation
    assert stat.S_IMODE((settings.var / "installation-id").stat().st_mode) == 0o600
    assert not any(key in str(recorded(first)) for key in keys.values())
    assert check(first, settings) == installation


@pytest.mark.parametrize("kind", [PSEUDONYM, SIGNING])
def test_another_key_is_refused_with_both_fingerprints_and_changes_nothing(
    first: Engine, host: Host, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = host("var")
    check(first, settings)
    before, strange = recorded(first), "ab" * 32
    variable = f"TAILORBIRD_SECRET_{kind.upper().replace('-', '_')}"
    monkeypatch.setenv(variable, strange)
    for compare in (check, check_reader):
        with pytest.raises(InstallationRefusedError, match=f"The {kind} of {variable} .*Restore that key") as refusal:
            compare(first, settings)
        assert strange not in str(refusal.value)
    monkeypatch.delenv(variable)
    path = settings.var / FOLDER / kind
    path.write_text(strange)
    with pytest.raises(InstallationRefusedError, match=f"The {kind} of {path} "):
        check(first, settings)
    assert (recorded(first), path.read_text()) == (before, strange)


@pytest.mark.parametrize("kind", [PSEUDONYM, SIGNING])
def test_a_missing_key_is_not_created_for_a_database_that_has_one(first: Engine, host: Host, kind: str) -> None:
    settings, fresh = host("var"), host("fresh")
    check(first, settings)
    for var in (settings, fresh):
        (var.var / FOLDER / kind).unlink(missing_ok=True)
        with pytest.raises(InstallationRefusedError, match=r"that is not here. Copy the file"):
            check(first, var)
        assert not (var.var / FOLDER / kind).exists()
    check_reader(first, fresh)
    assert not fresh.var.exists()  # who only reads needs no keys, and creates none


def test_a_second_host_with_the_keys_in_its_environment_adopts_the_id(
    first: Engine, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, second = host("var"), host("second")
    installation = check(first, settings)
    for name in (PSEUDONYM, SIGNING):
        variable = f"TAILORBIRD_SECRET_{name.upper().replace('-', '_')}"
        monkeypatch.setenv(variable, stored_secret(settings.var / FOLDER, name))
    assert check(first, second) == installation
    assert (second.var / "installation-id").read_text().strip() == installation
    assert not (second.var / FOLDER / PSEUDONYM).exists()


def test_an_installation_that_was_moved_or_copied_back_starts(first: Engine, host: Host) -> None:
    settings, moved = host("var"), host("elsewhere")
    installation = check(first, settings)
    check_lake(first, Lake(str(settings.var / "lake")), installation)
    shutil.move(settings.var, moved.var)
    assert check(first, moved) == installation
    check_lake(first, Lake(str(moved.var / "lake")), installation)
    shutil.copytree(moved.var, settings.var)
    assert check(first, settings) == installation


def test_a_restored_database_from_before_fingerprints_starts_with_its_var(first: Engine, host: Host) -> None:
    settings = host("var")
    installation = check(first, settings)
    store_user(first, stored_secret(settings.var / FOLDER, PSEUDONYM))
    forget(first)
    assert check(first, settings) == installation


def test_an_installation_from_before_adopts_the_keys_that_fit_its_users(first: Engine, host: Host) -> None:
    settings, strange = host("var"), host("strange")
    for var in (settings, strange):
        stored_secret(var.var / FOLDER, PSEUDONYM)
    store_user(first, stored_secret(settings.var / FOLDER, PSEUDONYM))
    with pytest.raises(InstallationRefusedError, match="does not fit the users of this database"):
        check(first, strange)
    with pytest.raises(InstallationRefusedError, match="holds users, and their pseudonym-key is not here"):
        check(first, host("fresh"))
    assert (recorded(first), (host("fresh").var / FOLDER / PSEUDONYM).exists()) == ([], False)
    check(first, settings)


def test_an_installation_from_before_creates_no_second_signing_key(first: Engine, host: Host) -> None:
    settings = host("var")
    row = {
        "previous_promotion_id": 0,
        "model_version": 1,
        "kind": "als",
        "dataset_version": "v1",
        "metrics": {},
        "bundle": "b",
    }
    with first.begin() as connection:
        connection.execute(insert(promotions).values(**row, digest="d", actor="a", reason="r"))
    with pytest.raises(InstallationRefusedError, match="signing-key of the promoted models is not here"):
        check(first, settings)
    sign(settings, b"x")
    check(first, settings)


def test_the_var_of_another_database_is_refused(first: Engine, other: Engine, host: Host) -> None:
    settings, there = host("var"), host("other")
    check(first, settings)
    with pytest.raises(InstallationRefusedError, match=r"This database is empty, and .* belongs to an installation"):
        check(other, settings)
    check(other, there)
    for compare in (check, check_reader):
        with pytest.raises(
            InstallationRefusedError, match=r"belongs to another installation .*TAILORBIRD_DATABASE_URL"
        ):
            compare(other, settings)


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_the_lake_of_another_database_is_refused(
    first: Engine, other: Engine, host: Host, tmp_path: Path, address: str
) -> None:
    lake = Lake(address.format(tmp_path / "lake"))
    (tmp_path / "lake").mkdir()
    first_id, second_id = check(first, host("var")), check(other, host("other"))
    assert lake.owner() is None
    for _ in range(2):
        check_lake(first, lake, first_id)
    with pytest.raises(InstallationRefusedError, match=r"belongs to another installation .*Correct TAILORBIRD_LAKE"):
        check_lake(other, lake, second_id)
    assert lake.owner() == first_id


def test_a_lake_with_events_that_the_database_never_ingested_is_refused(
    first: Engine, host: Host, tmp_path: Path
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.append_events(pa.table({"event_id": ["e"], "batch_id": ["b"], "month": ["2026-01"]}), "b", 0)
    with pytest.raises(InstallationRefusedError, match="holds events, and this database has never ingested any"):
        check_lake(first, lake, check(first, host("var")))
    assert lake.owner() is None


def test_an_empty_lake_is_refused_once_the_database_has_ingested_events(
    first: Engine, host: Host, tmp_path: Path
) -> None:
    first_id, lake = check(first, host("var")), Lake(str(tmp_path / "lake"))
    check_lake(first, lake, first_id)
    with first.begin() as connection:
        connection.execute(insert(ingest_batches).values(BATCH | {"status": "pending"}))
    check_lake(first, lake, first_id)
    with first.begin() as connection:
        connection.execute(update(ingest_batches).values(status="committed"))
    unmounted = Lake(str(tmp_path / "unmounted"))
    with pytest.raises(InstallationRefusedError, match=r"holds no events, .*Mount its disk"):
        check_lake(first, unmounted, first_id)
    assert unmounted.owner() is None
    lake.append_events(pa.table({"event_id": ["e"], "batch_id": ["b"], "month": ["2026-01"]}), "b", 0)
    check_lake(first, lake, first_id)


def test_of_processes_that_start_at_once_one_decides(first: Engine, host: Host) -> None:
    hosts = [host("var")] * 4 + [host("other")] * 4

    def start(settings: Settings) -> str | None:
        try:
            return check(first, settings)
        except InstallationRefusedError:
            return None

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(start, hosts))
    assert len(recorded(first)) == 3
    assert len(set(ids) - {None}) == 1
    assert ids in ([ids[0]] * 4 + [None] * 4, [None] * 4 + [ids[7]] * 4)
    loser = hosts[7] if ids[0] else hosts[0]
    assert not (loser.var / FOLDER / PSEUDONYM).exists()

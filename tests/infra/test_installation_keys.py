"""Keys, var, lake and database of one installation work together; those of two are refused."""

import hashlib
import hmac
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pytest
from sqlalchemy import Engine, insert, text, update

from infra.configuration.settings import Settings, load
from infra.configuration.settings_file import SettingsRefusedError
from infra.database.engine import engine
from infra.database.schema.schema import identities, ingest_batches, promotions, users
from infra.keys.credentials import (
    FOLDER,
    INSTALLATION,
    PSEUDONYM,
    SIGNING,
    SignatureRefusedError,
    SigningKeyError,
    extended,
    fingerprint,
    keys,
    public_key,
    remaining,
    secret,
    sign,
    stored_secret,
    verify,
)
from infra.keys.identity import key_version, pseudonym, pseudonyms, rekeyed, remember, user_key_of
from infra.keys.trust import InstallationRefusedError, check, check_reader
from infra.lake.delta_lake import Lake
from infra.lake.ownership_checks import check_lake

Host = Callable[..., Settings]
BATCH = {"batch_id": "b", "dataset": "events", "source": "s", "location": "f", "consent": "given", "accepted": 1}
KEY = b"a key"
FIRST, SECOND, THIRD = "a key", "ab" * 32, "cd" * 32
CHAIN = extended(extended(FIRST, SECOND), THIRD)
SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
OF_EMPTY_MESSAGE = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
    "655141438e7a100b"
)
"""The first test vector of RFC 8032, section 7.1."""


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


def names(user_ids: list[str], keys: list[str]) -> pa.Table:
    return pa.table({"user_id": pa.array(user_ids, pa.string()), "user_key": pa.array(keys, pa.string())})


@pytest.mark.parametrize("key", [KEY, b"", b"\0", b"x" * 64, b"y" * 65])
def test_many_pseudonyms_at_once_are_the_same_as_one_by_one(key: bytes) -> None:
    ids = ["900", "Zoë 雪", "", "'; --", "a\nb", "x" * 1000, *map(str, range(30_000))]
    keys = pseudonyms(pa.array([*ids, None]), key).to_pylist()
    assert keys == [*(pseudonym(user_id, key) for user_id in ids), None]


def test_a_user_is_found_by_the_raw_id_and_remembered_once(database: str) -> None:
    with engine(database).begin() as connection:
        remember(connection, names([], []))
        remember(connection, names(["900"], ["k900"]))
        remember(connection, names(["900", "Zoë 雪"], ["k900", "k1"]))
        assert [user_key_of(connection, i) for i in ("900", "Zoë 雪", "902")] == ["k900", "k1", None]


def test_two_batches_with_the_same_new_users_do_not_wait_for_each_other_forever(database: str) -> None:
    users = [str(number) for number in range(2000)]
    start = Barrier(2)

    def introduce(order: list[str]) -> None:
        with engine(database).begin() as connection:
            start.wait()
            remember(connection, names(order, [pseudonym(user_id, KEY) for user_id in order]))

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(introduce, users), pool.submit(introduce, users[::-1])]:
            done.result()
    with engine(database).connect() as connection:
        assert user_key_of(connection, "1999") == pseudonym("1999", KEY)


def hashed(name: str, key: str) -> str:
    return hmac.new(key.encode(), name.encode(), hashlib.sha256).hexdigest()


def test_a_pseudonym_is_hashed_with_every_key_in_turn() -> None:
    expected = hashed(hashed(hashed("Zoë", FIRST), SECOND), THIRD)
    assert pseudonym("Zoë", CHAIN.encode()) == expected
    assert pseudonyms(pa.array(["Zoë", None]), CHAIN.encode()).to_pylist() == [expected, None]
    stored = pa.array([pseudonym("Zoë", FIRST.encode())])
    assert rekeyed(stored, [SECOND, THIRD]).to_pylist() == [expected]
    assert [key_version(key.encode()) for key in (FIRST, CHAIN)] == [1, 3]


@pytest.mark.parametrize("secret", ["ab" * 32, "a, b", "a,b", "x," + "AB" * 32, "", ","])
def test_a_secret_that_no_rotation_made_is_one_key(secret: str) -> None:
    assert keys(secret) == [secret]
    assert pseudonym("ann", secret.encode()) == hashed("ann", secret)


def test_secrets_added_since_a_fingerprint_are_known() -> None:
    two = extended(FIRST, SECOND)
    earlier = [fingerprint(PSEUDONYM, secret) for secret in (FIRST, two, CHAIN)]
    assert [remaining(CHAIN, one) for one in (None, *earlier)] == [[SECOND, THIRD], [SECOND, THIRD], [THIRD], []]
    assert remaining(two, earlier[2]) is None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_differs_by_name_and_folder(tmp_path: Path) -> None:
    one, other = Settings(var=tmp_path / "one"), Settings(var=tmp_path / "other")
    assert secret(one, "key") == secret(one, "key")
    assert len({secret(one, "key"), secret(one, "other-key"), secret(other, "key")}) == 3
    assert len(bytes.fromhex(secret(one, "key"))) == 32


def test_only_the_owner_can_read_it_and_rights_that_were_loosened_are_taken_back(tmp_path: Path) -> None:
    value = stored_secret(tmp_path / "secrets", "key")
    assert (mode(tmp_path / "secrets"), mode(tmp_path / "secrets" / "key")) == (0o700, 0o600)
    (tmp_path / "secrets").chmod(0o755)
    (tmp_path / "secrets" / "key").chmod(0o644)
    assert stored_secret(tmp_path / "secrets", "key") == value
    assert (mode(tmp_path / "secrets"), mode(tmp_path / "secrets" / "key")) == (0o700, 0o600)


def test_the_environment_comes_first_so_that_machines_can_share_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_MLFLOW_PAGE", "shared")
    assert secret(Settings(var=tmp_path), "mlflow-page") == "shared"
    assert not (tmp_path / "secrets").exists()


def test_processes_that_ask_at_once_get_the_same_secret(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        values = set(pool.map(partial(stored_secret, tmp_path / "secrets"), ["key"] * 16))
    assert len(values) == 1
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["key"]


@pytest.fixture(autouse=True)
def no_keys_from_outside(own_var: Path) -> Path:
    return own_var


def test_signatures_are_those_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_SIGNING_KEY", SEED)
    assert public_key(load()) == PUBLIC
    assert sign(load(), b"").hex() == OF_EMPTY_MESSAGE


def test_a_key_of_the_standard_is_believed_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SignatureRefusedError, match="no key is known here"):
        verify(load(), b"", bytes.fromhex(OF_EMPTY_MESSAGE))
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", PUBLIC.upper())
    verify(load(), b"", bytes.fromhex(OF_EMPTY_MESSAGE))


def test_content_that_was_signed_here_is_trusted_and_nothing_near_it() -> None:
    content = b"a manifest"
    signature = sign(load(), content)
    verify(load(), content, signature)
    flipped = [bytes([*signature[:at], signature[at] ^ 1, *signature[at + 1 :]]) for at in range(len(signature))]
    for wrong in (b"", signature[:-1], signature + b"\0", *flipped):
        with pytest.raises(SignatureRefusedError, match="none of the keys"):
            verify(load(), content, wrong)
    with pytest.raises(SignatureRefusedError, match="`tailorbird signing-key` prints"):
        verify(load(), content + b" ", signature)


def test_a_host_that_only_serves_needs_the_public_key_and_makes_no_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = Settings(var=tmp_path / "training")
    signature = sign(trained, b"x")
    serving = tmp_path / "serving"
    monkeypatch.setenv("TAILORBIRD_VAR", str(serving))
    with pytest.raises(SignatureRefusedError, match="TAILORBIRD_SIGNING_PUBLIC_KEY"):
        verify(load(), b"x", signature)
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", public_key(trained))
    verify(load(), b"x", signature)
    assert not serving.exists()


def test_several_keys_are_trusted_while_they_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Settings(var=tmp_path / "old"), Settings(var=tmp_path / "new")
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", f"{public_key(old)}, {public_key(new)}")
    for settings in (old, new, load()):
        verify(load(), b"x", sign(settings, b"x"))
    with pytest.raises(SignatureRefusedError):
        verify(load(), b"x", sign(Settings(var=tmp_path / "strange"), b"x"))


def test_an_invalid_key_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_SIGNING_KEY", "hidden")
    with pytest.raises(SigningKeyError, match="64 hex digits: correct or unset TAILORBIRD_SECRET_SIGNING_KEY") as error:
        sign(load(), b"x")
    assert "hidden" not in str(error.value)
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", f"{PUBLIC},short")
    with pytest.raises(SettingsRefusedError, match="TAILORBIRD_SIGNING_PUBLIC_KEY"):
        load()


def test_thirty_two_bytes_that_are_no_key_are_trusted_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for no_key in ("ff" * 32, "02" + "00" * 31):
        monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", no_key)
        with pytest.raises(SignatureRefusedError):
            verify(load(), b"x", bytes(64))

"""Hosts, keys of the environment and backups around a rotation: nothing with two keys is taken for one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from flows.commands import running
from infra.bundles.signing_key_rotation import list_keys
from infra.configuration.settings import Settings
from infra.installation import Installation
from infra.keys import credentials, trust
from infra.keys.credentials import FOLDER, PSEUDONYM
from infra.keys.identity import pseudonym
from infra.keys.trust import InstallationRefusedError, RotationRefusedError, rows
from tasks.privacy.rotate import rotate_pseudonym_key
from tests.fuzz.commands import run
from tests.tasks.privacy.stores import holding, keys_of, started

VARIABLE = "TAILORBIRD_SECRET_PSEUDONYM_KEY"


def rotate(installation: Installation) -> Installation:
    rotate_pseudonym_key(installation.engine, installation.settings, "ann", "it leaked")
    return started()


def key_file(installation: Installation) -> Path:
    return installation.settings.var / FOLDER / PSEUDONYM


def in_order(installation: Installation, old: dict[str, str]) -> bool:
    """Whether all users have the keys that the chain gives, in every store."""
    assert installation.lake
    return keys_of(installation) == {raw: pseudonym(raw, installation.key) for raw in old} and not holding(
        installation, set(old.values())
    )


def test_the_command_prints_a_table_and_keeps_the_key_to_itself(small: Installation) -> None:
    old = keys_of(small)
    ended = run("keys", "rotate", "pseudonym", "--reason", "it leaked", "--actor", "ann")
    assert ended.code == 0, ended.err
    assert all(word in ended.out for word in ("replaced", "in use", "ann", "it leaked"))
    assert in_order(started(), old)
    chain = credentials.keys(key_file(small).read_text().strip())
    assert len(chain) == 2
    assert not any(key in ended.out + ended.err for key in chain)
    assert key_file(small).stat().st_mode & 0o077 == 0


def test_a_host_with_the_earlier_key_learns_that_there_was_a_rotation(small: Installation, tmp_path: Path) -> None:
    second = Settings(var=tmp_path / "second")
    shutil.copytree(small.settings.var / FOLDER, second.var / FOLDER)
    trust.check(small.engine, second)
    rotate(small)
    for check in (trust.check, trust.check_reader):
        with pytest.raises(InstallationRefusedError, match=r"ann rotated it on .* Copy the file secrets/pseudonym-key"):
            check(small.engine, second)
    shutil.copy(key_file(small), second.var / FOLDER / PSEUDONYM)
    trust.check(small.engine, second)


def test_a_key_of_the_environment_is_continued_there(small: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    old, key = keys_of(small), key_file(small).read_text().strip()
    monkeypatch.setenv(VARIABLE, key)
    key_file(small).unlink()
    with pytest.raises(RotationRefusedError, match=rf"export {VARIABLE}=.*openssl rand -hex 32"):
        rotate(started())
    monkeypatch.setenv(VARIABLE, f"{key},{'ab' * 32}")
    assert in_order(rotate(small), old)
    monkeypatch.setenv(VARIABLE, key)
    with pytest.raises(InstallationRefusedError, match="ann rotated it on"):
        trust.check(small.engine, small.settings)


def test_a_rotation_that_was_stopped_is_not_continued_without_its_key(small: Installation) -> None:
    with small.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO installation_fingerprints (kind, generation, fingerprint, actor, reason, pending) "
                "VALUES ('pseudonym-key', 2, 'ff', 'ann', 'it leaked', true)"
            )
        )
    with pytest.raises(RotationRefusedError, match=r"ann began to rotate .*pseudonym-key\.next"):
        rotate(small)
    assert [row["state"] for row in list_keys(running.database("owner")) if row["kind"] == PSEUDONYM][-1] == (
        "rotation not finished"
    )


def put_back(installation: Installation) -> dict[str, Callable[[], None]]:
    """Keeps what a backup has, and puts single stores of it back."""
    copy = installation.settings.var.with_name("backup")
    shutil.copytree(installation.settings.var, copy)
    with installation.engine.begin() as connection:
        for name in ("identity.users", "public.users", "public.quarantine", "installation_fingerprints"):
            connection.execute(text(f"CREATE TABLE kept_{name.replace('.', '_')} AS SELECT * FROM {name}"))

    def database() -> None:
        with installation.engine.begin() as connection:
            for name in ("identity.users", "public.users", "public.quarantine", "installation_fingerprints"):
                kept = f"kept_{name.replace('.', '_')}"
                connection.execute(text(f"DELETE FROM {name}"))
                connection.execute(text(f"INSERT INTO {name} SELECT * FROM {kept}"))

    def lake() -> None:
        shutil.rmtree(installation.settings.lake)
        shutil.copytree(copy / "lake", installation.settings.lake)

    def keys() -> None:
        shutil.copy(copy / FOLDER / PSEUDONYM, key_file(installation))

    return {"database": database, "lake": lake, "keys": keys}


def forget_backup(installation: Installation) -> None:
    with installation.engine.begin() as connection:
        for name in ("identity_users", "public_users", "public_quarantine", "installation_fingerprints"):
            connection.execute(text(f"DROP TABLE kept_{name}"))


def test_a_database_from_before_the_rotation_is_re_keyed(small: Installation) -> None:
    old, backup = keys_of(small), put_back(small)
    rotate(small)
    backup["database"]()
    with pytest.raises(InstallationRefusedError, match=r"newer than the database.*keys rotate pseudonym --reason"):
        assert started().key
    forget_backup(small)
    assert in_order(rotate(small), old)
    assert [row["generation"] for row in list_keys(small.engine) if row["kind"] == PSEUDONYM] == [1, 2]


def test_a_lake_from_before_the_rotation_is_refused_and_re_keyed(small: Installation) -> None:
    old, backup = keys_of(small), put_back(small)
    forget_backup(small)
    rotate(small)
    backup["lake"]()
    with pytest.raises(InstallationRefusedError, match=r"named with another pseudonym-key .*restored from before"):
        assert started().lake
    between = keys_of(small)
    installation = rotate(small)
    assert in_order(installation, old)
    assert not holding(installation, set(between.values()))


def test_a_lake_from_after_the_rotation_is_refused_with_older_keys(small: Installation) -> None:
    backup = put_back(small)
    rotate(small)
    backup["database"]()
    backup["keys"]()
    with pytest.raises(InstallationRefusedError, match="Restore lake, database and secrets from backups"):
        assert started().lake
    with pytest.raises(RotationRefusedError, match="does not continue"):
        rotate_pseudonym_key(small.engine, small.settings, "ann", "restored")
    with small.engine.connect() as connection:  # nothing has begun
        trust.refuse_pending(rows(connection))

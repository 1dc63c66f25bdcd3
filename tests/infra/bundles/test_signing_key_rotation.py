"""The signing key is replaced under the eyes of the database, and old bundles stay trusted until it is retired."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from infra.bundles.signing_key_rotation import list_keys, retire, rotate_signing
from infra.configuration.settings import Settings, load
from infra.database.engine import engine
from infra.keys.credentials import FOLDER, SIGNING, SignatureRefusedError, find_secret, fingerprint, sign, verify
from infra.keys.trust import InstallationRefusedError, RotationRefusedError, check


@pytest.fixture
def store(database: str) -> Engine:
    return engine(database)


@pytest.fixture
def settings(store: Engine, own_var: Path) -> Settings:
    settings = Settings(var=own_var)
    check(store, settings)
    return settings


def signing_rows(store: Engine) -> list[dict[str, Any]]:
    return [dict(row) for row in list_keys(store) if row["kind"] == SIGNING]


def key_of(settings: Settings) -> str:
    key = find_secret(settings, SIGNING)
    assert key is not None
    return key


def test_a_rotation_is_recorded_and_what_the_old_key_signed_stays_trusted(store: Engine, settings: Settings) -> None:
    before, signature = key_of(settings), sign(settings, b"x")
    rotate_signing(store, settings, "ann", "she left")
    old, new = signing_rows(store)
    assert (old["state"], new["state"], new["actor"], new["reason"]) == ("trusted", "in use", "ann", "she left")
    assert [old["fingerprint"], new["fingerprint"]] == [fingerprint(SIGNING, key) for key in (before, key_of(settings))]
    assert before != key_of(settings)
    assert before not in json.dumps(list_keys(store), default=str)
    check(store, settings)
    verify(settings, b"x", signature)
    verify(settings, b"x", sign(settings, b"x"))


def test_a_retired_key_is_trusted_no_longer(store: Engine, settings: Settings, tmp_path: Path) -> None:
    signature = sign(settings, b"x")
    (tmp_path / "manifest.json").write_bytes(b"x")
    (tmp_path / "manifest.sig").write_bytes(signature)
    old = signing_rows(store)[0]["fingerprint"]
    for target, expected in ((old, "is in use"), ("strange", "keys show")):
        with pytest.raises(RotationRefusedError, match=expected):
            retire(store, settings, target, None, "ann", "why")
    rotate_signing(store, settings, "ann", "why")
    with pytest.raises(RotationRefusedError, match="signed the champion"):
        retire(store, settings, old, tmp_path, "ann", "why")
    verify(settings, b"x", signature)
    retire(store, settings, old, tmp_path / "gone", "ann", "why")
    assert [row["state"] for row in signing_rows(store)] == ["retired", "in use"]
    with pytest.raises(SignatureRefusedError):
        verify(settings, b"x", signature)
    check(store, settings)


def test_a_rotation_that_was_killed_after_its_commit_is_finished_by_the_next_process(
    store: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, rename = key_of(settings), Path.replace

    def killed(path: Path, target: Path) -> Path:
        if path.name.endswith(".next"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        rotate_signing(store, settings, "ann", "why")
    monkeypatch.undo()
    assert (key_of(settings), len(signing_rows(store))) == (old, 2)
    settings = Settings(var=settings.var)
    check(store, settings)
    assert fingerprint(SIGNING, key_of(settings)) == signing_rows(store)[-1]["fingerprint"]
    assert not (settings.var / FOLDER / "signing-key.next").exists()


def test_a_rotation_that_was_killed_before_its_commit_has_changed_nothing(store: Engine, settings: Settings) -> None:
    old = key_of(settings)

    @event.listens_for(store, "commit")
    def killed(_connection: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate_signing(store, settings, "ann", "why")
    event.remove(store, "commit", killed)
    check(store, settings)
    assert (key_of(settings), len(signing_rows(store))) == (old, 1)
    rotate_signing(store, settings, "ann", "again")
    assert len(signing_rows(store)) == 2


def test_a_key_of_the_environment_is_replaced_there(
    store: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = key_of(settings)
    monkeypatch.setenv("TAILORBIRD_SECRET_SIGNING_KEY", old)
    with pytest.raises(RotationRefusedError, match="TAILORBIRD_SECRET_SIGNING_KEY holds the key that is in use"):
        rotate_signing(store, settings, "ann", "why")
    monkeypatch.setenv("TAILORBIRD_SECRET_SIGNING_KEY", "ab" * 32)
    with pytest.raises(InstallationRefusedError, match="is not the one of"):
        check(store, settings)
    rotate_signing(store, settings, "ann", "why")
    check(store, settings)
    monkeypatch.delenv("TAILORBIRD_SECRET_SIGNING_KEY")
    with pytest.raises(InstallationRefusedError, match="is not the one of"):
        check(store, settings)


def test_a_lost_key_is_replaced(store: Engine, settings: Settings) -> None:
    signature = sign(settings, b"x")
    (settings.var / FOLDER / SIGNING).unlink()
    with pytest.raises(InstallationRefusedError, match="keys rotate signing --reason"):
        check(store, settings)
    rotate_signing(store, settings, "ann", "lost")
    check(store, settings)
    verify(settings, b"x", signature)


def test_a_host_without_the_pseudonym_key_rotates_nothing(store: Engine, settings: Settings) -> None:
    stranger = Settings(var=settings.var.with_name("stranger"))
    with pytest.raises(InstallationRefusedError, match=r"pseudonym-key .* is not here"):
        rotate_signing(store, stranger, "ann", "why")
    assert len(signing_rows(store)) == 1
    assert not stranger.var.exists()


def test_a_database_restored_from_before_a_rotation_records_the_newer_key(store: Engine, settings: Settings) -> None:
    rotate_signing(store, settings, "ann", "why")
    newer = key_of(settings)
    with store.begin() as connection:
        connection.execute(text("DELETE FROM installation_fingerprints WHERE generation = 2"))
    with pytest.raises(InstallationRefusedError, match=r"newer than the database.*keys rotate signing"):
        check(store, settings)
    rotate_signing(store, settings, "ann", "restored")
    check(store, settings)
    assert (key_of(settings), len(signing_rows(store))) == (newer, 2)


def test_another_host_learns_of_a_rotation_and_of_its_end(
    store: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature, old = sign(settings, b"x"), signing_rows(store)[0]["fingerprint"]
    rotate_signing(store, settings, "ann", "why")
    for name in (SIGNING, "pseudonym-key"):
        variable = f"TAILORBIRD_SECRET_{name.upper().replace('-', '_')}"
        monkeypatch.setenv(variable, (settings.var / FOLDER / name).read_text().strip())
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "second"))
    check(store, load())
    verify(load(), b"x", signature)
    retire(store, settings, old, None, "ann", "why")
    check(store, load())
    with pytest.raises(SignatureRefusedError):
        verify(load(), b"x", signature)

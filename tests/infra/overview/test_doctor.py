import shutil
from collections import namedtuple
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text, update

from infra.database.schema.schema import ingest_batches
from infra.installation import Installation
from infra.overview.doctor import Finding, examine
from tests.infra.overview.test_situation import ingest

Usage = namedtuple("Usage", "total used free")


def test_an_installation_without_faults_has_one_line_for_each_part(installation: Installation) -> None:
    assert {finding.part: finding.state for finding in examine(installation.settings)} == {
        **dict.fromkeys(("packages", "settings", "disks", "secrets", "keys", "schema", "clock"), "ok"),
        "services": "fault",  # neither Prefect nor MLflow runs here
    }


def test_a_full_disk_is_a_fault_before_it_is_full(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, state in ((6e9, "ok"), (2e9, "warning"), (1e8, "fault")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: Usage(1e12, 1e12 - free, free))
        assert one(installation, "disks").state == state
    assert "0.1 GB are free in" in one(installation, "disks").finding
    assert "tailorbird lake compact" in str(one(installation, "disks").fix)


def test_secrets_that_are_empty_or_that_others_can_read_are_named(installation: Installation) -> None:
    folder = installation.settings.var / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "mine").write_text("x")
    (folder / "mine").chmod(0o644)
    assert one(installation, "secrets").fix == f"chmod 600 {folder / 'mine'}"
    (folder / "mine").write_text("")
    assert one(installation, "secrets").finding == f"{folder / 'mine'} is empty"


def test_a_package_that_is_missing_or_too_old_is_named(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "tailorbird-9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(
        "Metadata-Version: 2.1\nName: tailorbird\nVersion: 9\n"
        'Requires-Dist: pytest>=1\nRequires-Dist: pandas>=99\nRequires-Dist: no-such-thing>=1; python_version > "3"\n'
        'Requires-Dist: only-on-windows; sys_platform == "win32"\nRequires-Dist: of-an-extra; extra == "more"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = [finding.finding for finding in examine(installation.settings) if finding.part == "packages"]
    assert [line.split()[0] for line in found] == ["pandas", "no-such-thing"]
    assert found[0].endswith("is installed, and Tailorbird needs >=99")


def test_a_mistyped_variable_is_a_warning(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_REVIEW_DAY", "3")
    assert "The nearest is TAILORBIRD_REVIEW_DAYS" in one(installation, "settings").finding


def test_a_schema_of_another_version_and_a_batch_of_the_future_are_found(installation: Installation) -> None:
    with installation.engine.begin() as connection:
        now: datetime = connection.execute(text("SELECT now()")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '0034'"))
        ingest(connection, "b", 1)
        begun = now + timedelta(hours=2)
        connection.execute(update(ingest_batches).values(started_at=begun))
    assert one(installation, "schema").fix == "tailorbird up"
    assert "the schema is 0034, and this version of Tailorbird needs" in one(installation, "schema").finding
    assert f"a batch began at {begun:%Y-%m-%d %H:%M}" in one(installation, "clock").finding


def test_the_key_of_another_installation_is_a_fault(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installation.key
    monkeypatch.setenv("TAILORBIRD_SECRET_PSEUDONYM_KEY", "another")
    assert "Restore that key" in one(installation, "keys").finding


def one(installation: Installation, part: str) -> Finding:
    [finding] = [finding for finding in examine(installation.settings) if finding.part == part]
    return finding

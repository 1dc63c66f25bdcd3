import stat
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from infra.configuration.settings import Settings
from infra.keys.credentials import secret, stored_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_secret_is_made_once_and_differs_by_name_and_folder(tmp_path: Path) -> None:
    one, other = Settings(var=tmp_path / "one"), Settings(var=tmp_path / "other")
    assert secret(one, "key") == secret(one, "key")
    assert len({secret(one, "key"), secret(one, "other-key"), secret(other, "key")}) == 3
    assert len(bytes.fromhex(secret(one, "key"))) == 32


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    secret(Settings(var=tmp_path), "key")
    assert mode(tmp_path / "secrets") == 0o700
    assert mode(tmp_path / "secrets" / "key") == 0o600


def test_rights_that_were_loosened_are_taken_back(tmp_path: Path) -> None:
    value = stored_secret(tmp_path / "secrets", "key")
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

"""A folder of its own for each test of settings."""

from pathlib import Path

import pytest

from infra.configuration.settings import Settings, variable_of


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and no setting in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_of(name), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path

"""Two installations that start in the same seconds take ports of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.services import state_file
from infra.services.embedded_postgres import EmbeddedPostgres

pytestmark = pytest.mark.faults
WEB = ("prefect", "mlflow", "docs", "api")


def command(var: Path, *arguments: str) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TAILORBIRD_", "PREFECT_"))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = inherited | {"TAILORBIRD_VAR": str(var), "TAILORBIRD_SETTINGS": "none"}
    return subprocess.Popen([sys.executable, "-m", "flows", *arguments], env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[list[Path]]:
    made = [tmp_path / "one", tmp_path / "two"]
    yield made
    for var in made:
        command(var, "down").wait(120)
        EmbeddedPostgres(var).destroy()


def test_two_ups_at_once_end_with_two_working_installations(folders: list[Path]) -> None:
    ups = [command(var, "up") for var in folders]
    for up in ups:
        out, err = up.communicate(timeout=600)
        assert up.returncode == 0, f"{out}\n{err}"
    ports = [state_file.load(var)[name].port for var in folders for name in (*WEB, "postgres")]
    assert len(set(ports)) == len(ports)
    for var in folders:
        out, err = command(var, "status", "--json").communicate(timeout=120)
        assert set(json.loads(out)["services"].values()) == {True}, err
        known = state_file.load(var)
        assert all(service.alive for service in known.values())

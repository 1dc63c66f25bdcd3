"""`tailorbird check` runs in an empty folder with nothing running, and its exit code is the verdict."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.__main__ import app
from tests.models.ingest.draft.shops import SHOPS
from tests.tasks.ingest.check.test_check_mapping import order, shop

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TAILORBIRD_VAR": str(folder / "var"), "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-m", "flows", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    room = tmp_path / "room"
    room.mkdir()
    return room


@pytest.fixture
def type_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return the function that runs a command in the folder, without a process of its own."""
    monkeypatch.chdir(folder)
    place = {"TAILORBIRD_VAR": str(folder / "var"), "COLUMNS": "80"}
    return lambda *arguments: CliRunner().invoke(app, arguments, env=place)


def test_an_accepted_shop_ends_with_0_and_the_command_that_comes_next(folder: Path, tmp_path: Path) -> None:
    mapping = shop(tmp_path / "shop", map(order, range(60)))

    done = run(folder, "check", mapping, str(tmp_path / "shop"))

    assert done.returncode == 0, done.stderr
    assert "Columns that are not used: note" in done.stdout
    assert f"tailorbird ingest {mapping} {tmp_path / 'shop'}" in done.stdout
    assert list(folder.iterdir()) == []


def test_a_refused_shop_ends_with_1_and_json_names_the_reason(type_here: Callable[..., Result], tmp_path: Path) -> None:
    mapping = shop(tmp_path / "shop", (order(n, pieces="-1") for n in range(60)))

    done = type_here("check", mapping, str(tmp_path / "shop"), "--json")

    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert not result["accepted"]
    assert result["tables"][-1]["broken"][0]["examples"][0] == {"line": 2, "cells": {"pieces": "-1"}}


def test_init_writes_a_mapping_that_the_next_command_accepts(
    folder: Path, type_here: Callable[..., Result], tmp_path: Path
) -> None:
    files = [str(file) for file in SHOPS["woocommerce"](tmp_path)]

    made = type_here("init", "--from", *files, "--to", "mugs.toml")
    done = type_here("check", "mugs.toml")

    assert made.exit_code == 0, made.stderr
    assert "tailorbird check mugs.toml" in made.stderr
    assert done.exit_code == 0, done.stdout
    assert "--consent given --consent-note" in done.stdout
    assert [file.name for file in folder.iterdir()] == ["mugs.toml"]


def test_a_check_imports_neither_prefect_nor_great_expectations() -> None:
    preview = "from tasks.ingest.check.check_mapping import check_mapping; print({'prefect', 'great_expectations'} & "
    command = [sys.executable, "-c", f"import sys; {preview}set(sys.modules))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"

"""A full disk below the lake: the command reports it, nothing is lost, and the same command finishes afterwards."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.installation import Installation
from tests.conftest import Shop
from tests.fuzz.commands import run
from tests.fuzz.unorchestrated import unorchestrated


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system in memory, or skip the test if that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["/bin/mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)


def ingest(shop: Shop) -> tuple[int, str]:
    with unorchestrated():
        ended = run("ingest", "complete_journey", str(shop.folder), "--json")
    return ended.code, ended.err


def counts(installation: Installation) -> dict[str, int]:
    with installation.engine.connect() as connection:
        statement = "SELECT read, accepted, quarantined, duplicate, suppressed, routed FROM ingest_batches"
        row = connection.exec_driver_sql(f"{statement} WHERE dataset = 'events' AND status = 'committed'").one()
    return dict(row._mapping)


ON_A_FULL_DISK = """
import resource, sys
from flows.__main__ import main
from tests.fuzz.unorchestrated import unorchestrated
resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, resource.RLIM_INFINITY))
with unorchestrated():
    main()
"""
"""No file of the process grows beyond a size, as on a disk that is full."""


def test_a_disk_that_is_full_in_the_middle_of_an_ingest(installation: Installation, shop: Shop) -> None:
    installation.settings.var.mkdir(exist_ok=True)
    command = [sys.executable, "-c", ON_A_FULL_DISK, "ingest", "complete_journey", str(shop.folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == 1
    assert "tailorbird: A disk is full (" in ended.stderr
    assert "The traceback is in " in ended.stderr
    assert not {"Traceback", "panicked", "backtrace"} & set(ended.stderr.split())
    assert ingest(shop)[0] == 0
    assert counts(installation) == shop.counts


def test_a_lake_on_a_full_file_system_and_on_one_that_is_read_only(installation: Installation, shop: Shop) -> None:
    lake = Path(installation.settings.lake)
    with mounted(lake, "size=48k"):
        (lake / "ballast").write_bytes(bytes(40_000))
        assert "tailorbird: A disk is full (" in ingest(shop)[1]
        (lake / "ballast").unlink()
        subprocess.run(["/bin/mount", "-o", "remount,ro", str(lake)], check=True)
        assert "tailorbird: A disk is read-only (" in ingest(shop)[1]
        subprocess.run(["/bin/mount", "-o", "remount,rw,size=64m", str(lake)], check=True)
        ingest(shop)
        assert counts(installation) == shop.counts

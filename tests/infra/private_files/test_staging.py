import subprocess
import sys
from pathlib import Path

import pytest

from infra.private_files.folders import staged

HOLD = """
import sys, time
from pathlib import Path
from infra.private_files.folders import staged
with staged(Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that puts files together."""
    return subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)


def test_a_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with staged(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_moved_into_place_stays(tmp_path: Path) -> None:
    with staged(tmp_path) as folder:
        (folder / "file").touch()
        folder.replace(tmp_path / "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_only_folders_of_killed_processes_are_removed(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    assert other.stdout is not None
    theirs = Path(other.stdout.readline().strip())
    with staged(tmp_path) as own_folder:
        assert {own_folder, theirs} == set(tmp_path.iterdir())
    other.kill()
    other.communicate()
    assert (theirs / "half").exists()
    with staged(tmp_path) as own_folder:
        assert [own_folder] == list(tmp_path.iterdir())

"""A checkpoint is whole or absent, and goes when its training ends."""

import os
from pathlib import Path

from tasks.training.fit_by_epochs import Checkpoints


def test_the_last_checkpoint_of_each_fit_is_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    assert checkpoints.read("one") is None
    for fit, content in (("one", b"1"), ("two", b"2"), ("one", b"3")):
        checkpoints.write(fit, content)
    again = Checkpoints(tmp_path, "key")
    assert (again.read("one"), again.read("two")) == (b"3", b"2")
    assert Checkpoints(tmp_path, "other").read("one") is None


def test_a_checkpoint_that_a_kill_cut_short_is_never_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.write("one", b"whole")
    (tmp_path / "checkpoints" / "key" / ".one.77").write_bytes(b"wh")
    assert checkpoints.read("one") == b"whole"


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "key").write("one", b"1")
    folder = tmp_path / "checkpoints" / "key"
    assert [path.stat().st_mode & 0o077 for path in (folder, folder / "one")] == [0, 0]


def test_they_go_when_the_training_ends(tmp_path: Path) -> None:
    for key in ("done", "running"):
        Checkpoints(tmp_path, key).write("one", b"1")
    Checkpoints(tmp_path, "done").delete()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["running"]


def test_only_the_latest_of_trainings_that_nobody_went_on_with_are_kept(tmp_path: Path) -> None:
    for at in range(6):
        Checkpoints(tmp_path, f"key{at}").write("one", b"1")
        os.utime(tmp_path / "checkpoints" / f"key{at}", (at, at))
    assert Checkpoints(tmp_path, "key0").read("one") is None
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["key2", "key3", "key4", "key5"]

import tempfile
from pathlib import Path

import pytest

from infra.private_files import error_log
from infra.private_files.error_log import NAME, record


@pytest.fixture
def var(own_var: Path) -> Path:
    own_var.mkdir()
    return own_var


def failed(message: str = "it broke") -> Exception:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_a_traceback_is_kept_where_only_its_owner_can_read_it(var: Path) -> None:
    log = record(failed())
    assert log == var / "log" / NAME
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700
    assert "builtins.ValueError: it broke" in log.read_text()
    assert "raise ValueError(message)" in log.read_text()


def test_a_log_that_others_could_read_is_closed_to_them(var: Path) -> None:
    (var / "log").mkdir()
    (var / "log" / NAME).touch(0o644)
    assert record(failed()) == var / "log" / NAME
    assert (var / "log" / NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "message",
    [
        "no user 'raw-id-7' here",
        "duplicate key\nDETAIL: Key (user)=(raw-id-7) already exists.",
        "Key (user)=(raw-id-7) exists",
        "cannot open postgresql://me:raw-id-7@db/shop",
    ],
)
@pytest.mark.usefixtures("var")
def test_messages_lose_what_may_be_data_or_a_password(message: str) -> None:
    log = record(failed(message))
    assert log is not None
    assert "raw-id-7" not in log.read_text()


@pytest.mark.usefixtures("var")
def test_causes_are_kept_with_their_frames() -> None:
    error = RuntimeError("outer")
    error.__cause__ = failed("inner")
    log = record(error)
    assert log is not None
    assert log.read_text().index("outer") < log.read_text().index("ValueError: inner")


def test_the_log_does_not_grow_without_end(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_log, "_LONGEST_LOG", 5_000)
    for _ in range(100):
        record(failed())
    files = sorted((var / "log").iterdir())
    assert [file.name for file in files] == [NAME, f"{NAME}.1"]
    assert sum(file.stat().st_size for file in files) < 12_000


@pytest.mark.parametrize("kind", ["missing", "a file", "a link"])
def test_without_a_folder_of_the_installation_the_traceback_goes_to_a_temporary_file(
    own_var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    if kind == "a file":
        own_var.touch()
    elif kind == "a link":
        (own_var / "log").mkdir(parents=True)
        elsewhere.touch()
        (own_var / "log" / NAME).symlink_to(elsewhere)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    log = record(failed())
    assert log is not None
    assert log.parent == tmp_path
    assert log.stat().st_mode & 0o777 == 0o600
    assert "it broke" in log.read_text()
    assert own_var.exists() != (kind == "missing")
    assert kind != "a link" or not elsewhere.read_text()


@pytest.mark.usefixtures("own_var")
def test_a_log_that_cannot_be_written_anywhere_keeps_nobody_from_the_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert record(failed()) is None
    assert not list(tmp_path.iterdir())

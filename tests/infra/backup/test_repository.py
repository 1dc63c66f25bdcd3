import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.backup.repository import Backup, BackupRefusedError, BackupStoreError, Repository, StoredFile

CONTENTS = {"a": b"", "b": b"text", "c": b"text", "d": np.random.default_rng(7).bytes(3 << 20)}


def test_each_content_is_stored_once_and_read_as_it_was(place: str) -> None:
    repository, files = Repository(place), stored(Repository(place))
    assert [file.size for file in files] == [len(content) for content in CONTENTS.values()]
    assert {file.path: b"".join(repository.blocks(file)) for file in files} == CONTENTS
    again = Repository(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(again, "_write", lambda *_: pytest.fail("It is stored already."))
        assert stored(again) == files


def test_a_backup_exists_once_its_list_is_written(place: str) -> None:
    repository = Repository(place)
    assert repository.names() == []
    with pytest.raises(BackupRefusedError, match=r"has no backup\. Create one with: tailorbird backup"):
        repository.read()
    files = stored(repository)
    assert Repository(place).names() == []
    repository.publish(made("2026-01-02", files))
    repository.publish(made("2026-01-01", files[:1]))
    assert Repository(place).names() == ["2026-01-01", "2026-01-02"]
    assert (repository.read().files, repository.read("2026-01-01").files) == (files, files[:1])
    with pytest.raises(BackupRefusedError, match=r"has no backup 2025\. There are 2026-01-01, 2026-01-02\."):
        repository.read("2025")


def test_files_that_the_kept_backups_list_stay_and_all_others_go(tmp_path: Path) -> None:
    repository, random = Repository(str(tmp_path)), np.random.default_rng(11)
    backups = []
    for number in range(6):
        chosen = random.choice(sorted(CONTENTS), random.integers(1, 4), replace=False)
        files = [repository.put(io.BytesIO(name.encode() * random.integers(1, 4)), name) for name in chosen]
        backups.append(made(f"2026-01-0{number}", files))
        repository.publish(backups[-1])
    (tmp_path / "objects" / "00").mkdir(exist_ok=True)
    (tmp_path / "objects" / "00" / ".draft-of-a-killed-process").write_bytes(b"half")
    for keep in (4, 2, 1):
        Repository(str(tmp_path)).prune(keep)
        needed = {file.sha256 for backup in backups[-keep:] for file in backup.content}
        assert {file.name for file in (tmp_path / "objects").rglob("*") if file.is_file()} == needed - {SECRETS.sha256}
        assert repository.names() == [backup.name for backup in backups[-keep:]]
    # A later backup stores again what was deleted.
    assert stored(Repository(str(tmp_path)))[1].sha256 in {file.name for file in tmp_path.rglob("*")}


def test_each_missing_or_changed_file_is_named(tmp_path: Path) -> None:
    repository, files = Repository(str(tmp_path)), stored(Repository(str(tmp_path)))
    backup = made("one", files[:2]).model_copy(update={"secrets": files[3]})
    assert repository.verify(backup, ignore) == []
    first, second, third = (object_of(tmp_path, file) for file in (files[0], files[1], files[3]))
    first.unlink()
    second.write_bytes(third.read_bytes())
    third.write_bytes(third.read_bytes()[:1000])
    faults = repository.verify(backup, ignore)
    assert [fault.partition(" (")[0] for fault in faults] == [
        f"objects/{first.name[:2]}/{first.name} is missing",
        f"objects/{second.name[:2]}/{second.name} was changed",
        f"objects/{third.name[:2]}/{third.name} cannot be read",
    ]


def test_a_file_whose_reading_fails_leaves_nothing(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        Repository(str(tmp_path)).put(Broken(), "lake/x")  # type: ignore[arg-type]
    assert [*tmp_path.rglob("*")] == []


def test_a_place_that_is_no_folder_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BackupStoreError, match=r"file/backups cannot be read or written.*run the command again"):
        Repository(str(tmp_path / "file" / "backups")).put(io.BytesIO(b"x"), "x")
    with pytest.raises(BackupRefusedError, match="Put no password into the address"):
        Repository("s3://me:secret@bucket/backups")


def test_a_list_that_is_no_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "2026.json").write_text('{"format": 2}')
    with pytest.raises(BackupRefusedError, match=r"backups/2026.json is damaged, or of a newer version"):
        Repository(str(tmp_path)).read()


SECRETS = StoredFile(path="secrets.tar", sha256=hashlib.sha256(b"secrets").hexdigest(), size=7)


@pytest.fixture(params=["folder", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the place of backups, which does not exist yet."""
    if request.param == "folder":
        return str(tmp_path / "new" / "backups")
    return f"{request.getfixturevalue('object_store')}/backups"


def stored(repository: Repository) -> list[StoredFile]:
    return [repository.put(io.BytesIO(content), path) for path, content in CONTENTS.items()]


def made(name: str, files: list[StoredFile]) -> Backup:
    return Backup(
        name=name, installation="i", version="v", key="k", postgres=0, lsn="0/0", files=files, folders=[],
        secrets=SECRETS, left_out=[],
    )  # fmt: skip


def object_of(folder: Path, file: StoredFile) -> Path:
    return folder / "objects" / file.sha256[:2] / file.sha256


def ignore(*_: Any, **__: Any) -> None:
    """Show no progress."""

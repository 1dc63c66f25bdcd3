"""The champion in memory: what replaces it, what does not, and what a start needs."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infra.bundles.bundle import load
from infra.private_files.folders import sha256
from serving.model import loaded_model
from serving.model.holder import ModelHolder
from serving.model.loaded_model import RankedUsers
from serving.model.sources import Candidate, ChampionCopy
from tests.serving.bundle_folders import write_bundle

KEYS = ["ann", "bob", "cleo"]


class Listed:
    """A source whose champion a test sets; None: it does not answer."""

    def __init__(self, *folders: Path) -> None:
        self.candidate: Candidate | None = None
        for folder in folders:
            self.promote(folder)

    def promote(self, folder: Path, version: int = 1) -> None:
        digest = sha256(folder / "manifest.json")
        self.candidate = Candidate(lambda: load(folder), digest, folder, version, version)

    def newest(self) -> Candidate | None:
        if self.candidate is None:
            raise ConnectionError("the server is away")
        return self.candidate


@pytest.fixture(scope="module")
def drafts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two sound bundles, and two signed ones that learned nothing, with the key that signed them."""
    root = tmp_path_factory.mktemp("drafts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILORBIRD_VAR", str(root / "var"))
        for name in ("SECRET_SIGNING_KEY", "SECRET_PSEUDONYM_KEY", "SIGNING_PUBLIC_KEY"):
            patch.delenv(f"TAILORBIRD_{name}", raising=False)
        write_bundle(root / "first")
        write_bundle(root / "second", seed=2)
        write_bundle(root / "nan", change=lambda model: replace(model, item_factors=model.item_factors * np.nan))
        write_bundle(root / "same", change=lambda model: replace(model, user_factors=np.ones_like(model.user_factors)))
        yield root


@pytest.fixture
def folders(drafts: Path, tmp_path: Path) -> Path:
    """The test's own copies, which it may damage."""
    for name in ("first", "second", "nan", "same"):
        shutil.copytree(drafts / name, tmp_path / name)
    return tmp_path


def damaged(folder: Path) -> None:
    content = bytearray((folder / "arrays.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "arrays.npz").write_bytes(bytes(content))


def test_a_promotion_replaces_the_champion_and_the_same_one_again_does_not(folders: Path) -> None:
    source = Listed(folders / "first")
    loaded: list[Any] = []
    holder = ModelHolder(source, on_loaded=loaded.append)
    first = holder.open()
    assert first is not None
    assert (first.model_version, first.promotion_id, first.dataset_version) == (1, 1, "v1")
    assert not holder.refresh()
    assert holder.current() is first
    source.promote(folders / "second", 2)
    assert holder.refresh()
    assert holder.current() is loaded[-1]
    assert loaded[-1].model_version == 2
    source.promote(folders / "first", 3)
    assert holder.refresh()
    assert [one.promotion_id for one in loaded] == [1, 2, 3]


def test_a_worker_uses_the_model_that_its_server_loaded_unless_another_one_was_promoted_since(folders: Path) -> None:
    source, again = Listed(folders / "first"), Listed(folders / "first")
    again.promote(folders / "first", 2)
    known = ModelHolder(source).open()
    assert known is not None
    shutil.rmtree(folders / "first")  # nothing is read again
    copy = ChampionCopy(folders / "copy")
    opened = ModelHolder(source, copy, known=known).open()
    assert opened is known  # what was built from it counts
    assert copy.newest() is None, "the server copied it"
    promoted_again = ModelHolder(again, known=known).open()
    assert promoted_again is not None
    assert (promoted_again.bundle is known.bundle, promoted_again.promotion_id) == (True, 2)
    source.promote(folders / "second", 2)
    later = ModelHolder(source, known=known).open()
    assert later is not None
    assert later.digest != known.digest


@pytest.mark.parametrize(
    ("bad", "reason", "part"),
    [
        ("nan", "poisoned", "no score of the model for any user"),
        ("same", "poisoned", "the same list for everybody"),
        ("corrupted", "refused", "does not match its manifest"),
        ("unsigned", "refused", "no manifest.sig"),
        ("gone", "refused", "no folder that can be read"),
    ],
)
def test_a_bad_champion_keeps_the_one_before(folders: Path, bad: str, reason: str, part: str) -> None:
    source, failures = Listed(folders / "first"), list[Any]()
    holder = ModelHolder(source, on_failure=failures.append)
    first = holder.open()
    folder = folders / (bad if bad in ("nan", "same") else "second")
    source.promote(folder, 2)
    if bad == "corrupted":
        damaged(folder)
    elif bad == "unsigned":
        (folder / "manifest.sig").unlink()
    elif bad == "gone":
        shutil.rmtree(folder)
    assert not holder.refresh()
    assert not holder.refresh()  # it is not tried again at once
    assert holder.current() is first
    assert holder.failures == 1
    assert holder.last_failure is not None
    assert failures == [holder.last_failure]
    assert (holder.last_failure.reason, holder.last_failure.model_version) == (reason, 2)
    assert part in holder.last_failure.detail
    source.promote(folders / "first", 3)
    assert holder.refresh()
    assert holder.last_failure is None


def test_a_start_without_the_source_or_with_a_broken_champion_uses_the_copy(folders: Path) -> None:
    copy = ChampionCopy(folders / "copy")
    source = Listed(folders / "first")
    assert ModelHolder(source, copy).open() is not None
    shutil.rmtree(folders / "first")
    source.candidate = None
    away = ModelHolder(source, copy)
    opened = away.open()
    assert opened is not None
    assert (opened.model_version, away.failures) == (1, 0)
    source.promote(folders / "nan", 2)
    broken = ModelHolder(source, copy)
    opened = broken.open()
    assert opened is not None
    assert (opened.model_version, broken.failures) == (1, 1)


@pytest.mark.parametrize("part", ["arrays.npz", "champion.json"])
def test_a_damaged_copy_is_replaced_as_soon_as_the_original_is_read(folders: Path, part: str) -> None:
    copy, source = ChampionCopy(folders / "copy"), Listed(folders / "first")
    assert ModelHolder(source, copy).open() is not None
    newest, original = copy.newest(), source.candidate
    assert newest is not None
    if part == "champion.json":
        (copy.folder / part).write_text("[]")
    else:
        damaged(newest.folder)
    source.candidate = None
    holder = ModelHolder(source, copy)
    assert holder.open() is None
    source.candidate = original
    assert holder.refresh(), "it did not wait because of the copy"
    source.candidate = None
    assert ModelHolder(source, copy).open() is not None


def test_only_the_last_two_champions_are_kept(folders: Path) -> None:
    copy, source = ChampionCopy(folders / "copy"), Listed()
    holder = ModelHolder(source, copy)
    for number, name in enumerate(("first", "second", "first", "second"), 1):
        source.promote(folders / name, number)
        assert holder.refresh()
    newest = copy.newest()
    assert newest is not None
    assert newest.promotion_id == 4
    assert len([path for path in (folders / "copy").iterdir() if path.is_dir()]) == 2


def test_a_source_that_hangs_is_not_waited_for_if_there_is_a_copy(folders: Path, monkeypatch: Any) -> None:
    copy, source, released = ChampionCopy(folders / "copy"), Listed(folders / "first"), Event()
    assert ModelHolder(source, copy).open() is not None
    monkeypatch.setattr("serving.model.holder._PATIENCE", 0.1)
    monkeypatch.setattr(source, "newest", lambda: released.wait() and None)
    opened = ModelHolder(source, copy).open()
    released.set()
    assert opened is not None
    assert opened.model_version == 1


class Pairs:
    """A model whose candidates for the user at position `u` are the items `u` and `u + 1`."""

    users = np.array(KEYS)

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def ranked(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        self.asked.append(users.tolist())
        rows = np.repeat(np.arange(len(users)), 2)
        items = np.stack([users, users + 1], axis=1).ravel()
        return rows, items.astype(np.int64), items.astype(np.float32) / 2


def listed(ranked: RankedUsers, user: int) -> tuple[list[int], list[float]]:
    items, scores = ranked.of(user)
    return items.tolist(), scores.tolist()


def test_users_are_ranked_once_and_those_who_are_asked_for_together_in_one_call() -> None:
    model = Pairs()
    ranked = RankedUsers(model)  # type: ignore[arg-type]
    assert listed(ranked, 1) == listed(ranked, 1) == ([1, 2], [0.5, 1.0])
    ranked.rank(["cleo", "bob", "nobody", "ann", "ann"])
    assert listed(ranked, 2) == ([2, 3], [1.0, 1.5])
    assert listed(ranked, 0) == ([0, 1], [0.0, 0.5])
    ranked.rank(KEYS)
    assert model.asked == [[1], [2, 0]]


def test_the_users_who_were_ranked_first_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Pairs()
    ranked = RankedUsers(model)  # type: ignore[arg-type]
    monkeypatch.setattr(loaded_model, "_REMEMBERED", 2)
    for user in (0, 1, 2, 1, 0):
        ranked.of(user)
    assert model.asked == [[0], [1], [2], [0]]

"""Bundles that somebody with write access has changed. Each file may be the one; nothing that is in it may run."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.bundles import bundle as bundles
from infra.bundles import manifest as manifests
from infra.bundles.manifest import FILES, MANIFEST, SIGNATURE, BundleRefusedError, Origin, verify
from infra.configuration.settings import Settings, load
from infra.keys.credentials import public_key, sign
from infra.private_files.folders import sha256
from models.recommenders.baselines.most_popular import Config, MostPopular

BESIDE = {"MLmodel": "flavors: {}", "requirements.txt": "tailorbird"}
LISTED = (*FILES, *BESIDE)
EVERY = (*LISTED, MANIFEST, SIGNATURE)
OPENERS: dict[str, Callable[[Path], Any]] = {
    "load": bundles.load,
    "verify": verify,
    "keep": lambda folder: bundles.store_bundle(folder, folder.parent / "kept"),
}


def make(folder: Path, half_life: float = 28.0) -> Path:
    users, items = np.array(["u1", "u2"]), np.array(["i1", "i2", "i3"])
    popularity = np.array([3.0, 2.0, half_life], dtype=np.float32)
    model = MostPopular(Config(half_life), users, items, popularity, np.zeros(len(items), np.int32))
    bundles.write(folder, model, popularity, Origin("v1", 7, "run"), beside=BESIDE)
    return folder


@pytest.fixture
def folder(tmp_path: Path, own_var: Path) -> Path:  # noqa: ARG001
    return make(tmp_path / "bundle")


def resign(folder: Path, settings: Settings | None = None) -> None:
    """Write a manifest of the present files of a folder; with `settings`, sign it with their key."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    listed = [path for path in folder.iterdir() if path.is_file() and path.name not in (MANIFEST, SIGNATURE)]
    manifest["files"] = {path.name: sha256(path) for path in listed}
    content = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(content)
    if settings is not None:
        (folder / SIGNATURE).write_bytes(sign(settings, content))


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.write_text, (self.sentinel, "it ran"))


@pytest.fixture
def sentinel(tmp_path: Path) -> Any:
    """Return the path of the bomb's file; check at the end that it is missing and that the bomb works."""
    place = tmp_path / "sentinel"
    yield place
    assert not place.exists()
    pickle.loads(pickle.dumps(Bomb(place)))  # noqa: S301
    assert place.exists()


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("name", EVERY)
def test_a_bit_that_is_flipped_anywhere_is_found(folder: Path, name: str, opened: str) -> None:
    sound = (folder / name).read_bytes()
    for at in (0, len(sound) // 2, len(sound) - 1):
        changed = bytearray(sound)
        changed[at] ^= 1
        (folder / name).write_bytes(changed)
        with pytest.raises(BundleRefusedError, match=r"manifest|does not match"):
            OPENERS[opened](folder)
    assert not (folder.parent / "kept").exists()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("remaining", [0, 0.5, None])
def test_a_file_that_is_cut_short_or_missing_is_found(folder: Path, name: str, remaining: float | None) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if remaining is not None:
        (folder / name).write_bytes(content[: int(len(content) * remaining)])
    with pytest.raises(BundleRefusedError, match=r"Restore it|again"):
        bundles.load(folder)


@pytest.mark.parametrize("name", ["arrays.npz", "fallback.npz", "config.json", MANIFEST, SIGNATURE])
def test_a_file_of_another_sound_bundle_is_found(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copyfile(make(tmp_path / "other", half_life=3.0) / name, folder / name)
    with pytest.raises(BundleRefusedError):
        bundles.load(folder)


def test_a_sound_bundle_of_another_model_is_not_the_one_that_was_promoted(folder: Path, tmp_path: Path) -> None:
    promoted = sha256(folder / MANIFEST)
    with pytest.raises(BundleRefusedError, match="another bundle than the recorded one"):
        bundles.load(make(tmp_path / "other", half_life=3.0), promoted)


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize(
    ("name", "vouched"), [(n, v) for n in EVERY for v in (False, True) if not (v and n == MANIFEST)]
)
def test_code_in_place_of_any_file_never_runs(
    folder: Path, sentinel: Path, name: str, vouched: bool, opened: str
) -> None:
    (folder / name).write_bytes(pickle.dumps(Bomb(sentinel)))
    if vouched:
        resign(folder)
    with pytest.raises(BundleRefusedError):
        OPENERS[opened](folder)


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("name", ["model.pkl", "python_model.pkl", ".hidden", "code", "arrays.npz.bak"])
@pytest.mark.parametrize("vouched", [False, True])
def test_a_file_too_many_is_refused(folder: Path, sentinel: Path, name: str, vouched: bool, opened: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Bomb(sentinel)))
    if vouched:
        resign(folder)
    with pytest.raises(BundleRefusedError, match="none of the keys" if vouched else f"does not list: {name}"):
        OPENERS[opened](folder)


@pytest.mark.parametrize("name", EVERY)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BundleRefusedError, match="again"):
        bundles.load(folder)


@pytest.mark.parametrize("opened", OPENERS)
@pytest.mark.parametrize("name", EVERY)
def test_a_link_in_place_of_a_file_is_refused_even_to_identical_bytes(
    folder: Path, tmp_path: Path, name: str, opened: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(BundleRefusedError, match="regular file"):
        OPENERS[opened](folder)
    (folder / name).unlink()
    os.link(elsewhere, folder / name)  # a second name of the same file is a regular file
    OPENERS[opened](folder)


@pytest.mark.parametrize("opened", OPENERS)
def test_the_folder_itself_may_be_reached_through_a_link(folder: Path, tmp_path: Path, opened: str) -> None:
    (tmp_path / "link").symlink_to(folder)
    OPENERS[opened](tmp_path / "link")


def test_a_file_that_is_replaced_after_it_was_verified_is_not_the_one_that_is_read(folder: Path) -> None:
    sound = (folder / "config.json").read_bytes()
    with manifests.verified(folder) as bundle:
        (folder / "other").write_text("{}")
        (folder / "other").replace(folder / "config.json")
        assert bundle.files["config.json"].read() == sound


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/hostname", "code/x.py", "..", ".", "", "a\\b", MANIFEST])
def test_a_manifest_names_files_of_its_own_folder_only_whoever_signed_it(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "elsewhere").write_text("x")
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][name] = sha256(tmp_path / "elsewhere")
    content = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(sign(load(), content))
    for opened in OPENERS.values():
        with pytest.raises(BundleRefusedError, match=r"only names of files of the folder|is no manifest"):
            opened(folder)


@pytest.mark.parametrize("packed", ["code", "link", "pipe"])
def test_the_unsigned_file_that_mlflow_adds_may_hold_only_name_and_version(folder: Path, packed: str) -> None:
    added = folder / "registered_model_meta"
    if packed == "code":
        added.write_text("model_name: !!python/object/apply:os.system [id]\n")
    elif packed == "link":
        added.symlink_to(folder / "config.json")
    else:
        os.mkfifo(added)
    for opened in OPENERS.values():
        with pytest.raises(BundleRefusedError, match="registered_model_meta"):
            opened(folder)


def test_a_folder_in_a_bundle_is_refused(folder: Path) -> None:
    (folder / "code").mkdir()
    with pytest.raises(BundleRefusedError, match="does not list: code"):
        bundles.load(folder)


@pytest.mark.parametrize("name", LISTED)
def test_a_manifest_that_was_remade_for_other_files_has_no_signature_of_ours(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / name).write_bytes(b"something else")
    resign(folder)
    with pytest.raises(BundleRefusedError, match="signed by none of the keys that are trusted here"):
        bundles.load(folder)
    resign(folder, Settings(var=tmp_path / "another installation"))
    with pytest.raises(BundleRefusedError, match="signed by none of the keys that are trusted here"):
        bundles.load(folder)


def test_a_bundle_of_another_installation_is_opened_once_its_key_is_trusted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = public_key(load())
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "elsewhere"))
    with pytest.raises(BundleRefusedError, match="TAILORBIRD_SIGNING_PUBLIC_KEY"):
        bundles.load(folder)
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", key)
    assert bundles.load(folder).manifest.kind == "most_popular"


@pytest.mark.parametrize("content", ['{"format": 3', "", "[]", "null", '{"format": 3}', '{"files": 7}', "\x00\x01"])
def test_a_manifest_without_useful_content_is_refused_whoever_signed_it(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    (folder / SIGNATURE).write_bytes(sign(load(), content.encode()))
    with pytest.raises(BundleRefusedError, match="is no manifest; train the model again"):
        bundles.load(folder)


def test_another_format_is_refused_with_what_to_do(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes()) | {"format": 99}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    resign(folder, load())
    with pytest.raises(BundleRefusedError, match="format 99, and this version reads format 3: train and promote"):
        bundles.load(folder)


@pytest.mark.parametrize("name", ["arrays.npz", "fallback.npz"])
@pytest.mark.parametrize("packed", ["object array", "pickle in place of the archive", "pickle inside the archive"])
def test_code_that_our_own_key_has_signed_does_not_run_either(
    folder: Path, sentinel: Path, name: str, packed: str
) -> None:
    bomb = Bomb(sentinel)
    if packed == "object array":
        np.savez(folder / name, users=np.array([bomb], dtype=object), scores=np.array([bomb], dtype=object))
    elif packed == "pickle in place of the archive":
        (folder / name).write_bytes(pickle.dumps(bomb))
    else:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member in ("users.npy", "scores.npy"):
                archive.writestr(member, pickle.dumps(bomb))
    resign(folder, load())
    with pytest.raises(BundleRefusedError, match=name):
        bundles.load(folder)

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra import bundles
from infra.bundles import FILES, MANIFEST, BundleRefusedError
from models.dataset import Dataset
from models.most_popular import Config, MostPopular
from models.segment_popular import BY_TRAITS, SegmentPopular
from tests.infra.golden_bundles import FOLDER, USERS
from tests.models.conftest import CUT, CUTS, make_shop

FALLBACK = np.array([3.0, 2.0, 1.0], dtype=np.float32)
ORIGIN = {"dataset_version": "v1", "seed": 7}


def model(half_life: float = 28.0) -> MostPopular:
    users, items = np.array(["u1", "u2"]), np.array(["i1", "i2", "i3"])
    return MostPopular(Config(half_life), users, items, FALLBACK * 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundles.write(tmp_path / "bundle", model(), FALLBACK, ORIGIN)
    return tmp_path / "bundle"


def resign(folder: Path) -> str:
    """A new manifest that vouches for whatever is in the folder now: what somebody with write access can do."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {name: bundles._sha256(folder / name) for name in FILES}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return bundles._sha256(folder / MANIFEST)


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.write_text, (self.sentinel, "it ran"))


def test_a_model_comes_back_as_it_was_with_where_it_came_from(folder: Path) -> None:
    found = bundles.load(folder, bundles._sha256(folder / MANIFEST))
    assert np.array_equal(found.model.scores(np.array([0, -1])), model().scores(np.array([0, -1])))
    assert found.model.config == Config(28.0)
    assert np.array_equal(found.fallback, FALLBACK)
    assert {name: found.manifest[name] for name in ORIGIN} == ORIGIN
    assert found.manifest["kind"] == "most_popular"


def test_the_best_sellers_of_segments_come_back_with_it_and_a_bundle_without_them_opens_too(
    folder: Path, tmp_path: Path
) -> None:
    data = Dataset(CUTS, *make_shop(seed=1)).training_data(CUT)
    assert bundles.load(folder).segments is None
    segments = SegmentPopular.fit(data, BY_TRAITS, 7)
    bundles.write(tmp_path / "more", model(), FALLBACK, ORIGIN, segments)
    again = bundles.load(tmp_path / "more").segments
    assert again is not None
    everybody = np.arange(len(data.users), dtype=np.int32)
    np.testing.assert_array_equal(again.scores(everybody), segments.scores(everybody))
    assert np.array_equal(bundles.load(tmp_path / "more").fallback, FALLBACK)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleRefusedError, match=f"{name} does not match its manifest"):
        bundles.load(folder)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_found(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleRefusedError, match=name):
        bundles.load(folder)


@pytest.mark.parametrize("content", ['{"format": 2', "", '{"format": 2}', '{"format": 99, "files": {}}', "\x00\x01"])
def test_a_manifest_that_says_nothing_useful_is_refused(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content)
    with pytest.raises(BundleRefusedError):
        bundles.load(folder)


def test_a_sound_bundle_of_another_model_is_not_the_one_that_was_promoted(folder: Path, tmp_path: Path) -> None:
    promoted = bundles._sha256(folder / MANIFEST)
    bundles.write(tmp_path / "other", model(half_life=3.0), FALLBACK, ORIGIN)
    with pytest.raises(BundleRefusedError, match="not the manifest that was promoted"):
        bundles.load(tmp_path / "other", promoted)
    (folder / MANIFEST).write_text((tmp_path / "other" / MANIFEST).read_text())
    with pytest.raises(BundleRefusedError, match="does not match its manifest"):
        bundles.load(folder)


@pytest.mark.parametrize("name", ["arrays.npz", "fallback.npz"])
@pytest.mark.parametrize("packed", ["object array", "pickle in place of the archive", "pickle inside the archive"])
@pytest.mark.parametrize("vouched", [False, True])
def test_code_in_a_bundle_never_runs(folder: Path, tmp_path: Path, name: str, packed: str, vouched: bool) -> None:
    sentinel = tmp_path / "sentinel"
    bomb = Bomb(sentinel)
    if packed == "object array":
        np.savez(folder / name, users=np.array([bomb], dtype=object), scores=np.array([bomb], dtype=object))
    elif packed == "pickle in place of the archive":
        (folder / name).write_bytes(pickle.dumps(bomb))
    else:
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member in ("users.npy", "scores.npy"):
                archive.writestr(member, pickle.dumps(bomb))
    digest = resign(folder) if vouched else None
    with pytest.raises(BundleRefusedError, match=name):
        bundles.load(folder, digest)
    assert not sentinel.exists()
    pickle.loads(pickle.dumps(bomb))  # noqa: S301 - the bomb does work
    assert sentinel.exists()


def test_a_kept_bundle_has_its_digest_for_a_name_and_is_kept_once(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    target, digest = bundles.keep(folder, root)
    assert (target, digest) == (root / digest, bundles._sha256(folder / MANIFEST))
    assert bundles.keep(folder, root) == (target, digest)
    assert [entry.name for entry in root.iterdir()] == [digest]
    assert bundles.load(target, digest).digest == digest


def test_a_damaged_bundle_is_not_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "config.json").write_text("{}")
    with pytest.raises(BundleRefusedError):
        bundles.keep(folder, tmp_path / "bundles")
    assert not (tmp_path / "bundles").exists()


def test_a_kept_bundle_that_was_damaged_is_not_taken_for_the_sound_one(folder: Path, tmp_path: Path) -> None:
    target, _ = bundles.keep(folder, tmp_path / "bundles")
    (target / "config.json").write_text("{}")
    with pytest.raises(BundleRefusedError, match=r"config\.json does not match"):
        bundles.keep(folder, tmp_path / "bundles")


def test_a_bundle_that_was_kept_scores_as_it_did_when_it_was_written() -> None:
    folder = FOLDER / f"format_{bundles.FORMAT}"
    kept = bundles.load(folder)
    with np.load(folder / "expected.npz") as expected:
        np.testing.assert_allclose(kept.model.scores(USERS), expected["scores"], rtol=1e-5)
    assert np.isfinite(kept.model.scores(USERS)[0]).any()
    assert (kept.manifest["kind"], kept.fallback[-1]) == ("two_stage", len(kept.model.items) - 1)

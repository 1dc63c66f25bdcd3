import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from infra.bundles import bundle as bundles
from infra.bundles.arrays import Arrays, NoArraysError, read_arrays, write_arrays
from infra.bundles.manifest import FILES, FORMAT, MANIFEST, SIGNATURE, BundleRefusedError, Origin
from infra.private_files.folders import sha256
from models.datasets.dataset import Dataset
from models.recommenders.baselines.most_popular import Config, MostPopular
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from tests.infra.golden_bundles import EXPECTED, FOLDER, PUBLIC_KEY, USERS
from tests.models.conftest import CUT, CUTS, make_shop

FALLBACK = np.array([3.0, 2.0, 1.0], dtype=np.float32)
ORIGIN = Origin("v1", 7, "run 1")
NOISE = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)
POLYNOMIAL = (0x1DB710641).to_bytes(5, "little")
"""Bits that change no CRC-32 when they are flipped together."""


def model(half_life: float = 28.0) -> MostPopular:
    users, items = np.array(["u1", "u2"]), np.array(["i1", "i2", "i3"])
    return MostPopular(Config(half_life), users, items, FALLBACK * 2, np.zeros(len(items), np.int32))


@pytest.fixture
def folder(tmp_path: Path, own_var: Path) -> Path:  # noqa: ARG001
    bundles.write(tmp_path / "bundle", model(), FALLBACK, ORIGIN, beside={"MLmodel": "flavors: {}"})
    return tmp_path / "bundle"


def test_a_model_comes_back_as_it_was(folder: Path) -> None:
    loaded = bundles.load(folder, sha256(folder / MANIFEST))
    assert np.array_equal(loaded.model.scores(np.array([0, -1])), model().scores(np.array([0, -1])))
    assert loaded.model.config == Config(28.0)
    assert np.array_equal(loaded.fallback, FALLBACK)
    assert loaded.available.tolist() == [True, True, True]


def test_the_manifest_states_the_origin_of_the_model_and_lists_every_other_file(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], MANIFEST, SIGNATURE}
    assert manifest["files"] == {name: sha256(folder / name) for name in (*FILES, "MLmodel")}
    assert (manifest["format"], manifest["kind"], manifest["parameters"]) == (
        FORMAT,
        "most_popular",
        {"half_life_days": 28},
    )
    assert (manifest["dataset_version"], manifest["seed"], manifest["run_id"]) == ("v1", 7, "run 1")
    assert manifest["git_commit"]
    assert {"python", "numpy", "tailorbird"} <= manifest["libraries"].keys()


def test_segments_first_events_seasons_and_missing_items_come_back_and_a_bundle_without_them_opens_too(
    folder: Path, tmp_path: Path
) -> None:
    data = Dataset(CUTS, *make_shop(seed=1)).training_data(CUT)
    assert bundles.load(folder).segments is None
    segments = SegmentPopular.fit(data, BY_TRAITS, 7)
    first = np.array([5.0, 7.5, np.inf])
    there = np.array([True, False, True])
    more = {"available": there, "first_events": first, "season": first / 2}
    bundles.write(tmp_path / "more", model(), FALLBACK, ORIGIN, segments, **more)
    assert bundles.load(tmp_path / "more").available.tolist() == there.tolist()
    assert bundles.load(folder).first_events is bundles.load(folder).season is None, "as in bundles of earlier versions"
    assert np.array_equal(bundles.load(tmp_path / "more").first_events, first)
    assert np.array_equal(bundles.load(tmp_path / "more").season, first / 2)
    again = bundles.load(tmp_path / "more").segments
    assert again is not None
    all_users = np.arange(len(data.users), dtype=np.int32)
    np.testing.assert_array_equal(again.scores(all_users), segments.scores(all_users))
    assert np.array_equal(bundles.load(tmp_path / "more").fallback, FALLBACK)


def test_a_kept_bundle_has_its_digest_for_a_name_and_is_kept_once(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    target, digest = bundles.store_bundle(folder, root)
    assert (target, digest) == (root / digest, sha256(folder / MANIFEST))
    assert bundles.store_bundle(folder, root) == (target, digest)
    assert [entry.name for entry in root.iterdir()] == [digest]
    assert bundles.load(target, digest).digest == digest
    assert {path.name for path in target.iterdir()} == {path.name for path in folder.iterdir()}


def test_files_that_mlflow_leaves_in_a_downloaded_folder_are_neither_refused_nor_kept(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "registered_model_meta").write_text("model_name: tailorbird\nmodel_version: '1'\n")
    target, digest = bundles.store_bundle(folder, tmp_path / "bundles")
    assert not (target / "registered_model_meta").exists()
    assert bundles.load(folder, digest).digest == digest


@pytest.mark.parametrize("damage", ["changed", "lost a file", "no folder", "a further file"])
def test_a_kept_bundle_that_was_damaged_is_replaced_by_a_sound_one_and_by_no_other(
    folder: Path, tmp_path: Path, damage: str
) -> None:
    root = tmp_path / "bundles"
    target, digest = bundles.store_bundle(folder, root)
    if damage == "changed":
        (target / "config.json").write_text("{}")
    elif damage == "lost a file":
        (target / "arrays.npz").unlink()
    elif damage == "no folder":
        shutil.rmtree(target)
        target.write_text("a file")
    else:
        (target / "code.py").write_text("raise SystemExit")
    shutil.copytree(folder, tmp_path / "bad")
    (tmp_path / "bad" / "config.json").write_text("{}")
    for source in (tmp_path / "bad", target):
        with pytest.raises(BundleRefusedError):
            bundles.store_bundle(source, root)
    assert bundles.store_bundle(folder, root) == (target, digest)
    assert bundles.load(target, digest).digest == digest
    assert [entry.name for entry in root.iterdir()] == [digest]


@pytest.mark.usefixtures("own_var")
def test_a_bundle_that_was_kept_scores_as_it_did_when_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", PUBLIC_KEY)
    golden = bundles.load(FOLDER / f"format_{FORMAT}")
    with np.load(EXPECTED) as expected:
        np.testing.assert_allclose(golden.model.scores(USERS), expected["scores"], rtol=1e-5)
    assert np.isfinite(golden.model.scores(USERS)[0]).any()
    item = int(golden.model.scores(USERS)[0].argmax())
    odds = sum(golden.model.contributions(0, item).values())  # of fewer features than today's
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(golden.model.scores(USERS)[0, item], rel=1e-4)
    assert (golden.manifest.kind, golden.fallback[-1]) == ("two_stage", len(golden.model.items) - 1)


def read(path: Path) -> Arrays:
    with path.open("rb") as file:
        return read_arrays(file)


def stored(path: Path, arrays: Arrays) -> Arrays:
    write_arrays(path, arrays)
    return read(path)


def test_arrays_of_all_shapes_and_types_come_back_as_they_were_and_those_that_numpy_wrote_too(tmp_path: Path) -> None:
    arrays: Arrays = {
        "noise": NOISE,
        "number": np.array(3.5),
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "texts": np.array(["ä", "bc"]),
        "no letters": np.empty(3, dtype="U0"),
        "fields": np.array([(1, 2.0)], dtype=[("ä", "i4"), ("b", "f8")]),
        "dates": np.array(["2026-11-01"], dtype="M8[D]"),
    }
    found = stored(tmp_path / "a.npz", arrays)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes("A") == array.tobytes("A")
        assert found[name].flags.f_contiguous == array.flags.f_contiguous
    np.savez_compressed(tmp_path / "b.npz", items=np.arange(7))
    assert read(tmp_path / "b.npz")["items"].tolist() == list(range(7))


def test_equal_arrays_share_their_memory_and_nobody_can_change_them(tmp_path: Path) -> None:
    found = stored(tmp_path / "a.npz", {"items": NOISE, "als.items": NOISE.copy(), "others": NOISE[::-1]})
    assert np.shares_memory(found["items"], found["als.items"])
    assert not np.shares_memory(found["items"], found["others"])
    with pytest.raises(ValueError, match="read-only"):
        found["items"][0] = 0


def test_arrays_with_one_check_sum_are_not_taken_for_equal(tmp_path: Path) -> None:
    other = NOISE.copy()
    other[:5] ^= np.frombuffer(POLYNOMIAL, dtype=np.uint8)
    found = stored(tmp_path / "a.npz", {"one": NOISE, "other": other})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert len({(member.CRC, member.compress_size) for member in archive.infolist()}) == 1
    assert np.array_equal(found["one"], NOISE)
    assert np.array_equal(found["other"], other)


def test_only_what_shrinks_is_compressed(tmp_path: Path) -> None:
    stored(tmp_path / "a.npz", {"noise": NOISE, "zeros": np.zeros_like(NOISE)})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        kinds = [member.compress_type for member in archive.infolist()]
    assert kinds == [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


def test_members_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"items": NOISE})
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("notes.txt", "something else")
    with pytest.raises(NoArraysError, match=r"notes\.txt"):
        read(tmp_path / "a.npz")

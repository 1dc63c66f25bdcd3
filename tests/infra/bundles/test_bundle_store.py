"""Bundles in an object store (a real server of S3's protocol), used by machines that share nothing but its address."""

import shutil
from pathlib import Path

import boto3
import numpy as np
import pytest

from infra.bundles import bundle as bundles
from infra.bundles import bundle_store
from infra.bundles.bundle_store import BundleStoreError, folder_of, forget, is_kept, keep, local_copy
from infra.bundles.manifest import MANIFEST, BundleRefusedError, Origin, verify
from infra.configuration.settings import Settings, load
from models.recommenders.baselines.most_popular import Config, MostPopular

BUCKET = "lakes"


def made(folder: Path, half_life: float = 28.0) -> str:
    scores = np.array([3.0, 2.0, half_life], dtype=np.float32)
    users, items = np.array(["u1", "u2"]), np.array(["i1", "i2", "i3"])
    model = MostPopular(Config(half_life), users, items, scores, np.zeros(len(items), np.int32))
    return bundles.write(folder, model, scores, Origin("v1", 7, "run"), beside={"MLmodel": "flavors: {}"})


def machine(place: str, var: Path) -> Settings:
    """Return the settings of a machine with this folder."""
    return load().model_copy(update={"bundles": place, "var": var})


@pytest.fixture
def place(object_store: str, own_var: Path) -> str:  # noqa: ARG001
    return f"{object_store}/models/"


def uploaded(digest: str) -> dict[str, bytes]:
    client = boto3.client("s3")
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"models/{digest}/").get("Contents", [])
    return {one["Key"]: client.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in listed}


def test_another_machine_gets_a_verified_copy_and_keeps_it(place: str, tmp_path: Path) -> None:
    digest = made(tmp_path / "draft")
    one, other = machine(place, tmp_path / "one"), machine(place, tmp_path / "other")
    address = keep(one, tmp_path / "draft", digest)
    assert address == f"s3://lakes/models/{digest}"
    assert is_kept(other, address, digest)
    assert not folder_of(other, address, digest).exists()
    copy = local_copy(other, address, digest)
    assert copy == folder_of(other, address, digest) == tmp_path / "other" / "bundles" / digest
    assert verify(copy, digest).run_id == "run"
    for key in uploaded(digest):
        boto3.client("s3").delete_object(Bucket=BUCKET, Key=key)
    assert local_copy(other, address, digest) == copy
    (copy / "arrays.npz").write_bytes(b"damaged")
    with pytest.raises(BundleRefusedError, match=f"{address} has no manifest"):
        local_copy(other, address, digest)
    assert keep(one, tmp_path / "draft", digest) == address
    assert verify(local_copy(other, address, digest), digest)


@pytest.mark.parametrize("name", [MANIFEST, "arrays.npz", "MLmodel", "more"])
def test_a_bundle_that_was_changed_in_the_store_is_refused_and_not_kept(place: str, tmp_path: Path, name: str) -> None:
    digest = made(tmp_path / "draft")
    address = keep(machine(place, tmp_path / "one"), tmp_path / "draft", digest)
    boto3.client("s3").put_object(Bucket=BUCKET, Key=f"models/{digest}/{name}", Body=b"something else")
    other = machine(place, tmp_path / "other")
    with pytest.raises(BundleRefusedError, match=address):
        local_copy(other, address, digest)
    assert list(other.bundle_folder.iterdir()) == []


def test_an_upload_that_was_cut_short_is_no_bundle_until_it_is_repeated(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, here = made(tmp_path / "draft"), machine(place, tmp_path / "one")
    copied, left = shutil.copyfileobj, [3]

    def fail_at_the_third(*given: object) -> None:
        left[0] -= 1
        if not left[0]:
            raise ConnectionResetError("gone")
        copied(*given)  # type: ignore[arg-type]

    bundles.store_bundle(tmp_path / "draft", here.bundle_folder, digest)
    monkeypatch.setattr(bundle_store.shutil, "copyfileobj", fail_at_the_third)
    with pytest.raises(BundleStoreError, match="AWS_ENDPOINT_URL"):
        keep(here, tmp_path / "draft", digest)
    assert 0 < len(uploaded(digest)) < 6
    assert not is_kept(here, f"{place}{digest}", digest)
    monkeypatch.undo()


def test_a_store_that_is_away_is_named_and_a_copy_goes_on(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, here = made(tmp_path / "draft"), machine(place, tmp_path / "one")
    address = keep(here, tmp_path / "draft", digest)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert local_copy(here, address, digest)
    with pytest.raises(BundleStoreError, match=address):
        local_copy(machine(place, tmp_path / "other"), address, digest)


def test_a_forgotten_bundle_is_gone_here_and_in_the_store(place: str, tmp_path: Path) -> None:
    digest, here = made(tmp_path / "draft"), machine(place, tmp_path / "one")
    address = keep(here, tmp_path / "draft", digest)
    forget(here, digest)
    assert (uploaded(digest), is_kept(here, address, digest)) == ({}, False)
    assert not folder_of(here, address, digest).exists()


def test_a_machine_keeps_three_copies(place: str, tmp_path: Path) -> None:
    here, other = machine(place, tmp_path / "one"), machine(place, tmp_path / "other")
    digests = []
    for number in range(5):
        digests.append(made(tmp_path / f"draft-{number}", 10.0 + number))
        local_copy(other, keep(here, tmp_path / f"draft-{number}", digests[-1]), digests[-1])
    for one in (here, other):
        assert {folder.name for folder in one.bundle_folder.iterdir()} == set(digests[-3:])
    assert verify(local_copy(other, f"{place}{digests[0]}", digests[0]), digests[0])


def test_without_an_object_store_a_bundle_stays_in_its_folder(tmp_path: Path, own_var: Path) -> None:
    digest, here = made(tmp_path / "draft"), machine(str(tmp_path / "kept"), own_var)
    folder = keep(here, tmp_path / "draft", digest)
    assert local_copy(here, folder, digest) == Path(folder) == tmp_path / "kept" / digest
    forget(here, digest)
    assert not is_kept(here, folder, digest)

"""Champion bundles: a model as data in a content-addressed folder, signed, and verified before any file is opened."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from infra.manifests import FILES, FORMAT, MANIFEST, SIGNATURE, BundleRefusedError, Origin, seal, sha256, verify
from models.catalog import from_state
from models.nested_state import part_of, under
from models.recommender import Recommender
from models.segment_popular import BY_TRAITS, SegmentPopular

__all__ = [
    "FILES",
    "FORMAT",
    "MANIFEST",
    "SIGNATURE",
    "Bundle",
    "BundleRefusedError",
    "Origin",
    "keep",
    "load",
    "verify",
    "write",
]

_SEGMENTS = "segments."


@dataclass(frozen=True)
class Bundle:
    """A verified model, with the manifest that says where it came from."""

    model: Recommender
    fallback: NDArray[np.float32]
    """[n_items] what fills a list up when the model has nothing more to say."""
    available: NDArray[np.bool_]
    """[n_items] what could be recommended when the model learned, for whoever cannot ask the catalogue."""
    segments: SegmentPopular | None
    """What people get of whom it has nothing to say at all."""
    manifest: dict[str, Any]
    digest: str


def write(
    folder: Path,
    model: Recommender,
    fallback: NDArray[np.float32],
    origin: Origin,
    segments: SegmentPopular | None = None,
    *,
    available: NDArray[np.bool_] | None = None,
    beside: Mapping[str, str] | None = None,
) -> str:
    """Write a model's config and arrays into a new folder, with a signed manifest; returns the manifest's digest.

    `segments` are the best sellers `BY_TRAITS` of the same users and items. `available` [n_items] is all of them when
    it is not said. `beside` are further files, text by name, which are listed and signed like the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = model.state()
    _write_arrays(folder / "arrays.npz", arrays)
    offered = np.ones(len(model.items), dtype=np.bool_) if available is None else available
    of_segments: dict[str, Any] = {} if segments is None else under(_SEGMENTS, segments.state())
    _write_arrays(folder / "fallback.npz", {"scores": fallback, "available": offered} | of_segments)
    (folder / "config.json").write_text(json.dumps(asdict(model.config), sort_keys=True))
    others = beside or {}
    for name, text in others.items():
        (folder / name).write_text(text)
    return seal(folder, (*FILES, *others), model, origin)


def load(folder: Path, digest: str | None = None) -> Bundle:
    """Verify a bundle and open it. Arrays are read without pickle."""
    manifest = verify(folder, digest)
    settings = json.loads((folder / "config.json").read_text())
    model = from_state(manifest["kind"], settings, _arrays(folder / "arrays.npz"))
    others = _arrays(folder / "fallback.npz")
    state = part_of(_SEGMENTS, others)
    segments = SegmentPopular.from_state(BY_TRAITS, state) if state else None
    return Bundle(model, others["scores"], others["available"], segments, manifest, sha256(folder / MANIFEST))


def keep(source: Path, root: Path) -> tuple[Path, str]:
    """Copy a verified bundle to `root/<digest>` in one step; a bundle that is already there stays."""
    manifest = verify(source)
    digest = sha256(source / MANIFEST)
    target = root / digest
    if not target.exists():
        root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=root, prefix=".incoming-"))
        try:
            for name in (*manifest["files"], MANIFEST, SIGNATURE):
                shutil.copyfile(source / name, staging / name)
            shutil.copystat(source, staging)
            verify(staging, digest)  # the source may have changed since
            with suppress(OSError):  # another process kept the same bundle first
                staging.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    verify(target, digest)
    return target, digest


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """As `numpy.savez_compressed` does, but with the least effort: files are a tenth larger, and written in no time."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            file = BytesIO()
            np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
            member = ZipInfo(f"{name}.npy")  # without the time, so that the same arrays are the same file
            archive.writestr(member, file.getbuffer(), ZIP_DEFLATED, compresslevel=1)


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = dict(arrays)
    except (ValueError, BadZipFile):
        found = {"all of it": None}
    # NumPy hands out members that are no arrays as they are.
    strange = sorted(name for name, value in found.items() if not isinstance(value, np.ndarray))
    if strange:
        raise BundleRefusedError(f"{path} holds something else than arrays: {', '.join(strange)}. It was not opened.")
    return found

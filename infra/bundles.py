"""Champion bundles: a model as data in a content-addressed folder, every file checked before it is opened."""

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from models.catalog import from_state
from models.errors import TailorbirdError
from models.nested_state import part_of, under
from models.recommender import Recommender
from models.segment_popular import BY_TRAITS, SegmentPopular

FORMAT = 2
MANIFEST = "manifest.json"
FILES = ("arrays.npz", "config.json", "fallback.npz")
_SEGMENTS = "segments."


class BundleRefusedError(TailorbirdError):
    """A bundle whose files are not the ones its manifest was written for."""


@dataclass(frozen=True)
class Bundle:
    """A verified model, with the manifest that says where it came from."""

    model: Recommender
    fallback: NDArray[np.float32]
    """[n_items] what fills a list up when the model has nothing more to say."""
    segments: SegmentPopular | None
    """What people get of whom it has nothing to say at all; None in bundles from before it was kept."""
    manifest: dict[str, Any]
    digest: str


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(
    folder: Path,
    model: Recommender,
    fallback: NDArray[np.float32],
    origin: dict[str, Any],
    segments: SegmentPopular | None = None,
) -> str:
    """Write a model's config and arrays with a manifest of `origin` and file digests; returns the digest.

    `segments` are the best sellers `BY_TRAITS` of the same users and items.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = model.state()
    _write_arrays(folder / "arrays.npz", arrays)
    of_segments: dict[str, Any] = {} if segments is None else under(_SEGMENTS, segments.state())
    _write_arrays(folder / "fallback.npz", {"scores": fallback} | of_segments)
    (folder / "config.json").write_text(json.dumps(asdict(model.config), sort_keys=True))
    files = {name: _sha256(folder / name) for name in FILES}
    manifest = {"format": FORMAT, "kind": model.kind, "files": files, **origin}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
    return _sha256(folder / MANIFEST)


def verify(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """Compare every file with the manifest, and the manifest with `digest`, before anything is deserialised."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleRefusedError(f"{folder} has no {MANIFEST}: it is not a model bundle, or its copy was cut short.")
    if digest and _sha256(path) != digest:
        raise BundleRefusedError(f"{path} is not the manifest that was promoted; restore it or promote the model anew.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        raise BundleRefusedError(f"{path} was cut short or damaged; restore it or train the model anew.") from None
    if manifest.get("format") != FORMAT:
        raise BundleRefusedError(f"{path} has format {manifest.get('format')}; this version reads format {FORMAT}.")
    for name in FILES:
        if not (folder / name).is_file() or _sha256(folder / name) != manifest.get("files", {}).get(name):
            raise BundleRefusedError(
                f"{folder / name} does not match its manifest; restore it or train the model anew."
            )
    return manifest


def load(folder: Path, digest: str | None = None) -> Bundle:
    """Verify a bundle and open it. Arrays are read without pickle."""
    manifest = verify(folder, digest)
    settings = json.loads((folder / "config.json").read_text())
    model = from_state(manifest["kind"], settings, _arrays(folder / "arrays.npz"))
    fallback = _arrays(folder / "fallback.npz")
    state = part_of(_SEGMENTS, fallback)
    segments = SegmentPopular.from_state(BY_TRAITS, state) if state else None
    return Bundle(model, fallback["scores"], segments, manifest, _sha256(folder / MANIFEST))


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


def keep(source: Path, root: Path) -> tuple[Path, str]:
    """Copy a verified bundle to `root/<digest>` in one step; a bundle that is already there stays."""
    verify(source)
    digest = _sha256(source / MANIFEST)
    target = root / digest
    if not target.exists():
        root.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=root, prefix=".incoming-"))
        shutil.copytree(source, staging, dirs_exist_ok=True)
        try:
            staging.replace(target)
        except OSError:  # another process kept the same bundle first
            shutil.rmtree(staging)
    verify(target, digest)
    return target, digest

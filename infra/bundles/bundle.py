"""Champion bundles: a model as data in a content-addressed folder, signed, and verified before any file is opened."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from infra.bundles.manifest import (
    FILES,
    FORMAT,
    MANIFEST,
    SIGNATURE,
    BundleRefusedError,
    Origin,
    read_signed,
    seal,
    verified,
    verify,
)
from infra.keys import renamed_users
from infra.private_files.regular_files import open_regular, opened_folder
from infra.private_files.staging import staged
from models.catalog import from_state
from models.primitives.nested_state import part_of, under
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.protocols import Recommender

__all__ = [
    "FILES",
    "FORMAT",
    "MANIFEST",
    "SIGNATURE",
    "Bundle",
    "BundleRefusedError",
    "Origin",
    "load",
    "store_bundle",
    "verify",
    "write",
]

_SEGMENTS = "segments."
_ARRAYS = ("arrays.npz", "fallback.npz")


@dataclass(frozen=True)
class Bundle:
    """A verified model, with the manifest that says where it came from."""

    model: Recommender
    fallback: NDArray[np.float32]
    """[n_items] what fills a list up when the model has nothing more to say."""
    buyers: NDArray[np.int32]
    """[n_items] users who bought the item lately: the reason of what fills a list up."""
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
    buyers: NDArray[np.int32] | None = None,
    beside: Mapping[str, str] | None = None,
) -> str:
    """Write a model's config and arrays into a new folder, with a signed manifest; returns the manifest's digest.

    `segments` are the best sellers `BY_TRAITS` of the same users and items. `available` [n_items] is all of them when
    it is not said, and `buyers` [n_items] is nobody. `beside` are further files, text by name, which are listed and
    signed like the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = model.state()
    _write_arrays(folder / "arrays.npz", arrays)
    offered = np.ones(len(model.items), dtype=np.bool_) if available is None else available
    bought = np.zeros(len(model.items), dtype=np.int32) if buyers is None else buyers
    of_segments: dict[str, Any] = {} if segments is None else under(_SEGMENTS, segments.state())
    _write_arrays(folder / "fallback.npz", {"scores": fallback, "available": offered, "buyers": bought} | of_segments)
    (folder / "config.json").write_text(json.dumps(asdict(model.config), sort_keys=True))
    others = beside or {}
    for name, text in others.items():
        (folder / name).write_text(text)
    return seal(folder, (*FILES, *others), model, origin)


def load(folder: Path, digest: str | None = None) -> Bundle:
    """Verify a bundle and read the files that were verified, without pickle. Raises BundleRefusedError.

    A model from before a rotation of the pseudonym key knows its users by their present keys.
    """
    with verified(folder, digest) as bundle:
        manifest, files = bundle.manifest, bundle.files
        settings = json.load(files["config.json"])
        named_by = manifest.content.get("pseudonym_key")
        arrays, others = (renamed_users.present(_arrays(folder, files, name), named_by) for name in _ARRAYS)
        model = from_state(manifest.content["kind"], settings, arrays)
    state = part_of(_SEGMENTS, others)
    segments = SegmentPopular.from_state(BY_TRAITS, state) if state else None
    fallback, available = others["scores"], others["available"]
    buyers = others.get("buyers", np.zeros(len(fallback), dtype=np.int32))  # bundles were written without them before
    return Bundle(model, fallback, buyers, available, segments, manifest.content, manifest.digest)


def store_bundle(source: Path, root: Path, digest: str | None = None) -> tuple[Path, str]:
    """Copy a verified bundle to `root/<digest>` in one step; a bundle that is already there stays.

    `digest` is the manifest that is expected. The copy can be read by its owner alone. Raises BundleRefusedError.
    """
    manifest = read_signed(source, digest)
    target = root / manifest.digest
    if not target.exists():
        with verified(source, manifest.digest) as bundle:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with staged(root) as staging:
                _copy(source, bundle.files, staging)
                verify(staging, manifest.digest)  # the source may have changed since
                with suppress(OSError):  # another process kept the same bundle first
                    staging.replace(target)
    verify(target, manifest.digest)
    return target, manifest.digest


def _copy(source: Path, files: Mapping[str, BufferedReader], target: Path) -> None:
    """Write the open files, and manifest and signature of their folder, into a new folder."""
    with ExitStack() as stack:
        folder = stack.enter_context(opened_folder(source))
        signed = {name: stack.enter_context(open_regular(folder, name)) for name in (MANIFEST, SIGNATURE)}
        for name, file in {**files, **signed}.items():
            with os.fdopen(os.open(target / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                shutil.copyfileobj(file, copy)


def _write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """As `numpy.savez_compressed` does, but with the least effort: files are a tenth larger, and written in no time."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            file = BytesIO()
            np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
            member = ZipInfo(f"{name}.npy")  # without the time, so that the same arrays are the same file
            archive.writestr(member, file.getbuffer(), ZIP_DEFLATED, compresslevel=1)


def _arrays(folder: Path, files: Mapping[str, BufferedReader], name: str) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with np.load(files[name], allow_pickle=False) as arrays:
            found: dict[str, Any] = dict(arrays)
    except (ValueError, BadZipFile):
        found = {"all of it": None}
    # NumPy hands out members that are no arrays as they are.
    strange = sorted(member for member, value in found.items() if not isinstance(value, np.ndarray))
    if strange:
        raise BundleRefusedError(
            f"{folder / name} holds something else than arrays: {', '.join(strange)}. It was not opened."
        )
    return found

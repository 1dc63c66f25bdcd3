"""Bundles: signed folders that hold a model as data. Every file is verified before it is opened."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.bundles.arrays import Arrays, NoArraysError, read_arrays, with_present_keys, without_users, write_arrays
from infra.bundles.manifest import (
    FILES,
    MANIFEST,
    SIGNATURE,
    BundleRefusedError,
    Manifest,
    Origin,
    read_signed,
    seal,
    verified,
    verify,
)
from infra.private_files.folders import open_regular, opened_folder, staged
from models.catalog import from_state
from models.primitives.state import part_of, under
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.protocols import Recommender

_SEGMENTS = "segments."
_ARRAYS = ("arrays.npz", "fallback.npz")


@dataclass(frozen=True)
class Bundle:
    """A verified model with its manifest."""

    model: Recommender
    fallback: NDArray[np.float32]
    """[n_items] scores that fill a list after the model's own candidates."""
    buyers: NDArray[np.int32]
    """[n_items] users who bought the item lately: the reason for items that fill a list."""
    available: NDArray[np.bool_]
    """[n_items] whether the item could be recommended at training time, for hosts without the catalogue."""
    segments: SegmentPopular | None
    """Best sellers by trait, for users whom the model cannot score."""
    manifest: Manifest
    digest: str
    first_events: NDArray[np.float64] | None = None
    """[n_items] the time of each item's first event, in epoch seconds; bundles of earlier versions lack it."""
    season: NDArray[np.float64] | None = None
    """[n_items] the seasonal change that is a factor of `fallback`; None for 1."""
    erased: frozenset[str] = frozenset()
    """Marks of users who were erased after the model had learned from them, and whom it finds no more."""


def write(
    folder: Path,
    model: Recommender,
    fallback: NDArray[np.float32],
    origin: Origin,
    segments: SegmentPopular | None = None,
    *,
    available: NDArray[np.bool_] | None = None,
    buyers: NDArray[np.int32] | None = None,
    first_events: NDArray[np.float64] | None = None,
    season: NDArray[np.float64] | None = None,
    beside: Mapping[str, str] | None = None,
) -> str:
    """Write a model's config and arrays into a new folder, with a signed manifest; return the manifest's digest.

    `segments` are the best sellers `BY_TRAITS` of the same users and items. `available` [n_items] defaults to all
    items, and `buyers` [n_items] to 0. `beside` holds the text of further files by name, which are signed too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "arrays.npz", model.state())
    offered = np.ones(len(model.items), dtype=np.bool_) if available is None else available
    bought = np.zeros(len(model.items), dtype=np.int32) if buyers is None else buyers
    segment_state: Arrays = {} if segments is None else under(_SEGMENTS, segments.state())
    optional = {"first_events": first_events, "season": season}
    of_items: Arrays = {"scores": fallback, "available": offered, "buyers": bought}
    of_items |= {name: values for name, values in optional.items() if values is not None}
    write_arrays(folder / "fallback.npz", of_items | segment_state)
    (folder / "config.json").write_text(json.dumps(asdict(model.config), sort_keys=True))
    others = beside or {}
    for name, text in others.items():
        (folder / name).write_text(text)
    return seal(folder, (*FILES, *others), model, origin)


def load(folder: Path, digest: str | None = None, erased: frozenset[str] = frozenset()) -> Bundle:
    """Verify a bundle and read the verified files, without pickle. Raises BundleRefusedError.

    The users of a model from before a rotation of the pseudonym key get their present keys. Users with a mark in
    `erased` are strangers to the model.
    """
    stand_in = secrets.token_hex(32)
    with verified(folder, digest) as bundle:
        manifest, files = bundle.manifest, bundle.files
        settings = json.load(files["config.json"])
        read = (with_present_keys(_arrays(folder, files, name), manifest.pseudonym_key) for name in _ARRAYS)
        arrays, others = (without_users(part, erased, stand_in) for part in read)
        model = from_state(manifest.kind, settings, arrays)
    state = part_of(_SEGMENTS, others)
    segments = SegmentPopular.from_state(BY_TRAITS, state) if state else None
    fallback, available = others["scores"], others["available"]
    buyers = others.get("buyers", np.zeros(len(fallback), dtype=np.int32))  # bundles of earlier versions lack them
    first_events, season = others.get("first_events"), others.get("season")
    digest = manifest.digest
    return Bundle(model, fallback, buyers, available, segments, manifest, digest, first_events, season, erased)


def store_bundle(source: Path, root: Path, digest: str | None = None) -> tuple[Path, str]:
    """Copy a verified bundle to `root/<digest>`, unless a sound copy is there. Return the copy and its digest.

    A damaged copy is replaced. `digest` is that of the expected manifest. Only its owner can read the copy. Raises
    BundleRefusedError.
    """
    manifest = read_signed(source, digest)
    target = root / manifest.digest
    if not is_sound(target, manifest.digest):
        with verified(source, manifest.digest) as bundle:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with staged(root) as staging, staged(root) as damaged:
                _copy(source, bundle.files, staging)
                verify(staging, manifest.digest)  # the source may have changed since
                with suppress(OSError):  # there is no copy yet
                    target.replace(damaged / target.name)
                with suppress(OSError):  # another process stored the same bundle first
                    staging.replace(target)
        verify(target, manifest.digest)
    return target, manifest.digest


def is_sound(folder: Path, digest: str) -> bool:
    """Return whether a folder holds the bundle with this digest, unchanged."""
    with suppress(BundleRefusedError):
        return verify(folder, digest).digest == digest
    return False


def _copy(source: Path, files: Mapping[str, BufferedReader], target: Path) -> None:
    """Write the open files, and the manifest and signature of their folder, into a new folder."""
    with ExitStack() as stack:
        folder = stack.enter_context(opened_folder(source))
        signed = {name: stack.enter_context(open_regular(folder, name)) for name in (MANIFEST, SIGNATURE)}
        for name, file in {**files, **signed}.items():
            with os.fdopen(os.open(target / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                shutil.copyfileobj(file, copy)


def _arrays(folder: Path, files: Mapping[str, BufferedReader], name: str) -> Arrays:
    try:
        return read_arrays(files[name])
    except NoArraysError as error:
        raise BundleRefusedError(
            f"{folder / name} holds something else than arrays: {error}. It was not opened."
        ) from None

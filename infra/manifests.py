"""Manifests: what a bundle's folder holds and where it comes from, signed; nothing else in it is opened unverified."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from infra import signing
from infra.settings import load
from infra.version import git_commit, libraries
from models.errors import TailorbirdError
from models.recommender import Recommender

FORMAT: Final = 3
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
FILES: Final = ("arrays.npz", "config.json", "fallback.npz")
"""What every bundle has beside manifest and signature."""
_LEFT_BY_MLFLOW: Final = "registered_model_meta"
# MLflow writes the version's number into every copy that it downloads. Nothing here reads it.


class BundleRefusedError(TailorbirdError):
    """A bundle that is not exactly what a trusted installation has signed."""


@dataclass(frozen=True)
class Origin:
    """What a model was made from."""

    dataset_version: str
    seed: int
    run_id: str
    """The training run in MLflow."""


def sha256(path: Path) -> str:
    """The digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, names: Iterable[str], model: Recommender, origin: Origin) -> str:
    """Write the manifest of these files of a model, and its signature; returns the manifest's digest."""
    manifest = {
        "format": FORMAT,
        "kind": model.kind,
        "parameters": asdict(model.config),
        "files": {name: sha256(folder / name) for name in names},
        "git_commit": git_commit(),
        "libraries": libraries(),
        **asdict(origin),
    }
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(signing.sign(load(), content))
    return hashlib.sha256(content).hexdigest()


def verify(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """The manifest of a bundle that is what was signed: first the signature, then every file, then the format.

    Nothing is parsed or deserialised before that is known. `digest` says which manifest it has to be. Raises
    BundleRefusedError.
    """
    content = _signed(folder)
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise BundleRefusedError(
            f"{folder / MANIFEST} is not the manifest that was promoted; restore it or promote the model anew."
        )
    try:
        manifest = dict(json.loads(content))
        files = dict(manifest["files"])
    except (ValueError, TypeError, KeyError):
        raise BundleRefusedError(f"{folder / MANIFEST} is no manifest; train the model anew.") from None
    _compare(folder, files)
    if manifest.get("format") != FORMAT:
        raise BundleRefusedError(
            f"{folder} has format {manifest.get('format')}, and this version reads format {FORMAT}: train and promote "
            "the model anew, or use the version of Tailorbird that wrote it."
        )
    return manifest


def _signed(folder: Path) -> bytes:
    """The bytes of the manifest, once it is known who wrote them."""
    for name in (MANIFEST, SIGNATURE):
        if not (folder / name).is_file():
            raise BundleRefusedError(
                f"{folder} has no {name}: it is not a model bundle, its copy was cut short, or it is older than "
                "signatures. Copy it anew, or train and promote the model anew."
            )
    content, signature = ((folder / name).read_bytes() for name in (MANIFEST, SIGNATURE))
    try:
        signing.verify(load(), content, signature)
    except signing.SignatureRefusedError as error:
        raise BundleRefusedError(f"{folder / MANIFEST} is {error}") from None
    return content


def _compare(folder: Path, files: dict[str, str]) -> None:
    """Every file is there as listed, and nothing else."""
    for name in sorted({*FILES, *files}):
        path = folder / name
        if not path.is_file() or sha256(path) != files.get(name):
            raise BundleRefusedError(f"{path} does not match its manifest; restore it or train the model anew.")
    found = {path.name for path in folder.iterdir()}
    strange = sorted(found - {*files, MANIFEST, SIGNATURE, _LEFT_BY_MLFLOW})
    if strange:
        raise BundleRefusedError(
            f"{folder} holds what its manifest does not list: {', '.join(strange)}. Find out who put it there, then "
            "take it away or restore the bundle."
        )

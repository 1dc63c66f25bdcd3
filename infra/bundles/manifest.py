"""Manifests: what a bundle's folder holds and where it comes from, signed; nothing else in it is opened unverified."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from infra.configuration.settings import load
from infra.configuration.version import git_commit, libraries
from infra.keys import signing
from infra.keys.fingerprints import PSEUDONYM, present
from infra.private_files.regular_files import is_plain_name, open_regular, opened_folder
from models.errors import TailorbirdError
from models.recommenders.protocols import Recommender

FORMAT: Final = 3
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
FILES: Final = ("arrays.npz", "config.json", "fallback.npz")
"""What every bundle has beside manifest and signature."""
_LARGEST_MANIFEST: Final = 2**20
"""Bytes; ours has a few thousand."""
_LEFT_BY_MLFLOW: Final = "registered_model_meta"
# MLflow writes name and number of the version into every copy that it downloads. Nothing here reads it.
_HARMLESS: Final = re.compile(rb"(model_(name|version): '?[\w.@ -]{1,256}'?\n){0,2}")


class BundleRefusedError(TailorbirdError):
    """A bundle that is not exactly what a trusted installation has signed."""


@dataclass(frozen=True)
class Origin:
    """What a model was made from."""

    dataset_version: str
    seed: int
    run_id: str
    """The training run in MLflow."""


@dataclass(frozen=True)
class Manifest:
    """A manifest whose signature is trusted. The files that it lists may still be others."""

    content: dict[str, Any]
    digest: str
    """sha256 of its bytes, in hex."""

    @property
    def files(self) -> dict[str, str]:
        """The sha256 of every file of the bundle, by name."""
        return dict(self.content["files"])


@dataclass(frozen=True)
class VerifiedFiles:
    """A verified manifest and its files, open at their beginning: another file put in place of one is not read."""

    manifest: Manifest
    files: Mapping[str, BufferedReader]


def sha256(path: Path) -> str:
    """Return the digest of a file, in hex."""
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
        # Hosts without a database compare their key with it.
        "pseudonym_key": present(load(), PSEUDONYM),
    }
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(signing.sign(load(), content))
    return hashlib.sha256(content).hexdigest()


def verify(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """Return the manifest of a bundle that is exactly what was signed.

    `digest` is the manifest that is expected. Raises BundleRefusedError.
    """
    with verified(folder, digest) as bundle:
        return bundle.manifest.content


@contextmanager
def verified(folder: Path, digest: str | None = None) -> Iterator[VerifiedFiles]:
    """Yield a bundle's files once they are verified: first the signature, then the format, then every file.

    Nothing is parsed or deserialised before. All files must be regular files of the folder itself; the folder may be
    reached through a link. Raises BundleRefusedError.
    """
    with ExitStack() as stack:
        descriptor = _open_folder(folder, stack)
        manifest = _signed(folder, descriptor, digest)
        files = {
            name: stack.enter_context(_unchanged(folder, descriptor, name, expected))
            for name, expected in sorted(manifest.files.items())
        }
        names = os.listdir(descriptor)  # noqa: PTH208 -- of the folder that is open, wherever its path leads by now
        check_names(str(folder), names, manifest)
        if _LEFT_BY_MLFLOW in names:
            _check_harmless(folder, descriptor)
        yield VerifiedFiles(manifest, files)


def read_signed(folder: Path, digest: str | None = None) -> Manifest:
    """Return the manifest of a folder after its signature alone was verified. Raises BundleRefusedError."""
    with ExitStack() as stack:
        return _signed(folder, _open_folder(folder, stack), digest)


def check_names(place: str, names: Iterable[str], manifest: Manifest) -> None:
    """Raise BundleRefusedError when a place holds what the manifest does not list."""
    strange = [ascii(name)[1:-1] for name in sorted({*names} - {*manifest.files, MANIFEST, SIGNATURE, _LEFT_BY_MLFLOW})]
    if strange:
        raise BundleRefusedError(
            f"{place} holds what its manifest does not list: {', '.join(strange)}. Find out who put it there, then "
            "take it away or restore the bundle."
        )


def _open_folder(folder: Path, stack: ExitStack) -> int:
    try:
        return stack.enter_context(opened_folder(folder))
    except OSError:
        raise BundleRefusedError(f"{folder} is no folder that can be read; check the path.") from None


def _signed(folder: Path, descriptor: int, digest: str | None) -> Manifest:
    """The manifest, once it is known who wrote it and that it is the expected one."""
    content, signature = (_small(folder, descriptor, name) for name in (MANIFEST, SIGNATURE))
    try:
        signing.verify(load(), content, signature)
    except signing.SignatureRefusedError as error:
        raise BundleRefusedError(f"{folder / MANIFEST} is {error}") from None
    found = hashlib.sha256(content).hexdigest()
    if digest and found != digest:
        raise BundleRefusedError(
            f"{folder} is another bundle than the recorded one: its manifest has the digest {found[:12]}…, and "
            f"{digest[:12]}… is recorded. Restore the bundle, or run `tailorbird review` again."
        )
    return Manifest(_parsed(folder, content), found)


def _small(folder: Path, descriptor: int, name: str) -> bytes:
    try:
        with open_regular(descriptor, name) as file:
            content = file.read(_LARGEST_MANIFEST + 1)
    except OSError:
        raise BundleRefusedError(
            f"{folder} has no {name} that is a regular file: it is not a model bundle, its copy was cut short, or it "
            "is older than signatures. Copy it again, or train and promote the model again."
        ) from None
    if len(content) > _LARGEST_MANIFEST:
        raise BundleRefusedError(f"{folder / name} is too large for a manifest; train the model again.")
    return content


def _parsed(folder: Path, content: bytes) -> dict[str, Any]:
    unusable = BundleRefusedError(f"{folder / MANIFEST} is no manifest; train the model again.")
    try:
        manifest = dict(json.loads(content))
        _check_format(folder, manifest["format"])
        files = dict(manifest["files"])
        strange = [name for name in files if not is_plain_name(name)]
    except (ValueError, TypeError, KeyError):
        raise unusable from None
    if strange:
        raise BundleRefusedError(
            f"{folder / MANIFEST} lists {', '.join(map(repr, strange))}, and only names of files of the folder itself "
            "are allowed; train the model again."
        )
    if not {*FILES} <= {*files} or {MANIFEST, SIGNATURE} & {*files}:
        raise unusable
    return manifest


@contextmanager
def _unchanged(folder: Path, descriptor: int, name: str, expected: str) -> Iterator[BufferedReader]:
    """An open file whose bytes have the expected digest."""
    refused = BundleRefusedError(
        f"{folder / name} does not match its manifest, or is no regular file; restore it or train the model again."
    )
    try:
        file = open_regular(descriptor, name)
    except OSError:
        raise refused from None
    with file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise refused
        file.seek(0)
        yield file


def _check_harmless(folder: Path, descriptor: int) -> None:
    if not _HARMLESS.fullmatch(_small(folder, descriptor, _LEFT_BY_MLFLOW)):
        raise BundleRefusedError(
            f"{folder / _LEFT_BY_MLFLOW} is not signed and holds more than MLflow writes there; delete the file."
        )


def _check_format(folder: Path, found: object) -> None:
    if found != FORMAT:
        raise BundleRefusedError(
            f"{folder} has format {found}, and this version reads format {FORMAT}: train and promote the model again, "
            "or use the version of Tailorbird that wrote it."
        )

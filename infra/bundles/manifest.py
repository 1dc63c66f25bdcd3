"""Signed manifests of bundles: they list the files and the origin of a model. No file is opened before verification."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Self

from infra.configuration.settings import load
from infra.configuration.version import git_commit, libraries
from infra.keys import credentials
from infra.keys.credentials import PSEUDONYM, present_fingerprint
from infra.private_files.folders import is_plain_name, open_regular, opened_folder, sha256
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from models.recommenders.protocols import Recommender

FORMAT: Final = 3
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
FILES: Final = ("arrays.npz", "config.json", "fallback.npz")
"""The files that every bundle has besides manifest and signature."""
_LARGEST_MANIFEST: Final = 2**20
"""Bytes; a manifest has a few thousand."""
_MLFLOW_META: Final = "registered_model_meta"
# MLflow writes the name and number of the version into every copy that it downloads. No code here reads them.
_HARMLESS: Final = re.compile(rb"(model_(name|version): '?[\w.@ -]{1,256}'?\n){0,2}")


class BundleRefusedError(TailorbirdError):
    """A bundle that differs from what a trusted installation signed."""


@dataclass(frozen=True)
class Origin:
    """The data set, the seed and the run that a model comes from."""

    dataset_version: str
    seed: int
    run_id: str
    """The training run in MLflow."""


@dataclass(frozen=True)
class Manifest:
    """A manifest with a trusted signature. The files that it lists are verified separately."""

    kind: str
    run_id: str
    dataset_version: str
    seed: int
    parameters: JsonObject
    """The settings of the model."""
    heads: Mapping[str, str]
    """What ranks for each policy of placements; empty for models with a single way."""
    files: Mapping[str, str]
    """The sha256 of every file of the bundle, by name."""
    git_commit: str
    libraries: Mapping[str, str]
    pseudonym_key: str | None
    """The fingerprint of the key that made the model's user keys."""
    digest: str
    """The sha256 of the manifest's bytes, in hex."""
    imported: Mapping[str, str] = field(default_factory=dict)
    """The `run_id` and the `digest` that the model had in the installation that trained it; empty if that is this."""

    @property
    def first_digest(self) -> str:
        """Return the digest of the bundle in the installation that trained the model."""
        return self.imported.get("digest", self.digest)

    @classmethod
    def from_json(cls, content: Mapping[str, Any], digest: str) -> Self:
        """Read a manifest. Raises KeyError, TypeError or ValueError if it is none."""
        return cls(
            kind=str(content["kind"]),
            run_id=str(content["run_id"]),
            dataset_version=str(content.get("dataset_version", "")),
            seed=int(content.get("seed", 0)),
            parameters=dict(content.get("parameters", {})),
            heads=dict(content.get("heads", {})),
            files=dict(content["files"]),
            git_commit=str(content.get("git_commit", "")),
            libraries=dict(content.get("libraries", {})),
            pseudonym_key=content.get("pseudonym_key"),
            digest=digest,
            imported=dict(content.get("imported", {})),
        )


@dataclass(frozen=True)
class VerifiedFiles:
    """A verified manifest and its files, opened at their start: a file that replaces one of them later is not read."""

    manifest: Manifest
    files: Mapping[str, BufferedReader]


def seal(folder: Path, names: Iterable[str], model: Recommender, origin: Origin) -> str:
    """Write the manifest of these files of a model, and its signature; return the manifest's digest."""
    manifest = {
        "format": FORMAT,
        "kind": model.kind,
        "parameters": asdict(model.config),
        "heads": dict(getattr(model, "chosen", {})),
        "files": {name: sha256(folder / name) for name in names},
        "git_commit": git_commit(),
        "libraries": libraries(),
        **asdict(origin),
        # Hosts without a database compare their own key with this one.
        "pseudonym_key": present_fingerprint(load(), PSEUDONYM),
    }
    return _sign(folder, manifest)


def seal_again(folder: Path, run_id: str, changed: Mapping[str, str]) -> str:
    """Sign a verified bundle as the model of another run, with the text of `changed` files; return the new digest.

    Raises BundleRefusedError.
    """
    manifest = verify(folder)
    content = json.loads((folder / MANIFEST).read_bytes())
    for name, text in changed.items():
        (folder / name).write_text(text)
    files = {name: sha256(folder / name) for name in {*manifest.files, *changed}}
    imported = dict(manifest.imported) or {"run_id": manifest.run_id, "digest": manifest.digest}
    return _sign(folder, content | {"run_id": run_id, "files": files, "imported": imported})


def _sign(folder: Path, manifest: JsonObject) -> str:
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(credentials.sign(load(), content))
    return hashlib.sha256(content).hexdigest()


def verify(folder: Path, digest: str | None = None) -> Manifest:
    """Verify all files of a bundle and return its manifest.

    `digest` is that of the expected manifest. Raises BundleRefusedError.
    """
    with verified(folder, digest) as bundle:
        return bundle.manifest


@contextmanager
def verified(folder: Path, digest: str | None = None) -> Iterator[VerifiedFiles]:
    """Verify the signature, then the format, then every file of a bundle, and yield the files.

    Nothing is parsed or deserialised before. All files must be regular files of the folder itself. The path of the
    folder may contain links. Raises BundleRefusedError.
    """
    with ExitStack() as stack:
        descriptor = _open_folder(folder, stack)
        manifest = _signed(folder, descriptor, digest)
        files = {
            name: stack.enter_context(_unchanged(folder, descriptor, name, expected))
            for name, expected in sorted(manifest.files.items())
        }
        names = os.listdir(descriptor)  # noqa: PTH208 -- the open folder, even if its path leads elsewhere by now
        check_names(str(folder), names, manifest)
        if _MLFLOW_META in names:
            _check_harmless(folder, descriptor)
        yield VerifiedFiles(manifest, files)


def read_signed(folder: Path, digest: str | None = None) -> Manifest:
    """Verify only the signature of a folder's manifest, and return the manifest. Raises BundleRefusedError."""
    with ExitStack() as stack:
        return _signed(folder, _open_folder(folder, stack), digest)


def check_names(place: str, names: Iterable[str], manifest: Manifest) -> None:
    """Raise BundleRefusedError when a place holds files that the manifest does not list."""
    unlisted = sorted({*names} - {*manifest.files, MANIFEST, SIGNATURE, _MLFLOW_META})
    if unlisted:
        listing = ", ".join(ascii(name)[1:-1] for name in unlisted)
        raise BundleRefusedError(
            f"{place} holds what its manifest does not list: {listing}. Find out who put it there, then "
            "take it away or restore the bundle."
        )


def _open_folder(folder: Path, stack: ExitStack) -> int:
    try:
        return stack.enter_context(opened_folder(folder))
    except OSError:
        raise BundleRefusedError(f"{folder} is no folder that can be read; check the path.") from None


def _signed(folder: Path, descriptor: int, digest: str | None) -> Manifest:
    """Return the manifest after its signature and its digest are verified."""
    content, signature = (_small(folder, descriptor, name) for name in (MANIFEST, SIGNATURE))
    try:
        credentials.verify(load(), content, signature)
    except credentials.SignatureRefusedError as error:
        raise BundleRefusedError(f"{folder / MANIFEST} is {error}") from None
    actual = hashlib.sha256(content).hexdigest()
    if digest and actual != digest:
        raise BundleRefusedError(
            f"{folder} is another bundle than the recorded one: its manifest has the digest {actual[:12]}…, and "
            f"{digest[:12]}… is recorded. Restore the bundle, or run `tailorbird review` again."
        )
    return _parsed(folder, content, actual)


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


def _parsed(folder: Path, content: bytes, digest: str) -> Manifest:
    unusable = BundleRefusedError(f"{folder / MANIFEST} is no manifest; train the model again.")
    try:
        decoded = dict(json.loads(content))
        _check_format(folder, decoded["format"])
        manifest = Manifest.from_json(decoded, digest)
        paths = [name for name in manifest.files if not is_plain_name(name)]
    except (ValueError, TypeError, KeyError):
        raise unusable from None
    if paths:
        raise BundleRefusedError(
            f"{folder / MANIFEST} lists {', '.join(map(repr, paths))}, and only names of files of the folder itself "
            "are allowed; train the model again."
        )
    if not {*FILES} <= {*manifest.files} or {MANIFEST, SIGNATURE} & {*manifest.files}:
        raise unusable
    return manifest


@contextmanager
def _unchanged(folder: Path, descriptor: int, name: str, expected: str) -> Iterator[BufferedReader]:
    """Open a file and verify that its bytes have the expected digest."""
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
    if not _HARMLESS.fullmatch(_small(folder, descriptor, _MLFLOW_META)):
        raise BundleRefusedError(
            f"{folder / _MLFLOW_META} is not signed and holds more than MLflow writes there; delete the file."
        )


def _check_format(folder: Path, actual: object) -> None:
    if actual != FORMAT:
        raise BundleRefusedError(
            f"{folder} has format {actual}, and this version reads format {FORMAT}: train and promote the model again, "
            "or use the version of Tailorbird that wrote it."
        )

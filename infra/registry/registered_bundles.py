"""Compares registered versions in MLflow with the records in Postgres. MLflow's tags and artifacts are not trusted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sqlalchemy import Connection, select

from infra.bundles.manifest import MANIFEST, SIGNATURE, BundleRefusedError, Manifest, check_names, read_signed, verify
from infra.database.schema.promotion_rows import newest_promotion
from infra.database.schema.schema import promotions, reviews
from infra.private_files.folders import sha256
from infra.registry.client import MODEL_PATH, Registry
from infra.registry.connection import ArtifactsGoneError, RegisteredVersion

_ARRAYS: Final = ".npz"
"""These files may be large. All others, such as `MLmodel`, are compared at every check."""
_LARGEST: Final = 2**20
"""Bytes that any other file may have."""


def check_version(registry: Registry, version: RegisteredVersion, run_id: str) -> None:
    """Check that a version belongs to a run and that MLflow loads it from this run. Raises BundleRefusedError."""
    number = version.version
    if version.run_id != run_id:
        raise BundleRefusedError(
            f"Version {number} stands for the run {version.run_id!r} in MLflow, but {run_id} is recorded. "
            f"{_again(number)}"
        )
    source = registry.source(run_id)
    if version.source != source:
        raise BundleRefusedError(
            f"MLflow loads version {number} from {version.source!r}, and its run is at {source}. {_again(number)}"
        )


def check_listing(registry: Registry, run_id: str, digest: str | None) -> dict[str, int]:
    """Check a run's manifest, signature, list of files and small files; return the size in bytes of each file.

    Arrays are compared by name only: see `check_files`. Raises BundleRefusedError.
    """
    sizes = registry.files(run_id, MODEL_PATH)
    place = _place(run_id)
    with TemporaryDirectory() as scratch, _name_run(scratch, run_id):
        manifest = _manifest(registry, run_id, digest, sizes, Path(scratch))
        check_names(place, sizes, manifest)
        for name, expected in manifest.files.items():
            if not _is_present(sizes, name) or not (
                name.endswith(_ARRAYS) or sha256(_fetched(registry, run_id, name, Path(scratch))) == expected
            ):
                raise BundleRefusedError(f"{place}: {name} does not match the signed manifest. {_restore(run_id)}")
    return sizes


def signed_manifest(registry: Registry, run_id: str) -> Manifest:
    """Return the signed manifest of a run's model. Raises BundleRefusedError."""
    with TemporaryDirectory() as scratch, _name_run(scratch, run_id):
        return _manifest(registry, run_id, None, registry.files(run_id, MODEL_PATH), Path(scratch))


def check_files(registry: Registry, run_id: str, digest: str | None) -> None:
    """Download a run's model and verify all of it. Raises BundleRefusedError."""
    with downloaded_model(registry, run_id) as folder:
        verify(folder, digest)


@contextmanager
def downloaded_model(registry: Registry, run_id: str) -> Iterator[Path]:
    """Yield a private folder with a run's model, unverified. Refusals inside the block name the run, not the folder."""
    with TemporaryDirectory() as scratch:
        folder = _downloaded(registry, run_id, MODEL_PATH, Path(scratch))
        with _name_run(str(folder), run_id):
            yield folder


@contextmanager
def _name_run(folder: str, run_id: str) -> Iterator[None]:
    """Replace the folder by the run in refusals."""
    try:
        yield
    except BundleRefusedError as error:
        raise type(error)(str(error).replace(folder, _place(run_id))) from None


def _place(run_id: str) -> str:
    return f"The model of run {run_id} in MLflow"


def _manifest(registry: Registry, run_id: str, digest: str | None, sizes: dict[str, int], scratch: Path) -> Manifest:
    for name in (MANIFEST, SIGNATURE):
        if not _is_present(sizes, name):
            raise BundleRefusedError(f"{_place(run_id)} has no {name}. {_restore(run_id)}")
        place = _fetched(registry, run_id, name, scratch).parent
    manifest = read_signed(place, digest)
    if manifest.run_id != run_id:
        raise BundleRefusedError(
            f"The run {run_id} in MLflow holds the model of run {manifest.run_id}. {_restore(run_id)}"
        )
    return manifest


def _is_present(sizes: dict[str, int], name: str) -> bool:
    return sizes.get(name, -1) >= 0 and (name.endswith(_ARRAYS) or sizes[name] <= _LARGEST)


def _fetched(registry: Registry, run_id: str, name: str, scratch: Path) -> Path:
    return _downloaded(registry, run_id, f"{MODEL_PATH}/{name}", scratch)


def _downloaded(registry: Registry, run_id: str, path: str, to: Path) -> Path:
    """Download from a run. Raises BundleRefusedError for a link, or for a file that MLflow lists and does not have."""
    try:
        return registry.download(run_id, path, to)
    except ArtifactsGoneError:
        raise BundleRefusedError(
            f"{_place(run_id)} cannot be downloaded: {path} is missing, is a link or holds one. {_restore(run_id)}"
        ) from None


def _restore(run_id: str) -> str:
    return f"Restore it, or delete the run {run_id} in MLflow and run `tailorbird review`, which trains it again."


def _again(number: int | str) -> str:
    return f"Delete version {number} in MLflow, then run `tailorbird review` again."


@dataclass(frozen=True)
class RecordedVersion:
    """The run and the manifest's digest of a version, from its promotion or its review."""

    version: int
    digest: str
    run_id: str | None
    """None for promotions by older versions of Tailorbird."""


def recorded_version(connection: Connection, version: int) -> RecordedVersion | None:
    """Return the record of a version; None if no review recorded its digest."""
    for table, newest in ((promotions, promotions.c.promotion_id), (reviews, reviews.c.review_id)):
        query = select(table.c.digest, table.c.run_id).where(table.c.model_version == version)
        row = connection.execute(query.order_by(newest.desc()).limit(1)).first()
        if row is not None and row.digest:
            return RecordedVersion(version, row.digest, row.run_id)
    return None


def promoted_version(connection: Connection) -> int | None:
    """Return the version that was promoted last."""
    newest = newest_promotion(connection)
    return newest["model_version"] if newest else None

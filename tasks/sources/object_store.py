"""Lists and downloads files in object stores. Credentials come from the places that each cloud's own tools use.

Errors of a store become sentences with advice and without credentials.
"""

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import reduce
from io import BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
from pyarrow import fs

from models.errors import TailorbirdError
from tasks.sources.glob import Segments, begin, hidden, step, takes

if TYPE_CHECKING:
    from tasks.orchestration.progress import Advance

SCHEMES: Final = ("s3", "gs", "abfs", "abfss")
_BLOCK_BYTES: Final = 8 << 20
_SHOWN_FROM_BYTES: Final = 64 << 20
"""A smaller file downloads before progress is of interest."""
_PATIENCE: Final = "?retry_limit_seconds=30"
"""Google's client retries for a quarter of an hour by default."""


_CREDENTIALS: Final = {
    "s3": "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION__CREDENTIALS",
    "abfs": "`az login`, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
}
ENDPOINT: Final = "the network, and AWS_ENDPOINT_URL where the store is not Amazon's"
_GONE: Final = "There is no such object. Check the name"
# Messages of the clients of the three clouds, which have no codes in common.
_SIGNS: Final = (
    (r"NO_SUCH_BUCKET", f"There is no such bucket. Check its name, {ENDPOINT}"),
    (r"NO_SUCH_KEY|RESOURCE_NOT_FOUND|status 404|NOT_FOUND|NotFound|does not exist", _GONE),
    (
        r"ACCESS_DENIED|ACCESS_KEY|SIGNATURE|TOKEN|EXPIRED|UNRECOGNIZED_CLIENT|SKEWED|MISSING_AUTHENTICATION"
        r"|PERMISSION_DENIED|UNAUTHENTICATED|Authenticat|Authoriz|[Cc]redential|status 40[13]",
        "Access is denied. Check the credentials ({credentials}), and that they may list and read there",
    ),
    (r"status (301|307|400)|REDIRECT", "The store refused the request. Check the region (such as AWS_REGION)"),
)
_UNREACHABLE: Final = re.compile(
    r"NETWORK_CONNECTION|curlCode|[Cc]onnect|resolve host|TIMEOUT|[Tt]imed out|UNAVAILABLE|SLOW_DOWN|THROTTLING"
    r"|INTERNAL|DEADLINE|status 5\d\d|[Rr]etry"
)
_REQUEST: Final = re.compile(r"\?\S+")


class StoreError(TailorbirdError):
    """An object store does not return a requested object."""


class StoreUnreachableError(StoreError):
    """An object store does not answer, so that a retry may succeed."""


def kind(address: str) -> Literal["file", "folder"] | None:
    """Return whether an address is a file or a folder; None if it does not exist. Raises StoreError."""
    with translate_store_errors(address):
        store, path = _opened(address)
        file_type = store.get_file_info(path).type
    if file_type == fs.FileType.File and not address.endswith("/"):
        return "file"
    return "folder" if file_type == fs.FileType.Directory else None


def below(address: str, pattern: Segments, endings: tuple[str, ...]) -> Iterator[str]:
    """Yield the addresses of the files below a prefix that match a pattern, in any order. Raises StoreError."""
    with translate_store_errors(address):
        store, path = _opened(address)
        entries = store.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    for info in entries:
        names = info.path.removeprefix(path).strip("/").split("/")
        if info.type != fs.FileType.File or any(map(hidden, names)):
            continue
        if takes(reduce(step, names, begin(pattern)), names[-1], endings):
            yield "/".join((address.rstrip("/"), *names))


def has_bucket(address: str) -> bool:
    """Return whether the bucket or container exists; True if access is denied."""
    bucket, _ = _split(address)
    try:
        return kind(bucket) is not None
    except StoreError:
        return True


def download(address: str, path: Path) -> None:
    """Write an object into a file, block by block. Raises StoreError if it is incomplete."""
    with translate_store_errors(address):
        store, where = _opened(address)
        # The other way to open an object decompresses it by its name.
        source = store.open_input_file(where)
        size = source.size()
    with source, path.open("wb") as target, _shown(path.name, size) as advance:
        while block := _read(source, address):
            _write(target, block, address)
            advance(len(block))
    if path.stat().st_size != size:
        raise StoreError(f"{address} changed while it was fetched. Run the command again.")


def _shown(name: str, size: int) -> "AbstractContextManager[Advance]":
    # It imports Prefect, which a command must not import before it is connected.
    from tasks.orchestration.progress import progress

    return progress(f"fetching {name}", size) if size >= _SHOWN_FROM_BYTES else nullcontext(lambda _steps: None)


def _read(source: pa.NativeFile, address: str) -> bytes:
    """Return the next block of an object; empty after the last one."""
    with translate_store_errors(address):
        block: bytes = source.read(_BLOCK_BYTES)
    return block


def _write(target: BufferedWriter, block: bytes, address: str) -> None:
    try:
        target.write(block)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise TailorbirdError(f"{address} cannot be put into {target.name}: {reason}. Make room there.") from error


def _split(address: str) -> tuple[str, str]:
    """Return the bucket's address and the key, which may be any text. Raises TailorbirdError.

    No message repeats an address that may hold a password.
    """
    scheme, _, path = address.partition("://")
    bucket, _, key = path.partition("/")
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise TailorbirdError(f"Files at {scheme}:// cannot be read. Give a path of this machine, or one of: {known}")
    user, at, _ = bucket.rpartition("@")
    # Azure's container, and Google's word for public buckets, are in the place of a user.
    plain = not at or (":" not in user and (scheme.startswith("abfs") or user == "anonymous"))
    if not plain or "?" in bucket:
        raise TailorbirdError(
            f"An address ({scheme}://…) holds no user, password or options: they would be written into the ledger. "
            f"They belong into the environment: {credentials(scheme)}."
        )
    if not bucket:
        raise TailorbirdError(f"{address} names no bucket. Write it as {scheme}://bucket/prefix/")
    return f"{scheme}://{bucket}", key.rstrip("/")


def _opened(address: str) -> tuple[fs.FileSystem, str]:
    """Return the store and the path in it. The key is not part of the URI, because it would have to be escaped."""
    bucket, key = _split(address)
    store, base = fs.FileSystem.from_uri(bucket + (_PATIENCE if bucket.startswith("gs:") else ""))
    return store, f"{base}/{key}" if key else base


@contextmanager
def translate_store_errors(address: str) -> Iterator[None]:
    """Raise errors of a store's client as StoreError with this address."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # Without the cause, which may hold a signed request.
        raise _explained(address, error) from None


def credentials(address: str) -> str:
    """Return where the client of the address's store finds credentials."""
    return next(where for scheme, where in _CREDENTIALS.items() if address.startswith(scheme))


def _explained(address: str, error: Exception) -> StoreError:
    message = re.sub(r"'[^']*'", "", str(error))
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{address}: {_GONE}.")
    for signs, sentence in _SIGNS:
        if re.search(signs, message):
            return StoreError(f"{address}: {sentence.format(credentials=credentials(address))}.")
    if _UNREACHABLE.search(message):
        return StoreUnreachableError(
            f"{address}: the store cannot be reached, or stopped answering. Check {ENDPOINT}, then run the command "
            "again; what was ingested stays."
        )
    return StoreError(f"{address} cannot be read: {_REQUEST.sub('', message)[:200]}")

"""Arrays in archives of NumPy (.npz), without pickle, and the present keys of the users in them.

Reading takes half the time that NumPy's own reader takes.
"""

import hashlib
import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader, BytesIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from infra.configuration.settings import load
from infra.keys.credentials import PSEUDONYM, find_secret, hashed, remaining
from models.errors import TailorbirdError

if TYPE_CHECKING:
    import pyarrow as pa

Arrays = dict[str, NDArray[Any]]
_USERS: Final = "users"
_AT_ONCE: Final = 2
"""Arrays that are decompressed at the same time."""
_SUFFIX: Final = ".npy"
_HEADER: Final = 30
"""Bytes before the name of a member, which its lengths end."""
_LONGEST_HEADER: Final = 2**16
"""Bytes before the values of an array of the usual format."""
_PIECE: Final = 2**16
_WORTHWHILE: Final = 0.9
"""An array whose beginning does not shrink to this share is not compressed, such as factors of a model."""


_one_header: Final = Lock()
"""Python 3.11 may raise SystemError where two threads parse at once, as NumPy parses headers (CPython issue 106905)."""


class OtherKeyError(TailorbirdError):
    """This host's key cannot identify the model's users."""


class NoArraysError(TailorbirdError):
    """A file holds something else than arrays."""


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write an archive with the lowest compression: a tenth larger than by NumPy, but much faster."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            file = BytesIO()
            npy.write_array(file, np.asarray(array), allow_pickle=False)
            content = file.getbuffer()
            member = ZipInfo(f"{name}{_SUFFIX}")  # without the time, so that equal arrays give equal files
            archive.writestr(member, content, _compression(content), compresslevel=1)


def read_arrays(file: BufferedReader) -> Arrays:
    """Return the arrays of an archive whose bytes were verified; nobody can change them. Raises NoArraysError.

    Arrays that were stored several times share their memory: parts of a model hold the same items and titles.
    """
    try:
        with ZipFile(file) as archive:
            members = archive.infolist()
        return _Reader(file).arrays(members)
    except (ValueError, BadZipFile, zlib.error):
        raise NoArraysError("all of it") from None


def _compression(content: memoryview) -> int:
    sample = content[: 2**18]
    return ZIP_DEFLATED if len(zlib.compress(sample, 1)) < _WORTHWHILE * len(sample) else ZIP_STORED


class _Reader:
    """Reads members of one archive in several threads."""

    def __init__(self, file: BufferedReader) -> None:
        self._descriptor = file.fileno()

    def arrays(self, members: Sequence[ZipInfo]) -> Arrays:
        firsts: dict[tuple[int, ...], ZipInfo] = {}
        originals: dict[str, ZipInfo] = {}
        for one in members:
            first = firsts.setdefault((one.CRC, one.file_size, one.compress_size, one.compress_type), one)
            originals[one.filename] = first if first is one or self._are_same(first, one) else one
        different = {one.filename: one for one in originals.values()}
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # other threads run while one is decompressed
            read = dict(zip(different, pool.map(self._array, different.values()), strict=True))
        if others := sorted(name for name, one in originals.items() if read[one.filename] is None):
            raise NoArraysError(", ".join(others))
        found = {name.removesuffix(_SUFFIX): read[one.filename] for name, one in originals.items()}
        return {name: array for name, array in found.items() if array is not None}

    def _are_same(self, one: ZipInfo, other: ZipInfo) -> bool:
        return all(mine == theirs for mine, theirs in zip(self._stored(one), self._stored(other), strict=True))

    def _stored(self, member: ZipInfo) -> Iterator[bytes]:
        """Yield the bytes of a member as they are in the file, by pieces."""
        header = os.pread(self._descriptor, _HEADER, member.header_offset)
        start = member.header_offset + _HEADER + int(np.frombuffer(header[-4:], dtype="<u2").sum())
        for at in range(0, member.compress_size, _PIECE):
            yield os.pread(self._descriptor, min(_PIECE, member.compress_size - at), start + at)

    def _content(self, member: ZipInfo) -> NDArray[np.uint8]:
        """Return the bytes of a member in an array of NumPy, for which Linux takes large pages."""
        content, filled = np.empty(member.file_size, dtype=np.uint8), 0
        inflate = zlib.decompressobj(-zlib.MAX_WBITS).decompress
        for piece in self._stored(member):
            part = piece if member.compress_type == ZIP_STORED else inflate(piece)
            content.data[filled : filled + len(part)] = part
            filled += len(part)
        if filled != member.file_size:
            raise ValueError(member.filename)
        content.flags.writeable = False
        return content

    def _array(self, member: ZipInfo) -> NDArray[Any] | None:
        """Return an array; None for another member. Raises ValueError for an array of objects."""
        content = self._content(member)
        beginning = BytesIO(content[:_LONGEST_HEADER].tobytes())
        if not beginning.getvalue().startswith(npy.MAGIC_PREFIX):
            return None
        usual = npy.read_magic(beginning) == (1, 0)
        with _one_header:
            shape, is_fortran, dtype = npy.read_array_header_1_0(beginning) if usual else ((), False, np.dtype("V0"))
            if not dtype.itemsize:  # text without letters, or fields with unusual names
                return npy.read_array(BytesIO(content.tobytes()), allow_pickle=False)
        flat = np.frombuffer(content, dtype, offset=beginning.tell(), count=int(np.prod(shape, dtype=np.int64)))
        return flat.reshape(shape, order="F" if is_fortran else "C")


def with_present_keys(arrays: Arrays, key_fingerprint: str | None) -> Arrays:
    """Return arrays with the present keys of their users if an earlier key of this host made the stored ones.

    `key_fingerprint` identifies the key that made them. Without a key on this host they stay as they are.
    """
    added = _added(key_fingerprint)
    if not added:
        return arrays
    return {name: _renamed(array, added) if _holds_user_keys(name, array) else array for name, array in arrays.items()}


def without_users(arrays: Arrays, erased: Collection[str], stand_in: str) -> Arrays:
    """Return arrays in which nobody finds the users with these marks (see `mark`) any more.

    Their rows stay in place, under keys that only the random text `stand_in` could lead to.
    """
    if not erased:
        return arrays
    return {
        name: np.array([hashed(key, [stand_in]) if mark(key) in erased else key for key in array.tolist()], np.str_)
        if _holds_user_keys(name, array)
        else array
        for name, array in arrays.items()
    }


def mark(user_key: str) -> str:
    """Return the SHA-256 (hex) of a user's key, by which an erased user is found without the key."""
    return hashlib.sha256(user_key.encode()).hexdigest()


def column_with_present_keys(rows: "pa.Table", name: str, key_fingerprint: str | None) -> "pa.Table":
    """Return rows with the present keys of the users in one column."""
    added = _added(key_fingerprint)
    if not added:
        return rows
    from infra.keys.identity import rekeyed  # with Arrow and DuckDB, which the bundle itself needs not

    return rows.set_column(rows.column_names.index(name), name, rekeyed(rows[name].combine_chunks(), added))


def _added(key_fingerprint: str | None) -> list[str]:
    key = find_secret(load(), PSEUDONYM)
    return (remaining(key, key_fingerprint) or []) if key else []


def _holds_user_keys(name: str, array: NDArray[Any]) -> bool:
    return name.rpartition(".")[2] == _USERS and array.dtype.kind == "U"


def _renamed(array: NDArray[Any], added: list[str]) -> NDArray[np.str_]:
    return np.array([hashed(name, added) for name in array.tolist()], dtype=np.str_)

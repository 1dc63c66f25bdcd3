import zipfile
from pathlib import Path

import numpy as np
import pytest

from infra.bundles.arrays import Arrays, NoArraysError, read_arrays, write_arrays

NOISE = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)
POLYNOMIAL = (0x1DB710641).to_bytes(5, "little")
"""Bits that change no CRC-32 when they are flipped together."""


def read(path: Path) -> Arrays:
    with path.open("rb") as file:
        return read_arrays(file)


def stored(path: Path, arrays: Arrays) -> Arrays:
    write_arrays(path, arrays)
    return read(path)


def test_arrays_of_all_shapes_and_types_come_back_as_they_were(tmp_path: Path) -> None:
    arrays: Arrays = {
        "noise": NOISE,
        "number": np.array(3.5),
        "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "empty": np.zeros((0, 3), dtype=np.float32),
        "texts": np.array(["ä", "bc"]),
        "no letters": np.empty(3, dtype="U0"),
        "fields": np.array([(1, 2.0)], dtype=[("ä", "i4"), ("b", "f8")]),
        "dates": np.array(["2026-11-01"], dtype="M8[D]"),
    }
    found = stored(tmp_path / "a.npz", arrays)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes("A") == array.tobytes("A")
        assert found[name].flags.f_contiguous == array.flags.f_contiguous


def test_a_file_that_numpy_wrote_is_read_too(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", items=np.arange(7))
    assert read(tmp_path / "a.npz")["items"].tolist() == list(range(7))


def test_equal_arrays_share_their_memory_and_nobody_can_change_them(tmp_path: Path) -> None:
    found = stored(tmp_path / "a.npz", {"items": NOISE, "als.items": NOISE.copy(), "others": NOISE[::-1]})
    assert np.shares_memory(found["items"], found["als.items"])
    assert not np.shares_memory(found["items"], found["others"])
    with pytest.raises(ValueError, match="read-only"):
        found["items"][0] = 0


def test_arrays_with_one_check_sum_are_not_taken_for_equal(tmp_path: Path) -> None:
    other = NOISE.copy()
    other[:5] ^= np.frombuffer(POLYNOMIAL, dtype=np.uint8)
    found = stored(tmp_path / "a.npz", {"one": NOISE, "other": other})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert len({(member.CRC, member.compress_size) for member in archive.infolist()}) == 1
    assert np.array_equal(found["one"], NOISE)
    assert np.array_equal(found["other"], other)


def test_only_what_shrinks_is_compressed(tmp_path: Path) -> None:
    stored(tmp_path / "a.npz", {"noise": NOISE, "zeros": np.zeros_like(NOISE)})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        kinds = [member.compress_type for member in archive.infolist()]
    assert kinds == [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


def test_members_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"items": NOISE})
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("notes.txt", "something else")
    with pytest.raises(NoArraysError, match=r"notes\.txt"):
        read(tmp_path / "a.npz")

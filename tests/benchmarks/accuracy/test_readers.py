"""Tests that files of interactions are read as written, and that other files are refused with a message."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from benchmarks.accuracy.readers import BadFileError, read, train_and_test


def test_a_line_holds_a_user_and_one_item_or_many(tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text("a x\nb y z\n\na y\n")
    rows = read(file)
    assert rows.user.tolist() == ["a", "b", "b", "a"]
    assert rows.item.tolist() == ["x", "y", "z", "y"]


def test_gzip_is_recognised_by_content_and_not_by_name(tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_bytes(gzip.compress(b"a x\na y\n"))
    assert read(file).item.tolist() == ["x", "y"]


def test_the_rows_and_columns_of_a_matrix_are_named_by_number(tmp_path: Path) -> None:
    file = tmp_path / "train.npz"
    sparse.save_npz(file, sparse.csr_matrix(np.array([[0, 1, 0], [1, 0, 1]])))
    rows = read(file)
    assert rows.user.tolist() == ["0", "1", "1"]
    assert rows.item.tolist() == ["1", "0", "2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.txt", b"a x\nb\n", "line 2: a user without an item"),
        ("rows.txt", b"\n", "holds no interactions"),
        ("rows.txt", b"\xff\xfe\xfa x\n", "cannot be read"),
        ("rows.gz", b"\x1f\x8bnot gzip", "cannot be read"),
        ("rows.npz", b"PK no archive", "cannot be read"),
    ],
)
def test_a_file_without_interactions_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFileError, match=message):
        read(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="No such file"):
        read(tmp_path / "nowhere.txt")


def test_a_folder_holds_train_and_test(tmp_path: Path) -> None:
    for name in ("train_user_item.npz", "test.txt", "README.md"):
        (tmp_path / name).touch()
    assert train_and_test(tmp_path, None) == (tmp_path / "train_user_item.npz", tmp_path / "test.txt")


def test_two_train_files_in_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("train1.txt", "train2.txt", "test.txt"):
        (tmp_path / name).touch()
    with pytest.raises(BadFileError, match=r"one train\* file; there: train1.txt, train2.txt"):
        train_and_test(tmp_path, None)


def test_a_train_file_alone_asks_for_its_test(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="--test"):
        train_and_test(tmp_path / "train.txt", None)

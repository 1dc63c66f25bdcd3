import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from models.errors import TailorbirdError
from tasks.sources import line_reader


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.jsonl.gz"])
@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_every_line_has_its_number_and_its_place_whatever_the_size_of_the_chunks(
    tmp_path: Path, name: str, size: int
) -> None:
    texts = [b"{}", b"", b'{"a": 1}\r', b"\xff\x00", b"x" * 50, b"no end"]
    content = b"\n".join(texts)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    table = pa.concat_tables(line_reader.chunks(path, size))
    assert table["text"].to_pylist() == texts
    assert table["row_number"].to_pylist() == list(range(len(texts)))
    assert all(content[at:].startswith(text) for at, text in zip(table["offset"].to_pylist(), texts, strict=True))


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "LONGEST", 3 * 2**20)
    path = tmp_path / "calls.json"
    path.write_bytes(b"[" + b'{"type": "track"},' * 300_000 + b"]")
    with pytest.raises(TailorbirdError, match=r"a line of more than 3 MiB\. One call a line is expected"):
        list(line_reader.chunks(path, 2**20))


def test_a_packed_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"type": "track"}\n' * 1000)[:-20])
    with pytest.raises(TailorbirdError, match="cannot be read to its end"):
        list(line_reader.chunks(path))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.touch()
    with pytest.raises(TailorbirdError, match="is empty"):
        list(line_reader.chunks(path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_chunks_state_how_much_of_the_stored_file_was_read(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, b"".join(b'{"number": %d}\n' % number for number in range(200_000))
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    read = [int(rows.schema.metadata[line_reader.READ]) for rows in line_reader.chunks(path, 100_000)]
    assert len(read) > 10
    assert read == sorted(read)
    assert 0 < read[0] < read[-1] == path.stat().st_size

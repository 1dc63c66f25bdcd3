"""Reads files of lines, plain or gzip. It splits lines itself, because parsers lose some of them silently."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc

from models.errors import TailorbirdError
from tasks.sources.file_faults import described

CHUNK_BYTES = 64 * 1024 * 1024
"""The approximate size of a chunk of lines, uncompressed."""
LONGEST = 4 * CHUNK_BYTES
"""The longest line in bytes; longer ones would fill the memory."""
ROW_NUMBER, OFFSET, TEXT = "row_number", "offset", "text"
READ = b"read"


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file to read its bytes, unpacked if its name ends with .gz."""
    return cast(IO[bytes], gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _blocks(path: Path, size: int) -> Iterator[tuple[memoryview, int]]:
    """Yield blocks of whole lines, each with the number of bytes of the file that were read by then."""
    partial_line = b""
    with open_bytes(path) as file:
        stored = cast(IO[bytes], file.fileobj) if isinstance(file, gzip.GzipFile) else file
        while True:
            block = bytearray(len(partial_line) + size)
            block[: len(partial_line)] = partial_line
            end = len(partial_line) + _fill(file, memoryview(block)[len(partial_line) :])
            over = end < len(block)
            cut = end if over else block.rfind(b"\n") + 1
            if cut:
                yield memoryview(block)[:cut], stored.tell()
            if over:
                return
            partial_line = bytes(memoryview(block)[cut:end])
            if len(partial_line) > LONGEST:
                raise TailorbirdError(
                    f"{path} has a line of more than {LONGEST // 2**20} MiB. One call a line is expected "
                    '(a list of calls, `[{…}, {…}]`, can be rewritten with `jq -c ".[]"`).'
                )


def _fill(file: IO[bytes], room: memoryview) -> int:
    """Read until the buffer is full or the file ends; returns the number of bytes. Gzip files give few at a time."""
    done = 0
    while done < len(room) and (read := cast(BufferedIOBase, file).readinto(room[done:])):
        done += read
    return done


def chunks(path: Path, size: int | None = None) -> Iterator[pa.Table]:
    """Yield the lines of a file in order, in chunks.

    The columns are `row_number`, `offset` (bytes, uncompressed) and `text` (bytes, without the end of the line). The
    metadata `READ` of a chunk is the number of stored bytes that were read by then. The same file always gives the same
    chunks. Raises TailorbirdError if the file cannot be read to its end.
    """
    number = start = 0
    try:
        for block, read in _blocks(path, size or CHUNK_BYTES):
            table = _lines(block, number, start)
            number, start = number + len(table), start + len(block)
            yield table.replace_schema_metadata({READ: str(read)})
        if not number:
            raise TailorbirdError(f"{path} is empty: there is no line in it.")
    except (OSError, EOFError, zlib.error) as error:
        fault = described(error)
        raise TailorbirdError(f"{path} cannot be read to its end: {fault}. Fetch and ingest it again.") from None


def _lines(block: memoryview, number: int, start: int) -> pa.Table:
    size = pa.array([0, len(block)], pa.int64()).buffers()[1]
    whole = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, size, pa.py_buffer(block)])
    text = pc.split_pattern(whole, b"\n").values
    if block[-1] == ord("\n"):
        text = text.slice(0, len(text) - 1)
    ends = pc.cumulative_sum(pc.add(pc.binary_length(text), 1))
    offsets = pc.add(pc.subtract(ends, pc.add(pc.binary_length(text), 1)), start)
    numbers = pa.array(range(number, number + len(text)), pa.int64())
    return pa.table({ROW_NUMBER: numbers, OFFSET: offsets, TEXT: text})

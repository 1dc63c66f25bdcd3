"""Files of lines, plain or gzip, split by ourselves: every reader that parses for us loses some of them silently."""

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc

from models.errors import TailorbirdError
from tasks.sources.data_file_faults import described

CHUNK_BYTES = 64 * 1024 * 1024
"""Lines are taken in chunks of about this size, uncompressed."""
LONGEST = 4 * CHUNK_BYTES
"""Bytes of a line. What has no end before is no line, and would fill the memory."""
ROW_NUMBER, OFFSET, TEXT = "row_number", "offset", "text"
READ = b"read"


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _blocks(path: Path, size: int) -> Iterator[tuple[memoryview, int]]:
    """Pieces of a file, each but the last ending with a line's end, and how much of the file was read by then."""
    rest = b""
    with _open(path) as file:
        stored = cast(IO[bytes], file.fileobj) if isinstance(file, gzip.GzipFile) else file
        while True:
            block = bytearray(len(rest) + size)
            block[: len(rest)] = rest
            end = len(rest) + _filled(file, memoryview(block)[len(rest) :])
            over = end < len(block)
            cut = end if over else block.rfind(b"\n") + 1
            if cut:
                yield memoryview(block)[:cut], stored.tell()
            if over:
                return
            rest = bytes(memoryview(block)[cut:end])
            if len(rest) > LONGEST:
                raise TailorbirdError(
                    f"{path} has a line of more than {LONGEST // 2**20} MiB. One call a line is expected "
                    '(a list of calls, `[{…}, {…}]`, can be rewritten with `jq -c ".[]"`).'
                )


def _filled(file: IO[bytes], room: memoryview) -> int:
    """Read until the room is full or the file is over; how many bytes there were. A packed file gives few at a time."""
    done = 0
    while done < len(room) and (read := cast(BufferedIOBase, file).readinto(room[done:])):
        done += read
    return done


def chunks(path: Path, size: int | None = None) -> Iterator[pa.Table]:
    """The lines of a file in order: `row_number`, `offset` (bytes, uncompressed), `text` (bytes, without the end).

    The metadata `READ` of a chunk says how many bytes of the file, as it is stored, were read by then.
    The same file always gives the same chunks. Raises TailorbirdError when the file cannot be read to its end.
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

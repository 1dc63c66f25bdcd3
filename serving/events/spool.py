"""A bounded spool on disk for messages that arrive while Postgres is down, shared by all processes of a host."""

import fcntl
import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from infra.private_files.folders import replace_file, synchronise
from infra.private_files.permissions import PRIVATE
from models.errors import TailorbirdError
from serving.events.message import Message, size_of

FOLDER: Final = "spool"
_OPEN, _DROPPED, _REFUSED = "open.jsonl", "dropped", "refused.jsonl"
_SEGMENT: Final = "segment-*.jsonl"
_BLOCK: Final = 2**16


class SpoolFullError(TailorbirdError):
    """Postgres is down and the spool has no room: the caller has to send the message again later."""


class Spool:
    """Files with one message per line, each with its checksum. Lines are synchronised before `append` returns."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Use a folder, which is created when it is needed; its files may have `limit` bytes."""
        self.folder, self.limit = folder, limit

    def append(self, messages: Sequence[Message]) -> None:
        """Store messages durably, in this order. Raises SpoolFullError if they have no room; then none is stored."""
        lines = b"".join(map(_line, messages))
        try:
            with self._locked("append.lock"):
                if self._size() + len(lines) > self.limit:
                    self._count_dropped(size_of(messages))
                    raise SpoolFullError("The database is down and the spool is full. Send the message again later.")
                self._write(lines)
        except OSError as error:
            self._count_dropped(size_of(messages))
            raise SpoolFullError(f"The spool cannot be written: {error.strerror}. Send it again later.") from None

    def is_empty(self) -> bool:
        """Return whether no message waits."""
        return not self._size()

    def state(self) -> dict[str, int]:
        """Return what waits on the disk of this host: `messages`, of which answers that were shown are one for many.

        `dropped` ones found no room: their callers received an error, except for impressions. `refused` are those that
        Postgres refused when they were replayed; they stay in the file `refused.jsonl`.
        """
        waiting, refused = sum(_lines_of(path) for path in self._files()), _lines_of(self.folder / _REFUSED)
        return {"messages": waiting, "dropped": int(self._text(_DROPPED) or 0), "refused": refused}

    @contextmanager
    def replaying(self) -> Iterator[list[Path]]:
        """Yield the segments to replay, in order; empty if another process of the host replays them now."""
        with self._locked("replay.lock", wait=False) as taken:
            if taken:
                self._close_segment()
            yield sorted(self.folder.glob(_SEGMENT)) if taken else []

    def refuse(self, lines: Sequence[bytes]) -> None:
        """Keep lines that cannot be stored in the file of refused ones."""
        with open(self.folder / _REFUSED, "ab", opener=_private) as file:
            file.write(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())

    def erase_refused(self, keys: Collection[str]) -> int:
        """Delete the refused messages of these users and devices; returns their number."""
        path = self.folder / _REFUSED
        if not path.exists():
            return 0
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not any(key.encode() in line for key in keys)]
        if len(kept) < len(lines):
            replace_file(path, b"".join(kept))
        return len(lines) - len(kept)

    def _write(self, lines: bytes) -> None:
        path = self.folder / _OPEN
        is_new = not path.exists()
        with open(path, "r+b" if not is_new else "w+b", opener=_private) as file:
            file.truncate(_sound_end(file))  # a line that a killed process wrote in part was never acknowledged
            file.seek(0, os.SEEK_END)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            synchronise(self.folder)

    def _close_segment(self) -> None:
        """Rename the open file, so that its messages can be read while others are added."""
        with self._locked("append.lock"):
            path = self.folder / _OPEN
            if path.exists():
                numbers = [int(one.stem.partition("-")[2]) for one in self.folder.glob(_SEGMENT)]
                path.rename(self.folder / f"segment-{max(numbers, default=0) + 1:012}.jsonl")
                synchronise(self.folder)

    def _files(self) -> list[Path]:
        return [*sorted(self.folder.glob(_SEGMENT)), *self.folder.glob(_OPEN)]

    def _size(self) -> int:
        total = 0
        for path in self._files():
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def _count_dropped(self, count: int) -> None:
        with suppress(OSError):  # a full disk: the process counts them as well
            replace_file(self.folder / _DROPPED, str(int(self._text(_DROPPED) or 0) + count).encode())

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError:
            return ""

    @contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a lock of the host; yields whether it was free, if it may not wait."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.folder / name, "ab", opener=_private) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True


def parsed(line: bytes) -> Message | None:
    """Return the message of a line; None if the line is damaged."""
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    try:
        return Message.from_json(body) if checksum == _checksum(body) else None
    except (ValueError, TypeError, KeyError):  # another version wrote it
        return None


def _line(message: Message) -> bytes:
    body = message.to_json()
    return b"%s %s\n" % (_checksum(body), body)


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)


def _sound_end(file: BinaryIO) -> int:
    """Return the size of a file without a last line that is incomplete."""
    size = file.seek(0, os.SEEK_END)
    while size:
        start = max(0, size - _BLOCK)
        file.seek(start)
        newline = file.read(size - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        size = start
    return 0


def _lines_of(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o777 & ~PRIVATE & 0o666)

"""Creates temporary folders for downloads. The next process removes folders of killed ones."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """Yield a new folder in `place`, which is removed after the block."""
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with _locked(place):
            for other in place.iterdir():
                with suppress(OSError), _locked(other, fcntl.LOCK_NB):  # its process ended, and so released the lock
                    rmtree(other, ignore_errors=True)
            folder = Path(mkdtemp(dir=place))
            held.enter_context(_locked(folder))
        held.callback(rmtree, folder, ignore_errors=True)
        yield folder


@contextmanager
def _locked(folder: Path, how: int = 0) -> Iterator[None]:
    """Lock a folder within the block. Raises OSError if another process has locked it and `how` is not to wait."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(handle)

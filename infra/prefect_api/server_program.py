"""Runs `prefect server` with less garbage collection, because its imports create permanent objects, and fewer polls.

Run by its path, from any working directory: there Prefect would look for further settings.
"""

import gc
import runpy
import sys
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any

_POLL = timedelta(seconds=1)
"""Prefect's loops run every five seconds or less often; its queue of them would look for work eight times a second."""


def main() -> None:
    """Run a subcommand of `prefect server`. Garbage collections would take a fifth of its imports' time."""
    gc.disable()
    import_module("prefect.server.api.server")
    workers: Any = import_module("prefect.server.api.background_workers")
    workers.Worker = partial(workers.Worker, minimum_check_interval=_POLL, scheduling_resolution=_POLL)
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()
    sys.argv.insert(1, "server")
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()

"""Runs `prefect server` with less garbage collection: its imports create permanent objects.

Run by its path, from any working directory: there Prefect would look for further settings.
"""

import gc
import runpy
import sys
from importlib import import_module


def main() -> None:
    """Run a subcommand of `prefect server`. Garbage collections would take a fifth of its imports' time."""
    gc.disable()
    import_module("prefect.server.api.server")
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()
    sys.argv.insert(1, "server")
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()

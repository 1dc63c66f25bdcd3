"""Runs `mlflow server` in one process. MLflow itself starts a second one for that, which imports everything again."""

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn


def main() -> None:
    """Serve with the options of `mlflow server`. Searches for garbage would take a fifth of the imports' time."""
    gc.disable()
    from mlflow import cli, server

    gc.freeze()
    gc.enable()
    # If a later version starts its server in another way, it only starts a process more.
    vars(server)["_exec_cmd"] = _serve_here
    cli.cli(["server", *sys.argv[1:]])


def _serve_here(command: Sequence[str], *, extra_env: Mapping[str, str], **_options: bool) -> NoReturn:
    """Run uvicorn with the arguments of the command that MLflow would start, `python -m uvicorn …`."""
    import uvicorn

    os.environ.update(extra_env)
    uvicorn.main(command[3:])
    raise SystemExit


if __name__ == "__main__":
    main()

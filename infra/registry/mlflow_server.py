"""Serves MLflow behind a password in one process; `mlflow server` starts a second one, which imports everything again.

It takes the options of uvicorn, and two variables of `mlflow server`: MLFLOW_BACKEND_STORE_URI and
MLFLOW_ARTIFACTS_DESTINATION.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Final

_ARTIFACTS: Final = "mlflow-artifacts:/"
"""Clients store artifacts through the server."""
_DEFAULTS: Final = {
    "mlflow.workflowType": "machine_learning",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad": True,
    "mlflow.home.getting-started.collapsed": True,
}
"""MLflow's page remembers these choices of a person in the browser; without one it opens for language models."""


def create_app() -> object:
    """Return MLflow's server, with those defaults on its page; what a person chooses stays."""
    from flask import request
    from mlflow.server import app, auth

    chosen = "".join(f"localStorage['{name}_v1'] ??= '{json.dumps(value)}';" for name, value in _DEFAULTS.items())
    page = (Path(str(app.static_folder)) / "index.html").read_text()
    page = page.replace("<head>", f"<head><script>{chosen}</script>", 1)
    server: object = auth.create_app(app)
    app.before_request(lambda: page if request.path == "/" else None)  # after the check of the login
    return server


def main() -> None:
    """Create or check the tables, then serve. Searches for garbage would take a fifth of the imports' time."""
    gc.disable()
    import uvicorn
    from mlflow.server import constants
    from mlflow.server.handlers import initialize_backend_stores

    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    os.environ.update(
        {
            constants.BACKEND_STORE_URI_ENV_VAR: store,
            constants.SERVE_ARTIFACTS_ENV_VAR: "true",
            constants.ARTIFACT_ROOT_ENV_VAR: _ARTIFACTS,
            constants.ARTIFACTS_DESTINATION_ENV_VAR: os.environ["MLFLOW_ARTIFACTS_DESTINATION"],
            "_MLFLOW_SGI_NAME": "uvicorn",  # as `mlflow server` tells its second process
        }
    )
    initialize_backend_stores(store, store, _ARTIFACTS)
    gc.freeze()
    gc.enable()
    uvicorn.main(["--factory", "infra.registry.mlflow_server:create_app", "--workers", "1", *sys.argv[1:]])


if __name__ == "__main__":
    main()

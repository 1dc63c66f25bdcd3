"""Serves MLflow behind a password in one process; `mlflow server` starts a second one, which imports everything again.

It takes the options of uvicorn, and two variables of `mlflow server`: MLFLOW_BACKEND_STORE_URI and
MLFLOW_ARTIFACTS_DESTINATION.
"""

import gc
import os
import sys
from typing import Final

_ARTIFACTS: Final = "mlflow-artifacts:/"
"""Clients store artifacts through the server."""


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
    uvicorn.main(["--factory", "mlflow.server.auth:create_app", "--workers", "1", *sys.argv[1:]])


if __name__ == "__main__":
    main()

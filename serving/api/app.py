"""Assembles the application: `uvicorn --factory serving.api.app:app`."""

from starlette.types import ASGIApp

from serving.api.gate.workers import prepare, share_metrics


def app() -> ASGIApp:
    """Return the server of this installation."""
    prepare()
    share_metrics()
    from serving.api.startup.installation import of_installation

    return of_installation()


def standalone() -> ASGIApp:
    """Return a server of a bundle folder, without a database."""
    prepare()
    share_metrics()
    from serving.api.startup.standalone import of_bundle

    return of_bundle()

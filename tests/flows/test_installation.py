"""The running installation: what its services know of the shell, and what other users can read of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

from infra.configuration.settings import Settings
from infra.prefect_api.client import login_headers
from infra.services import state_file
from infra.services.endpoints import endpoints
from infra.services.http_client import request_json

if TYPE_CHECKING:
    from conftest import Shop


def environments(shop: Shop) -> dict[str, set[str]]:
    """Return the names of the variables of each service and its children."""
    variables: dict[str, set[str]] = {}
    for name, service in state_file.load(shop.var).items():
        assert service.running is not None
        first = psutil.Process(service.running.pid)
        for process in [first, *first.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                variables.setdefault(name, set()).update(process.environ())
    return variables


def test_no_service_knows_a_secret_of_the_shell_that_it_does_not_need(shop: Shop) -> None:
    variables = environments(shop)
    assert set(variables) == {"postgres", "prefect", "mlflow", "docs", "api", "worker", "reconciler", "supervisor"}
    for name, of_service in variables.items():
        assert not {"SMTP_PASSWORD", "GITHUB_TOKEN"} & of_service, name
    stores = {name for name, of_service in variables.items() if "AWS_SECRET_ACCESS_KEY" in of_service}
    assert stores == {"worker", "reconciler", "supervisor"}  # the last one starts the others again
    assert not [variable for variable in variables["postgres"] if "SECRET" in variable or "PASSWORD" in variable]


def test_nobody_else_can_read_anything_that_the_demo_left(stocked: Shop) -> None:
    opened = [
        str(path)
        for path in [stocked.var, *stocked.var.rglob("*")]
        if not path.is_symlink() and not path.is_socket() and path.stat().st_mode & 0o077
    ]
    assert opened == []
    assert (stocked.var / "lake" / "events").is_dir()
    assert list((stocked.var / "mlflow" / "artifacts").iterdir())


def test_the_form_of_ingest_names_no_mapping_and_no_form_loads_the_demos_data_into_a_real_shop(shop: Shop) -> None:
    form = prefect(shop, "GET", "/deployments/name/ingest/ingest")["parameter_openapi_schema"]
    assert form["required"] == ["mapping"]
    assert "default" not in form["properties"]["mapping"]


def prefect(shop: Shop, method: str, path: str, body: Any = None) -> Any:
    services = endpoints(Settings(var=shop.var))
    return request_json(method, services.prefect_api_url.rstrip("/") + path, login_headers(services.environment), body)

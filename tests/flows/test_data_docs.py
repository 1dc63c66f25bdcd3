from __future__ import annotations

import re
import urllib.request
from typing import TYPE_CHECKING

from infra.configuration.settings import Settings
from infra.services import data_docs as docs
from infra.services.endpoints import endpoints
from infra.services.http_client import basic_auth, request_json

if TYPE_CHECKING:
    from conftest import Shop


def test_a_link_on_the_run_leads_to_the_verdict_on_each_batch(stocked: Shop) -> None:
    services = endpoints(Settings(var=stocked.var))
    query = {"artifacts": {"key": {"like_": "data-docs-%"}}}
    login = {"Authorization": basic_auth(str(services.prefect_login))}
    artifacts = request_json("POST", f"{services.prefect_api_url}/artifacts/latest/filter", login, query)
    shown = {artifact["description"]: re.search(r"\((http\S+)\)", artifact["data"]) for artifact in artifacts}
    batches = [
        batch_id for (batch_id,) in stocked.sql("SELECT batch_id FROM ingest_batches WHERE status = 'committed'")
    ]
    # Of older batches the pages may be gone, and what other tests kill has no link.
    with_page = [batch_id for batch_id in batches if docs.page_address(stocked.var, services, batch_id)]
    linked = [batch_id for batch_id in with_page if f"Data Docs of {batch_id}" in shown]
    assert linked
    for batch_id in linked:
        link = shown[f"Data Docs of {batch_id}"]
        assert link
        request = urllib.request.Request(link[1], headers={"Authorization": basic_auth(str(services.docs_login))})  # noqa: S310
        with urllib.request.urlopen(request, timeout=5) as page:  # noqa: S310
            text = page.read().decode()
        assert f"<h1>{batch_id}</h1>" in text
        assert "Passed: every expectation holds." in text

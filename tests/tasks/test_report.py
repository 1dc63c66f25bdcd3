from typing import Any

import pytest
from prefect.context import FlowRunContext

from infra.installation import Installation
from tasks import report


@pytest.fixture
def shown(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:  # noqa: ARG001
    """What is handed to Prefect, as if a flow ran."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(FlowRunContext, "get", lambda: object())
    monkeypatch.setattr(report, "create_table_artifact", lambda **artifact: made.append(artifact))
    return made


def test_texts_of_a_table_are_text_and_numbers_stay_numbers(shown: list[dict[str, Any]]) -> None:
    row = {"title": "![](http://evil.example/x)", "n": 7, "share": 0.5, "none": None, "rules": {"a_b|c": ["<b>"]}}
    report.show("key", "Batch *b*", [row])
    assert shown[0]["description"] == r"Batch \*b\*"
    assert shown[0]["table"] == [
        {"title": r"!\[\](http\://evil.example/x)", "n": 7, "share": 0.5, "none": None}
        | {"rules": {r"a_b\|c": ["&lt;b&gt;"]}}
    ]


def test_only_links_to_pages_of_this_installation_stay_links(
    installation: Installation, shown: list[dict[str, Any]]
) -> None:
    page = installation.endpoints.mlflow_page
    link = f"[MLflow]({page}/#/runs/1)"
    kept = [f"{page}/#/runs/1", link, page, f"{link}, [report]({page}/#/runs/2)"]
    refused = [
        f"{page}.evil.example/x",
        f"{page}@evil.example/x",
        f"{page}/) ![](http://evil.example/x",
        f"[x]({page}/)[y](http://evil.example)",
        "[x](javascript:alert(1))",
        "http://evil.example/",
        f"{link}, [x](http://evil.example)",
    ]
    report.show("key", "Runs", [{"page": address} for address in [*kept, *refused]])
    cells = [row["page"] for row in shown[0]["table"]]
    assert cells[: len(kept)] == kept
    assert all("\\" in cell for cell in cells[len(kept) :])

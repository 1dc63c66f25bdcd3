from typing import Any

import pytest
from prefect.context import FlowRunContext

from infra.installation import Installation
from tasks.orchestration import run_artifacts


@pytest.fixture
def shown(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:  # noqa: ARG001
    """Collect the artifacts that a flow would hand to Prefect."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(FlowRunContext, "get", lambda: object())
    monkeypatch.setattr(run_artifacts, "create_table_artifact", lambda **artifact: made.append(artifact))
    monkeypatch.setattr(
        run_artifacts, "create_markdown_artifact", lambda text, **artifact: made.append({"markdown": text, **artifact})
    )
    return made


def test_texts_of_a_table_are_text_and_numbers_stay_numbers(shown: list[dict[str, Any]]) -> None:
    row = {"title": "![](http://evil.example/x)", "n": 7, "share": 0.5, "none": None, "rules": {"a_b|c": ["<b>"]}}
    run_artifacts.show("key", "Batch *b*", [row])
    assert shown[0]["description"] == r"Batch \*b\*"
    assert shown[0]["table"] == [
        {"title": r"!\[\](http\://evil.example/x)", "n": 7, "share": 0.5, "none": None}
        | {"rules": r"a_b\|c: &lt;b&gt;"}
    ]


def test_only_links_to_pages_of_this_installation_stay_links(
    installation: Installation, shown: list[dict[str, Any]]
) -> None:
    page = installation.endpoints.mlflow_page
    link = f"[MLflow]({page}/#/runs/1)"
    unchanged = [f"{page}/#/runs/1", link, page, f"{link}, [report]({page}/#/runs/2)"]
    refused = [
        f"{page}.evil.example/x",
        f"{page}@evil.example/x",
        f"{page}/) ![](http://evil.example/x",
        f"[x]({page}/)[y](http://evil.example)",
        "[x](javascript:alert(1))",
        "http://evil.example/",
        f"{link}, [x](http://evil.example)",
    ]
    run_artifacts.show("key", "Runs", [{"page": address} for address in [*unchanged, *refused]])
    cells = [line.removeprefix("| ").removesuffix(" |") for line in shown[0]["markdown"].splitlines()[4:]]
    assert cells[: len(unchanged)] == [
        f"[open]({address})" if address.startswith("http") else address for address in unchanged
    ]
    assert all("\\" in cell for cell in cells[len(unchanged) :])


def test_a_table_with_links_is_markdown_whose_links_can_be_followed(
    installation: Installation, shown: list[dict[str, Any]]
) -> None:
    page = installation.endpoints.mlflow_page
    run_artifacts.show("key", "Runs", [{"model": "a|b", "run": f"{page}/#/runs/1", "none": None}])
    assert shown[0]["markdown"].splitlines()[2:] == [
        "| model | run | none |",
        "| --- | --- | --- |",
        rf"| a\|b | [open]({page}/#/runs/1) |  |",
    ]


def test_nothing_is_shown_of_no_rows(shown: list[dict[str, Any]]) -> None:
    run_artifacts.show("key", "Warnings", [])
    assert shown == []
